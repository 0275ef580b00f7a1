"""Choose the backend that serves a model, by its name or folder, and load it.

Importing this module does not import OpenVINO or the graphs of a family; they are imported when a model loads.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from antiphon.errors import ConfigError, NotNative
from antiphon.hub.catalogue import find_model
from antiphon.hub.model_cache import ModelDownloads, find_cached, not_found
from antiphon.hub.pull import ByteProgress
from antiphon.models.family import Family, families
from antiphon.models.folder import ModelFolder, inspect, lacks_vocoder
from antiphon.models.session import AnySession
from antiphon.repository.graph_pbtxt import GRAPH, GraphFile, read_graph
from antiphon.repository.hub_graph import read_hub_graph
from antiphon.types.options import MAX_SPEED, MIN_SPEED, AudioContext, Precision, Report, WeightFormat
from antiphon.weights.config_file import CONFIG_FILE

if TYPE_CHECKING:
    from antiphon.runtime.openvino import Device

logger = logging.getLogger(__name__)

ESPEAK = "espeak"  # a name without a folder: its library and data are a Python package
BUILT_IN = (ESPEAK,)
DEFAULT_RECOGNISER = "whisper-base"  # of the catalogue: served, and used by transcribe and translate, if none is named


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """How a model is loaded.

    `report` receives a line about each choice. `vocoder` is a folder, `speaker` the name and file of one more voice, for
    families that take them. With the `audio_context` "auto", Whisper encodes short clips at about their own length.
    `device`, `plugin_config` and `word_timestamps` have priority over the folder's graph.pbtxt, or over `graph` if given.
    `setting` is the one that names the model, for the error if it does not exist. A catalogue model that is not on this
    machine is downloaded unless `offline`, with `progress` in bytes.
    """

    name: str | None = None
    precision: Precision = "auto"
    weight_format: WeightFormat = "auto"
    device: str | None = None
    slots: int = 16
    report: Report = lambda line: None
    cache_dir: Path | None = None
    vocoder: Path | None = None
    speaker: tuple[str, Path] | None = None
    graph: GraphFile | Path | None = None
    plugin_config: Mapping[str, object] = field(default_factory=dict)
    word_timestamps: bool = False
    audio_context: AudioContext = "full"
    setting: str | None = "model_path"
    offline: bool = False
    progress: ByteProgress = lambda name, done, total: None


@dataclass(frozen=True, slots=True)
class Choice:
    """The backend that will serve a model, before it is loaded. `reason` says why it is not the native engine."""

    folder: ModelFolder
    family: Family
    backend: str
    device: str
    reason: str = ""
    graph: GraphFile | None = None
    voices: tuple[tuple[str, Path], ...] = ()


def find_folder(name_or_folder: str, setting: str | None = "model_path") -> Path:
    """The folder of a model: the folder itself, a catalogue model, or a repository in the Hugging Face cache.

    Raises ConfigError if it is not on this machine.
    """
    folder = Path(name_or_folder).expanduser()
    if folder.is_dir():
        return folder
    cached = find_cached(name_or_folder)
    if cached is None and find_model(name_or_folder):
        raise ConfigError(f"{name_or_folder} has not been downloaded; `antiphon pull {name_or_folder}` does it.")
    if cached is None:
        raise not_found(name_or_folder, setting)
    return cached


def download(name_or_folder: str, options: LoadOptions) -> None:
    """Download a catalogue model that is not on this machine. Does nothing for other names and for folders.

    Raises ConfigError if it cannot be downloaded.
    """
    if find_model(name_or_folder) is None or Path(name_or_folder).expanduser().is_dir():
        return
    downloads = ModelDownloads(
        offline=options.offline, lacks_vocoder=lacks_vocoder, report=options.report, progress=options.progress
    )
    downloads.fetch(name_or_folder, setting=options.setting)


def built_in_models() -> tuple[str, ...]:
    """The built-in models that are installed."""
    return () if importlib.util.find_spec("espeakng_loader") is None else BUILT_IN


def name_of(name_or_folder: str) -> str:
    """The default name of a model: that of its folder, or its own if it is built in, in the catalogue or on the hub."""
    folder = Path(name_or_folder).expanduser()
    if name_or_folder in BUILT_IN or folder.is_dir():
        return name_or_folder if name_or_folder in BUILT_IN else folder.resolve().name
    model = find_model(name_or_folder)
    if model is not None:
        return model.name
    return name_or_folder if find_cached(name_or_folder) else folder.resolve().name


def choose(
    name_or_folder: str,
    *,
    device: str | None = None,
    graph: GraphFile | Path | None = None,
    setting: str | None = "model_path",
) -> Choice:
    """The backend for a folder, by its own graph.pbtxt or the given graph; `device` has priority over the graph's.

    Raises ConfigError naming the folder or file and the fix.
    """
    for family in families():
        if family.detect is None and family.name == name_or_folder:
            return Choice(ModelFolder(Path(), None, family, family.task, {}), family, family.backend, "CPU")
    path = find_folder(name_or_folder, setting)
    if graph is None and (path / GRAPH).is_file():
        graph = path / GRAPH
    home = graph.parent if isinstance(graph, Path) else path
    if isinstance(graph, Path):
        published = home == path and _is_in_hub_cache(name_or_folder)
        graph = read_hub_graph(graph, logger.info) if published else read_graph(graph)
    folder = inspect(path if graph is None else home / graph.models_path)
    family = folder.served_family()
    if graph is not None and graph.model_type not in (None, family.name):
        raise ConfigError(
            f"{folder.path / CONFIG_FILE} says the model is {family.name}, not {graph.model_type}.",
            setting="model_type",
        )
    if graph is not None and graph.task != family.task:
        raise ConfigError(f"{folder.path}: the model is {family.name}, which does {family.task}, not {graph.task}.")
    device = device or (graph.target_device if graph else "") or "CPU"
    reason = ""
    if family.load is None:
        reason = f"{family.name} has no native graph yet"
    elif device.upper() != "CPU":
        reason = f"the native engine runs on CPU, not on {device}"
    voices = tuple((name, home / file) for name, file in graph.voices) if graph else ()
    return Choice(folder, family, "genai" if reason else family.backend, device, reason, graph, voices)


def _is_in_hub_cache(name: str) -> bool:
    """Whether a name is that of a repository in the Hugging Face cache, whose files are as published."""
    return not Path(name).expanduser().is_dir() and find_model(name) is None


def check(choice: Choice) -> Choice:
    """Check the files of a choice. An OpenVINO folder that the native engine cannot read changes to the genai backend.

    Raises ConfigError for the genai backend if the device or a file is missing.
    """
    if choice.backend == "native" and choice.folder.format == "openvino" and choice.family.check_ir is not None:
        try:
            choice.family.check_ir(choice.folder.path)
        except NotNative as error:
            choice = replace(choice, backend="genai", reason=str(error).rstrip("."))
    if choice.backend == "genai":
        from antiphon.genai import pipeline as genai

        genai.check(choice.folder, choice.device)
    return choice


def load_sessions(name_or_folder: str, options: LoadOptions = LoadOptions()) -> tuple[AnySession, ...]:
    """Load the model of a folder or a built-in name: one session for each replica, which is one for each device stream.

    Raises ConfigError naming the folder, file or setting and the fix.
    """
    if options.slots < 1:
        raise ConfigError(f"it must be at least 1, not {options.slots}.", setting="slots")
    if options.audio_context not in get_args(AudioContext):
        valid = ", ".join(get_args(AudioContext))
        raise ConfigError(f"it must be one of {valid}, not {options.audio_context}.", setting="audio_context")
    if options.cache_dir is not None:
        _check_cache(options.cache_dir)
    download(name_or_folder, options)
    choice = choose(name_or_folder, device=options.device, graph=options.graph, setting=options.setting)
    for setting, value in (("vocoder", options.vocoder), ("speaker", options.speaker)):
        if value is not None and setting not in choice.family.takes:
            raise ConfigError(
                f"{name_or_folder} is a model of the family {choice.family.name}, which takes none.", setting=setting
            )
    graph = choice.graph or GraphFile(choice.family.task)
    options = replace(
        options,
        name=options.name or name_of(name_or_folder),
        plugin_config={**graph.plugin_config, **options.plugin_config},
        word_timestamps=options.word_timestamps or graph.enable_word_timestamps,
    )
    speeds = max(graph.speeds[0], MIN_SPEED), min(graph.speeds[1], MAX_SPEED)
    if choice.backend != "genai":
        try:
            return _load_native(choice, options, speeds)
        except NotNative as error:
            choice = replace(choice, reason=str(error).rstrip("."))
    return (_load_genai(choice, options, speeds),)


def _check_cache(folder: Path) -> None:
    """Make the folder if it does not exist. OpenVINO's own error for an unusable one is a stack of C++ source lines."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        usable = os.access(folder, os.W_OK)
    except OSError:
        usable = False
    if not usable:
        raise ConfigError(f"{folder} is not writable; name a folder that is.", setting="cache_dir")


