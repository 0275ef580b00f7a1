"""`antiphon export`: write a checkpoint as the folder that OVMS serves, with the flags of its export_model.py."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer

from antiphon.benchmark.clips import pack_sentences, resampled
from antiphon.errors import ConfigError
from antiphon.export.calibration import SENTENCES, VOICES, Speaker, calibration_windows
from antiphon.export.export import export as write
from antiphon.hub.pull import VOCODER, pull
from antiphon.loader import ESPEAK, built_in_models
from antiphon.local import load
from antiphon.models.folder import inspect, lacks_vocoder
from antiphon.repository.config_json import add_entry, read_repository, remove_entry
from antiphon.repository.graph_pbtxt import GraphFile
from antiphon.types.audio import Samples
from antiphon.types.options import GraphTask
from antiphon.weights.openvino_ir.writer import IrFormat

TaskArgument = Annotated[GraphTask, typer.Argument(metavar="TASK", help="speech2text or text2speech.")]
SourceFlag = Annotated[str, typer.Option("--source-model", help="A checkpoint's folder, or a name on the hub.")]
NameFlag = Annotated[str, typer.Option("--model-name", help="The name it is served by; else that of the source.")]
FormatFlag = Annotated[IrFormat, typer.Option("--weight-format", help="How weights are stored.")]
ModeFlag = Annotated[
    Literal["int8"] | None,
    typer.Option(
        "--quant-mode", help="int8: for speech2text, the encoder's weights and activations in 8 bits, by NNCF."
    ),
]
CalibrationFlag = Annotated[
    Path | None,
    typer.Option("--calibration", help="A folder of speech to calibrate --quant-mode on; else synthetic speech."),
]
RepositoryFlag = Annotated[Path, typer.Option("--model-repository-path", help="Where the model's folder is written.")]
ConfigFlag = Annotated[Path, typer.Option("--config-file-path", help="The config.json that the model is added to.")]
OverwriteFlag = Annotated[bool, typer.Option("--overwrite-models", help="Replace weights that exist.")]
DeviceFlag = Annotated[str, typer.Option("--target-device", help="The OpenVINO device to run on.")]
CacheFlag = Annotated[str, typer.Option("--ov-cache-dir", help="The folder where OpenVINO caches compiled models.")]
StreamsFlag = Annotated[int, typer.Option("--num-streams", min=0, help="NUM_STREAMS of the device.")]
WordsFlag = Annotated[bool, typer.Option("--enable-word-timestamps", help="For speech2text: word timestamps.")]
KindFlag = Annotated[Literal["speecht5", "kokoro"] | None, typer.Option("--model-type", help="For text2speech.")]
VocoderFlag = Annotated[
    str, typer.Option("--vocoder", help="For text2speech: the folder of a HiFi-GAN, or its name on the hub.")
]
SpeakerFlag = Annotated[str, typer.Option("--speaker-name", help="For text2speech: the name of a voice.")]
SpeakerPathFlag = Annotated[
    str, typer.Option("--speaker-path", help="For text2speech: the file of its speaker embedding.")
]
ExtraFlag = Annotated[str, typer.Option("--extra-quantization-params", help="Has no effect on these models.")]


def export(
    task: TaskArgument,
    source_model: SourceFlag,
    model_name: NameFlag = "",
    weight_format: FormatFlag = "int8",
    quant_mode: ModeFlag = None,
    calibration: CalibrationFlag = None,
    model_repository_path: RepositoryFlag = Path("models"),
    config_file_path: ConfigFlag = Path("config.json"),
    overwrite_models: OverwriteFlag = False,
    target_device: DeviceFlag = "CPU",
    ov_cache_dir: CacheFlag = "",
    num_streams: StreamsFlag = 0,
    enable_word_timestamps: WordsFlag = False,
    model_type: KindFlag = None,
    vocoder: VocoderFlag = "",
    speaker_name: SpeakerFlag = "",
    speaker_path: SpeakerPathFlag = "",
    extra_quantization_params: ExtraFlag = "",
) -> None:
    """Write a checkpoint as an OpenVINO model, without PyTorch."""
    _check_task(task, enable_word_timestamps, model_type, vocoder, speaker_name, speaker_path, quant_mode)
    if calibration is not None and not quant_mode:
        raise ConfigError("it is for quant_mode int8: give that too, or leave it out.", setting="calibration")
    if extra_quantization_params:
        typer.echo("--extra_quantization_params has no effect on these models.", err=True)
    name = model_name or _name_of(source_model)
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ConfigError(f"{name} is outside of model_repository_path; name a folder inside it.", setting="model_name")
    folder = model_repository_path / name
    graph = GraphFile(
        task,
        target_device=target_device,
        plugin_config={"NUM_STREAMS": str(num_streams or 1)} | ({"CACHE_DIR": ov_cache_dir} if ov_cache_dir else {}),
        enable_word_timestamps=enable_word_timestamps,
        voices=((speaker_name, speaker_path),) if speaker_name else (),
    )
    kept = folder.is_dir() and not overwrite_models
    source, pulled = _source(source_model, folder, vocoder, needed=not kept)
    needed = task == "text2speech" and not kept
    hifigan, pulled_vocoder = _vocoder(vocoder, folder, with_checkpoint=pulled is not None, needed=needed)
    write(
        inspect(source),
        folder,
        graph=graph,
        weight_format=weight_format,
        calibration=partial(calibration_windows, calibration, speakers) if quant_mode else None,
        vocoder=hifigan,
        overwrite=overwrite_models,
        report=_say,
    )
    for download in (pulled, pulled_vocoder):
        if download is not None:
            shutil.rmtree(download, ignore_errors=True)
    _add_entry(config_file_path, name, folder)


def speakers() -> list[Speaker]:
    """eSpeak NG's voices, reading the sentences for calibration. Raises ConfigError if it is not installed."""
    if ESPEAK not in built_in_models():
        raise ConfigError(
            "name a folder of speech, or pip install 'antiphon[espeak]' for a synthetic one.", setting="calibration"
        )
    with load(ESPEAK) as model:
        rate = model.info.sample_rate
        clips = [
            {text: resampled(model.speak(text, voice=voice), rate) for text in SENTENCES[language]}
            for language, voices in VOICES.items()
            for voice in voices
        ]
    return [partial(_clip, sentences) for sentences in clips]


