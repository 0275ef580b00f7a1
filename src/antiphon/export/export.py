"""A checkpoint folder in, the folder that optimum-intel and OVMS make of it out: OpenVINO IRs, tokenizers, graph.pbtxt.

The folder appears when it is whole, never before. It must not know where a checkpoint came from, or who serves the folder.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from antiphon.errors import ConfigError
from antiphon.export.families import FAMILIES, Job
from antiphon.export.quantize import bring_nncf
from antiphon.loader import FAMILIES as SERVED
from antiphon.repository.atomic_folder import made_whole
from antiphon.repository.config_json import write_whole
from antiphon.repository.graph_pbtxt import GRAPH, GraphFile, render_graph
from antiphon.types.audio import Samples
from antiphon.types.options import Report
from antiphon.weights.config_file import read_config
from antiphon.weights.openvino_ir.writer import IrFormat
from antiphon.weights.safetensors import has_checkpoint

CONFIG = "config.json"
VOICES = "voices"


def export(
    source: Path,
    folder: Path,
    *,
    graph: GraphFile,
    weight_format: IrFormat = "int8",
    calibration: Callable[[], Sequence[Samples]] | None = None,
    vocoder: Path | None = None,
    overwrite: bool = False,
    report: Report = lambda line: None,
) -> None:
    """Write the checkpoint in `source` as OpenVINO IRs into `folder`, with `graph` as its graph.pbtxt.

    With `calibration`, which is asked for windows of speech (16 kHz, at most 30 s each), the encoder's weights and
    activations are in 8 bits. The voices that `graph` names are copied into the folder. A folder that is there already keeps
    its weights unless `overwrite`; its graph.pbtxt is written anew. Raises ConfigError naming the file, folder or flag and
    the fix.
    """
    voices = _voices(graph)
    for given in (source, vocoder or source):
        if given.is_dir() and given.resolve().is_relative_to(folder.resolve()):
            fix = "give another --model_name or --model_repository_path"
            raise ConfigError(f"{folder}: is where {given} lies, which is only read; {fix}.")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        if not any(folder.glob("openvino_*.xml")):
            raise ConfigError(f"{folder}: holds something, but no OpenVINO model; move it away, or --overwrite_models.")
        report(f"{folder} is there already, and its weights stay; --overwrite_models writes them anew.")
        _write_graph(folder, graph, voices)
        return
    family = _family(source, graph)
    if calibration is not None:
        if family != "whisper":
            raise ConfigError(f"--quant-mode int8 is for Whisper, and {source} is {family}: leave it out.")
        bring_nncf()  # before anything is written
    with made_whole(folder, report) as partial:
        FAMILIES[family](Job(source, partial, weight_format, vocoder, report, calibration))
        _copy_voices(source, partial)
        _write_graph(partial, graph, voices)
    rounded = "" if calibration is None else "; the encoder's weights and activations in int8"
    report(f"{folder}: written, {weight_format} weights{rounded}.")


def _family(source: Path, graph: GraphFile) -> str:
    """The checkpoint's model_type, if it is one we write and does what was asked for."""
    if not source.is_dir():
        raise ConfigError(f"{source}: no such folder; --source_model is a checkpoint's folder or its name on the hub.")
    family = str(read_config(source).get("model_type"))
    if family not in FAMILIES:
        known = " and ".join(FAMILIES)
        raise ConfigError(
            f"{source / CONFIG}: model_type is {family!r}; {known} are exported, others are served as pulled."
        )
    task, _ = SERVED[family]
    if graph.task != task:
        raise ConfigError(f"{source}: a {family} model is for {task}, not {graph.task}: export it as that.")
    if not has_checkpoint(source) and any(source.glob("openvino_*.xml")):
        raise ConfigError(f"{source}: is an OpenVINO model already; serve it as it is.")
    return family


def _voices(graph: GraphFile) -> dict[str, Path]:
    """The files of the voices that were named, before anything is written."""
    voices = {name: Path(path) for name, path in graph.voices}
    for name, path in voices.items():
        if not path.is_file():
            raise ConfigError(f"--speaker_path {path}: no such file; it is the speaker embedding of the voice {name}.")
    return voices


def _copy_voices(source: Path, folder: Path) -> None:
    for path in sorted((source / VOICES).glob("*.bin")):
        (folder / VOICES).mkdir(exist_ok=True)
        shutil.copyfile(path, folder / VOICES / path.name)


def _write_graph(folder: Path, graph: GraphFile, voices: dict[str, Path]) -> None:
    """The graph, with its voices beside it: a repository may be moved, or mounted elsewhere."""
    named = []
    for name, path in voices.items():
        inside = f"{VOICES}/{name}.bin"
        (folder / VOICES).mkdir(exist_ok=True)
        write_whole(folder / inside, path.read_bytes())
        named.append((name, inside))
    write_whole(folder / GRAPH, render_graph(replace(graph, voices=tuple(named))))