def _load_native(choice: Choice, options: LoadOptions, speeds: tuple[float, float]) -> tuple[AnySession, ...]:
    assert choice.family.load is not None
    runtime = _open_device(choice, options)
    values: dict[str, Any] = {
        "vocoder": options.vocoder,
        "speaker": options.speaker,
        "voices": choice.voices,
        "speeds": speeds,
        "words": options.word_timestamps,
        "audio_context": options.audio_context,
    }
    return choice.family.load(
        choice.folder,
        name=options.name,
        runtime=runtime,
        weight_format=options.weight_format,
        slots=options.slots,
        report=options.report,
        **{name: value for name, value in values.items() if name in choice.family.takes},
    )


def _open_device(choice: Choice, options: LoadOptions) -> Device:
    """The device with the plugin_config's properties: some of them are settings of the native engine."""
    from antiphon.runtime.openvino import open_device  # imports OpenVINO

    properties = dict(options.plugin_config)
    precision, cache_dir = options.precision, options.cache_dir
    hint = properties.pop("INFERENCE_PRECISION_HINT", None)
    if hint is not None and precision == "auto":
        if hint not in ("f32", "bf16"):
            raise ConfigError(
                f"INFERENCE_PRECISION_HINT must be f32 or bf16 on CPU, not {hint}.", setting="plugin_config"
            )
        precision = "f32" if hint == "f32" else "bf16"
    if "CACHE_DIR" in properties:
        cache_dir = Path(str(properties.pop("CACHE_DIR")))
    hint = str(properties.pop("PERFORMANCE_HINT", "LATENCY"))
    if hint != "LATENCY":
        options.report(f"{options.name}: PERFORMANCE_HINT {hint} has no effect: requests are decoded in one batch.")
    streams = _streams(properties.pop("NUM_STREAMS", 1), options)
    runtime = open_device(choice.device, precision, cache_dir, streams)
    for key, value in properties.items():
        try:
            runtime.core.set_property(choice.device, {key: value})
        except RuntimeError as error:
            cause = str(error).strip().splitlines()[-1]
            raise ConfigError(
                f"OpenVINO does not accept {key}={value} on CPU: {cause}", setting="plugin_config"
            ) from error
    return runtime