def _clip(sentences: Mapping[str, Samples], seconds: float, generator: np.random.Generator) -> Samples:
    return pack_sentences(sentences, seconds, generator)[0]


def _check_task(
    task: str, words: bool, kind: str | None, vocoder: str, speaker: str, path: str, mode: str | None
) -> None:
    """Refuse the flags of the other task, as export_model.py does."""
    others: dict[str, object]
    if task == "speech2text":
        others = {"model_type": kind, "vocoder": vocoder, "speaker_name": speaker, "speaker_path": path}
    else:
        others = {"enable_word_timestamps": words, "quant_mode": mode}
    for setting, value in others.items():
        if value:
            other = "text2speech" if task == "speech2text" else "speech2text"
            raise ConfigError(f"it is for {other}, not {task}: leave it out.", setting=setting)
    if kind == "kokoro":
        raise ConfigError("kokoro is not exported; pull one that is an OpenVINO model already.", setting="model_type")
    if bool(speaker) != bool(path):
        missing, given = ("speaker_path", "speaker_name") if speaker else ("speaker_name", "speaker_path")
        raise ConfigError(f"it is missing, and belongs together with {given}: give both.", setting=missing)


def _name_of(source: str) -> str:
    """The default name: a name on the hub as it is, and the last part of a folder's path."""
    path = Path(source).expanduser()
    if path.is_dir():
        return path.resolve().name
    _check_hub_name("source_model", source)
    return source


def _check_hub_name(setting: str, name: str) -> None:
    """Raise ConfigError for a path, which can only have been meant as a folder."""
    if name.startswith(("/", ".", "~")):
        raise ConfigError(f"{name}: no such folder.", setting=setting)


def _source(source: str, folder: Path, vocoder: str, *, needed: bool) -> tuple[Path, Path | None]:
    """The checkpoint's folder; if it was pulled from the hub, also the folder to delete after the export."""
    if source == ESPEAK:
        raise ConfigError(f"{ESPEAK} has no weights to export; it is served by its name.", setting="source_model")
    path = Path(source).expanduser()
    if path.is_dir() or not needed:
        return path, None
    _check_hub_name("source_model", source)
    download = folder.with_name(f".{folder.name}.source")
    hub_vocoder = VOCODER if not vocoder or Path(vocoder).expanduser().is_dir() else vocoder
    pull(source, folder.parent, vocoder=hub_vocoder, lacks_vocoder=lacks_vocoder, into=download, report=_say)
    return download, download


def _vocoder(vocoder: str, folder: Path, *, with_checkpoint: bool, needed: bool) -> tuple[Path | None, Path | None]:
    """The folder of a vocoder that did not come with the checkpoint; if it was pulled, also the folder to delete."""
    if not vocoder or not needed:
        return None, None
    path = Path(vocoder).expanduser()
    if path.is_dir():
        return path, None
    if with_checkpoint:
        return None, None  # pulled with it
    _check_hub_name("vocoder", vocoder)
    download = folder.with_name(f".{folder.name}.vocoder")
    return pull(vocoder, folder.parent, vocoder=None, into=download, report=_say), download


def _add_entry(config: Path, name: str, folder: Path) -> None:
    """Add the model to config.json, in place of an entry of the same name for another folder."""
    entries = {entry.name: entry for entry in read_repository(config)} if config.is_file() else {}
    if name in entries and entries[name].folder == folder.resolve():
        return
    if name in entries:
        remove_entry(config, name)
    add_entry(config, name, folder)
    typer.echo(f"{config}: {name} is added.")


def _say(line: str) -> None:
    typer.echo(line)
