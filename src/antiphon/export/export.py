"""Export a checkpoint to the folder that optimum-intel and OVMS make of it: OpenVINO IRs, tokenizers, graph.pbtxt.

The folder appears when it is complete, never before.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from antiphon.errors import ConfigError
from antiphon.export.quantize import import_nncf
from antiphon.export.writer import FolderExport
from antiphon.models.family import Family, families
from antiphon.models.folder import ModelFolder, holds
from antiphon.repository.atomic_folder import made_whole
from antiphon.repository.config_json import write_whole
from antiphon.repository.graph_pbtxt import GRAPH, GraphFile, render_graph
from antiphon.types.audio import Samples
from antiphon.types.options import Report
from antiphon.weights.config_file import CONFIG_FILE, read_config
from antiphon.weights.openvino_ir.writer import IrFormat

VOICES = "voices"


def export(
    source: ModelFolder,
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

    With `calibration`, which returns windows of speech (16 kHz, at most 30 s each), weights and activations of the encoder
    are in 8 bits. The files of the voices in `graph` are copied into the folder. An existing folder keeps its weights
    unless `overwrite`; its graph.pbtxt is always written. Raises ConfigError naming the file, folder or setting and the fix.
    """
    voices = _voices(graph)
    for given in (source.path, vocoder or source.path):
        if given.is_dir() and given.resolve().is_relative_to(folder.resolve()):
            fix = "give another model_name or model_repository_path"
            raise ConfigError(f"{folder}: contains {given}, which the export only reads; {fix}.")
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        if not holds(folder, "openvino"):
            raise ConfigError(
                f"{folder}: is not empty, and not an OpenVINO model; move it away, or set overwrite_models."
            )
        report(f"{folder} is there already, and its weights stay; overwrite_models replaces them.")
        _write_graph(folder, graph, voices)
        return
    family = _family(source, graph)
    assert family.export is not None
    if calibration is not None:
        if "calibration" not in family.takes:
            raise ConfigError(f"int8 is not available for {family.name} models: leave it out.", setting="quant_mode")
        import_nncf()  # before anything is written
    with made_whole(folder, report) as partial:
        job = FolderExport(source.path, partial, weight_format, vocoder, report, calibration)
        family.export(job)
        job.copy_companions()
        _copy_voices(source.path, partial)
        _write_graph(partial, graph, voices)
    quantized = "" if calibration is None else "; the encoder's weights and activations in int8"
    report(f"{folder}: written, {weight_format} weights{quantized}.")


def _family(source: ModelFolder, graph: GraphFile) -> Family:
    """The family of a checkpoint that can be exported for the task."""
    if not source.path.is_dir():
        fix = "give the folder of a checkpoint, or its name on the hub"
        raise ConfigError(f"{source.path}: no such folder; {fix}.", setting="source_model")
    family, config = source.family, source.config or read_config(source.path)
    if family is None or family.export is None:
        names = " and ".join(sorted(family.name for family in families() if family.export is not None))
        raise ConfigError(
            f"{source.path / CONFIG_FILE}: model_type is {config.get('model_type')!r}; {names} are exported, others are served "
            "as pulled."
        )
    if graph.task != family.task:
        raise ConfigError(
            f"{source.path}: a {family.name} model is for {family.task}, not {graph.task}: export it as that."
        )
    if source.format == "openvino":
        raise ConfigError(f"{source.path}: is an OpenVINO model already; serve it as it is.")
    return family


def _voices(graph: GraphFile) -> dict[str, Path]:
    """The files of the voices in a graph, checked before anything is written."""
    voices = {name: Path(path) for name, path in graph.voices}
    for name, path in voices.items():
        if not path.is_file():
            raise ConfigError(f"{path}: no such file; it is the embedding of the voice {name}.", setting="speaker_path")
    return voices


def _copy_voices(source: Path, folder: Path) -> None:
    for path in sorted((source / VOICES).glob("*.bin")):
        (folder / VOICES).mkdir(exist_ok=True)
        shutil.copyfile(path, folder / VOICES / path.name)


def _write_graph(folder: Path, graph: GraphFile, voices: dict[str, Path]) -> None:
    """Write graph.pbtxt and copy its voices into the folder, so that a repository can be moved or mounted elsewhere."""
    copies = []
    for name, path in voices.items():
        copy = f"{VOICES}/{name}.bin"
        (folder / VOICES).mkdir(exist_ok=True)
        write_whole(folder / copy, path.read_bytes())
        copies.append((name, copy))
    write_whole(folder / GRAPH, render_graph(replace(graph, voices=tuple(copies))))