def _streams(value: object, options: LoadOptions) -> int:
    """The number of streams that the cores are divided into: at most one per core, and 1 if the device may choose."""
    if str(value).upper() in ("AUTO", "NUMA", "0", "-1"):
        options.report(f"{options.name}: NUM_STREAMS {value} is 1 stream in the native engine.")
        return 1
    if not str(value).isdecimal() or int(str(value)) < 1:
        raise ConfigError(f"NUM_STREAMS must be a whole number of at least 1, not {value}.", setting="num_streams")
    cores = os.cpu_count() or 1
    if int(str(value)) > cores:
        options.report(f"{options.name}: {cores} streams, not {value}: the machine has no more cores.")
    return min(int(str(value)), cores)


def _load_genai(choice: Choice, options: LoadOptions, speeds: tuple[float, float]) -> AnySession:
    from antiphon.genai import pipeline as genai

    assert options.name is not None
    if options.vocoder is not None:
        raise ConfigError(
            f"the genai backend serves {options.name}, and reads the vocoder from the model's folder.",
            setting="vocoder",
        )
    if options.audio_context != "full" and choice.family.task == "speech2text":
        options.report(f"{options.name}: audio_context {options.audio_context} has no effect on the genai backend.")
    voices = (*choice.voices, *((options.speaker,) if options.speaker else ()))
    if len(voices) > 1:
        raise ConfigError(
            f"{options.name}: the genai backend takes one voice by name; put the files of the others into "
            f"{choice.folder.path / 'voices'}."
        )
    return genai.load(
        choice.folder,
        name=options.name,
        device=choice.device,
        reason=choice.reason,
        word_timestamps=options.word_timestamps,
        plugin_config=options.plugin_config,
        cache_dir=options.cache_dir,
        speaker=voices[0] if voices else None,
        speeds=speeds,
        report=options.report,
    )
