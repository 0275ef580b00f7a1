"""`antiphon export`: a checkpoint into the folder that OVMS serves, with the flags of its export_model.py.

It knows flags and folders; it must not know graphs or weights.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from antiphon.errors import ConfigError
from antiphon.export.calibration import calibration_windows
from antiphon.export.export import export as write
from antiphon.hub.pull import VOCODER, pull
from antiphon.loader import ESPEAK
from antiphon.repository.config_json import add_entry, read_repository, remove_entry
from antiphon.repository.graph_pbtxt import GraphFile
from antiphon.types.options import GraphTask
from antiphon.weights.openvino_ir.writer import IrFormat

TaskArgument = Annotated[GraphTask, typer.Argument(metavar="TASK", help="speech2text or text2speech.")]
SourceFlag = Annotated[str, typer.Option("--source-model", help="A checkpoint's folder, or a name on the hub.")]
NameFlag = Annotated[str, typer.Option("--model-name", help="What it is called when served; else as the source is.")]
FormatFlag = Annotated[IrFormat, typer.Option("--weight-format", help="How weights are held on disk.")]
ModeFlag = Annotated[
    Literal["int8"] | None,
    typer.Option(
        "--quant-mode", help="int8: for speech2text, the encoder's weights and activations in 8 bits, by NNCF."
    ),
]
CalibrationFlag = Annotated[
    Path | None,
    typer.Option(
        "--calibration", help="A folder of speech to calibrate --quant-mode on; else a built-in voice speaks."
    ),
]
RepositoryFlag = Annotated[Path, typer.Option("--model-repository-path", help="Where the model's folder goes.")]
ConfigFlag = Annotated[Path, typer.Option("--config-file-path", help="The config.json that is told of the model.")]
OverwriteFlag = Annotated[bool, typer.Option("--overwrite-models", help="Write weights that are there already anew.")]
DeviceFlag = Annotated[str, typer.Option("--target-device", help="The OpenVINO device it is to run on.")]
CacheFlag = Annotated[str, typer.Option("--ov-cache-dir", help="Where OpenVINO keeps compiled models.")]
StreamsFlag = Annotated[int, typer.Option("--num-streams", min=0, help="NUM_STREAMS of the device.")]
WordsFlag = Annotated[bool, typer.Option("--enable-word-timestamps", help="For speech2text: times of words.")]
KindFlag = Annotated[Literal["speecht5", "kokoro"] | None, typer.Option("--model-type", help="For text2speech.")]
VocoderFlag = Annotated[
    str, typer.Option("--vocoder", help="For text2speech: a HiFi-GAN's folder, or name on the hub.")
]
SpeakerFlag = Annotated[str, typer.Option("--speaker-name", help="For text2speech: what a voice is called.")]
SpeakerPathFlag = Annotated[str, typer.Option("--speaker-path", help="For text2speech: the voice's embedding.")]
ExtraFlag = Annotated[str, typer.Option("--extra-quantization-params", help="Means nothing for these models.")]


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
        raise ConfigError("--calibration is for --quant-mode int8: give that too, or leave it out.")
    if extra_quantization_params:
        typer.echo("--extra_quantization_params means nothing for these models, and is left alone.", err=True)
    name = model_name or _name_of(source_model)
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ConfigError(f"--model_name {name}: leads out of --model_repository_path; name a folder inside it.")
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
    sound, pulled_sound = _sound(vocoder, source, folder, needed=task == "text2speech" and not kept)
    write(
        source,
        folder,
        graph=graph,
        weight_format=weight_format,
        calibration=partial(calibration_windows, calibration) if quant_mode else None,
        vocoder=sound,
        overwrite=overwrite_models,
        report=_say,
    )
    for place in (pulled, pulled_sound):
        if place is not None:
            shutil.rmtree(place, ignore_errors=True)
    _enter(config_file_path, name, folder)


def _check_task(
    task: str, words: bool, kind: str | None, vocoder: str, speaker: str, path: str, mode: str | None
) -> None:
    """Flags of the other task are wrong, as export_model.py has it."""
    if task == "speech2text":
        others = {"--model_type": kind, "--vocoder": vocoder, "--speaker_name": speaker, "--speaker_path": path}
        for flag, value in others.items():
            if value:
                raise ConfigError(f"{flag} is for text2speech, not {task}: leave it out.")
    elif words or mode:
        flag = "--enable_word_timestamps" if words else "--quant-mode"
        raise ConfigError(f"{flag} is for speech2text, not {task}: leave it out.")
    if kind == "kokoro":
        raise ConfigError("--model_type kokoro: not exported here; pull one that is an OpenVINO model already.")
    if bool(speaker) != bool(path):
        raise ConfigError("--speaker_name and --speaker_path belong together: give both.")


def _name_of(source: str) -> str:
    """What is on the hub keeps its name, slash and all; a folder is called as its last part is."""
    place = Path(source).expanduser()
    if place.is_dir():
        return place.resolve().name
    _check_on_hub("source_model", source)
    return source


def _check_on_hub(setting: str, name: str) -> None:
    """What is no folder may be a name of the hub, unless it cannot be one."""
    if name.startswith(("/", ".", "~")):
        raise ConfigError(f"{name}: no such folder.", setting=setting)


def _source(source: str, folder: Path, vocoder: str, *, needed: bool) -> tuple[Path, Path | None]:
    """The checkpoint's folder; if it had to be brought from the hub, also which folder can go afterwards."""
    if source == ESPEAK:
        raise ConfigError(f"--source_model {ESPEAK}: has no weights to export; it is served by its name.")
    place = Path(source).expanduser()
    if place.is_dir() or not needed:
        return place, None
    _check_on_hub("source_model", source)
    brought = folder.with_name(f".{folder.name}.source")
    beside = VOCODER if not vocoder or Path(vocoder).expanduser().is_dir() else vocoder
    return pull(source, folder.parent, vocoder=beside, into=brought, report=_say), brought


def _sound(vocoder: str, source: Path, folder: Path, *, needed: bool) -> tuple[Path | None, Path | None]:
    """The vocoder's folder, if one is named and did not come with the checkpoint; and which folder can go afterwards."""
    if not vocoder or not needed:
        return None, None
    place = Path(vocoder).expanduser()
    if place.is_dir():
        return place, None
    if source.name.startswith(f".{folder.name}."):
        return None, None  # pulled with the checkpoint
    _check_on_hub("vocoder", vocoder)
    brought = folder.with_name(f".{folder.name}.vocoder")
    return pull(vocoder, folder.parent, vocoder=None, into=brought, report=_say), brought


def _enter(config: Path, name: str, folder: Path) -> None:
    """Tell config.json, unless it knows; an entry of that name for another folder gives way."""
    entries = {entry.name: entry for entry in read_repository(config)} if config.is_file() else {}
    if name in entries and entries[name].folder == folder.resolve():
        return
    if name in entries:
        remove_entry(config, name)
    add_entry(config, name, folder)
    typer.echo(f"{config}: names {name} now.")


def _say(line: str) -> None:
    typer.echo(line)
