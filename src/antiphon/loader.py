"""Which family and which backend serve a model folder, and how a name becomes a folder.

Importing it imports no family and no runtime: each is loaded when a folder asks for it.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from antiphon.errors import ConfigError, NotNative
from antiphon.models.session import AnySession
from antiphon.repository.graph_pbtxt import GRAPH, GraphFile, read_graph
from antiphon.types.options import MAX_SPEED, MIN_SPEED, AudioContext, GraphTask, Precision, Report, WeightFormat
from antiphon.weights.config_file import read_config

ESPEAK = "espeak"  # a name without a folder: its library and data are a Python package
BUILT_IN = (ESPEAK,)

# Each family by config.json's model_type: what it does, and the module whose `load` builds our own graphs of it, if any.
FAMILIES: dict[str, tuple[GraphTask, str | None]] = {
    "whisper": ("speech2text", "antiphon.models.whisper.load"),
    "speecht5": ("text2speech", "antiphon.models.speecht5.load"),
    "kokoro": ("text2speech", None),
    "qwen3_asr": ("speech2text", None),
    "fun_asr": ("speech2text", None),
}
_ESPEAK_MODULE = "antiphon.models.espeak.load"


@dataclass(frozen=True, slots=True)
class Choice:
    """What will serve a model, before any of it is loaded. `reason` says why it is not the native engine."""

    family: str
    folder: Path
    backend: Literal["native", "genai", "espeak-ng"]
    device: str
    reason: str = ""
    graph: GraphFile | None = None
    voices: tuple[tuple[str, Path], ...] = ()


def find_folder(name_or_folder: str) -> Path:
    """The folder of a model. Raises ConfigError if it does not exist."""
    folder = Path(name_or_folder).expanduser()
    if not folder.is_dir():
        raise ConfigError(
            f"{name_or_folder}: no such folder, and not a built-in model ({', '.join(BUILT_IN)}).", setting="model_path"
        )
    return folder


def built_in_models() -> tuple[str, ...]:
    """The built-in models that are installed."""
    return () if importlib.util.find_spec("espeakng_loader") is None else BUILT_IN


def name_of(name_or_folder: str) -> str:
    """What a model is called unless somebody names it: a built-in one's name, or that of its folder."""
    return name_or_folder if name_or_folder in BUILT_IN else Path(name_or_folder).expanduser().resolve().name


def choose(name_or_folder: str, *, device: str | None = None, graph: GraphFile | Path | None = None) -> Choice:
    """What would serve a folder, with its own graph.pbtxt unless another is given; `device` stands above the graph's.

    Raises ConfigError naming the folder or file and the fix.
    """
    if name_or_folder == ESPEAK:
        return Choice(ESPEAK, Path(), "espeak-ng", "CPU")
    folder = find_folder(name_or_folder)
    beside = folder / GRAPH
    if graph is None and beside.is_file():
        graph = beside
    home = graph.parent if isinstance(graph, Path) else folder
    described = read_graph(graph) if isinstance(graph, Path) else graph
    voices: tuple[tuple[str, Path], ...] = ()
    if described is not None:
        folder = home / described.models_path
        voices = tuple((name, home / path) for name, path in described.voices)
    family = family_of(folder, described.model_type if described else None)
    if described is not None and described.task != FAMILIES[family][0]:
        raise ConfigError(f"{folder}: the model is {family}, which does {FAMILIES[family][0]}, not {described.task}.")
    device = device or (described.target_device if described else "") or "CPU"
    reason = ""
    if FAMILIES[family][1] is None:
        reason = f"{family} has no native graph yet"
    elif device.upper() != "CPU":
        reason = f"the native engine runs on CPU, not on {device}"
    return Choice(family, folder, "genai" if reason else "native", device, reason, described, voices)


def look_closely(choice: Choice) -> Choice:
    """The choice once more, after a look into the folder: whether our engine knows an exported model's tensors by name.

    Raises ConfigError if OpenVINO GenAI is to serve it, and the device or a file is not there.
    """
    choice = _by_tensors(choice)
    if choice.backend == "genai":
        from antiphon.genai import pipeline as genai

        genai.check(choice.folder, choice.device)
    return choice


def _by_tensors(choice: Choice) -> Choice:
    if choice.backend != "native":
        return choice
    from antiphon.weights.safetensors import has_checkpoint  # brings OpenVINO in

    files = importlib.import_module(f"antiphon.models.{choice.family}.ir")
    if not files.has_ir(choice.folder) or has_checkpoint(choice.folder):
        return choice
    try:
        if choice.family == "speecht5":
            config = importlib.import_module("antiphon.models.speecht5.config").read_config(choice.folder)
            files.check_tokenizer(choice.folder)
            files.open_ir(choice.folder, config, "auto")
        else:
            files.open_ir(choice.folder, "auto")
    except NotNative as error:
        return replace(choice, backend="genai", reason=str(error).rstrip("."))
    return choice


def load_session(
    name_or_folder: str,
    *,
    precision: Precision = "auto",
    weight_format: WeightFormat = "auto",
    device: str | None = None,
    slots: int = 16,
    name: str | None = None,
    report: Report = lambda line: None,
    cache_dir: Path | None = None,
    vocoder: Path | None = None,
    speaker: tuple[str, Path] | None = None,
    graph: GraphFile | Path | None = None,
    plugin_config: Mapping[str, object] | None = None,
    word_timestamps: bool = False,
    audio_context: AudioContext = "full",
) -> AnySession:
    """Load the model of a folder or a built-in name; `report` gets a line about each thing chosen.

    For SpeechT5 there may be a `vocoder` folder, and one more `speaker`: its name and the file of its embedding.
    Whisper alone has an `audio_context`: "auto" hears about as much of a window of 30 s as there is audio.
    `device`, `plugin_config` and `word_timestamps` stand above what the folder's graph.pbtxt, or the `graph` given, says.

    Raises ConfigError naming the folder, file or flag and the fix.
    """
    if slots < 1:
        raise ConfigError(f"--slots {slots}: at least 1 is needed.")
    if audio_context not in get_args(AudioContext):
        raise ConfigError(f"--audio_context {audio_context}: it is one of {', '.join(get_args(AudioContext))}.")
    if cache_dir is not None:
        _check_cache(cache_dir)
    choice = choose(name_or_folder, device=device, graph=graph)
    properties = {**(choice.graph.plugin_config if choice.graph else {}), **(plugin_config or {})}
    asked = LoadOptions(
        name or name_of(name_or_folder),
        precision,
        weight_format,
        slots,
        report,
        cache_dir,
        vocoder,
        speaker,
        properties,
        audio_context,
    )
    if vocoder is not None and choice.family != "speecht5":
        raise ConfigError(f"--vocoder: {name_or_folder} is no SpeechT5 model, which alone has one.")
    if speaker is not None and choice.family not in ("speecht5", "kokoro"):
        raise ConfigError(f"--speaker: {name_or_folder} is no SpeechT5 model, which alone has one.")
    words = word_timestamps or (choice.graph is not None and choice.graph.enable_word_timestamps)
    session = _load(choice, asked, words)
    if choice.graph is not None:
        least, most = choice.graph.speeds
        session.info = replace(session.info, speeds=(max(least, MIN_SPEED), min(most, MAX_SPEED)))
    return session


def _check_cache(folder: Path) -> None:
    """Make the folder if there is none; OpenVINO's own word on one it cannot use is a stack of its source lines."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        usable = os.access(folder, os.W_OK)
    except OSError:
        usable = False
    if not usable:
        raise ConfigError(f"--cache_dir {folder}: nothing can be written there; name a folder that can be.")


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What whoever loads a model asks of it; see `load_session`."""

    name: str
    precision: Precision
    weight_format: WeightFormat
    slots: int
    report: Report
    cache_dir: Path | None
    vocoder: Path | None
    speaker: tuple[str, Path] | None
    properties: Mapping[str, object]
    audio_context: AudioContext


def family_of(folder: Path, said: str | None = None) -> str:
    """The family of the model in a folder. ConfigError if it is none of ours, or not the one that was `said`."""
    config = read_config(folder)
    family = config.get("model_type")
    if family is None and "istftnet" in config and "n_mels" in config:
        family = "kokoro"  # whose config.json names no family
    if not isinstance(family, str) or family not in FAMILIES:
        raise ConfigError(
            f"{folder / 'config.json'}: model_type {family!r} is not served; served: {', '.join(FAMILIES)}."
        )
    if said is not None and said != family:
        raise ConfigError(f"--model_type {said}: {folder / 'config.json'} says it is {family}.")
    return family


def _load(choice: Choice, asked: LoadOptions, word_timestamps: bool) -> AnySession:
    if choice.backend == "genai":
        return _load_genai(choice, asked, word_timestamps, choice.reason)
    try:
        return _load_native(choice, asked, word_timestamps)
    except NotNative as error:
        return _load_genai(choice, asked, word_timestamps, str(error).rstrip("."))


def _load_native(choice: Choice, asked: LoadOptions, word_timestamps: bool) -> AnySession:
    from antiphon.runtime.openvino import open_device  # brings OpenVINO in, which only loading needs

    module = _ESPEAK_MODULE if choice.family == ESPEAK else FAMILIES[choice.family][1]
    assert module is not None
    precision, cache_dir, streams, rest = _told_apart(asked)
    runtime = open_device(choice.device, precision, cache_dir, streams)
    for key, value in rest.items():
        try:
            runtime.core.set_property(choice.device, {key: value})
        except RuntimeError as error:
            first = str(error).strip().splitlines()[-1]
            raise ConfigError(f"--plugin_config: OpenVINO does not take {key}={value} on CPU: {first}") from error
    extras: dict[str, Any] = {"vocoder": asked.vocoder, "speaker": asked.speaker, "voices": choice.voices or None}
    if choice.family == "whisper":
        extras |= {"words": word_timestamps, "audio_context": asked.audio_context}
    session: AnySession = importlib.import_module(module).load(
        choice.folder,
        name=asked.name,
        runtime=runtime,
        weight_format=asked.weight_format,
        slots=asked.slots,
        report=asked.report,
        **{key: value for key, value in extras.items() if value is not None},
    )
    return session


def _told_apart(asked: LoadOptions) -> tuple[Precision, Path | None, int, dict[str, object]]:
    """OpenVINO properties that the native engine has words of its own for, and those that go to the device as they are."""
    rest = dict(asked.properties)
    precision, cache_dir = asked.precision, asked.cache_dir
    hint = rest.pop("INFERENCE_PRECISION_HINT", None)
    if hint is not None and precision == "auto":
        if hint not in ("f32", "bf16"):
            raise ConfigError(
                f"--plugin_config: INFERENCE_PRECISION_HINT {hint} is not served on CPU; f32 and bf16 are."
            )
        precision = "f32" if hint == "f32" else "bf16"
    if "CACHE_DIR" in rest:
        cache_dir = Path(str(rest.pop("CACHE_DIR")))
    hint = str(rest.pop("PERFORMANCE_HINT", "LATENCY"))
    if hint != "LATENCY":
        asked.report(f"{asked.name}: PERFORMANCE_HINT {hint} changes nothing: requests are decoded in one batch.")
    return precision, cache_dir, _streams(rest.pop("NUM_STREAMS", 1), asked), rest


def _streams(value: object, asked: LoadOptions) -> int:
    """Into how many streams the cores are divided: never more than there are cores; one, if that is left to the device."""
    if str(value).upper() in ("AUTO", "NUMA", "0", "-1"):
        asked.report(f"{asked.name}: NUM_STREAMS {value} leaves it to the engine: 1 stream.")
        return 1
    if not str(value).isdecimal() or int(str(value)) < 1:
        raise ConfigError(f"--num_streams (NUM_STREAMS) {value}: a whole number of at least 1 is needed.")
    cores = os.cpu_count() or 1
    if int(str(value)) > cores:
        asked.report(f"{asked.name}: {cores} streams, not {value}: there are no more cores.")
    return min(int(str(value)), cores)


def _load_genai(choice: Choice, asked: LoadOptions, word_timestamps: bool, reason: str) -> AnySession:
    from antiphon.genai import pipeline as genai

    if asked.vocoder is not None:
        raise ConfigError(f"--vocoder: the genai backend serves {asked.name}, and takes it from the model's folder.")
    if asked.audio_context != "full" and FAMILIES[choice.family][0] == "speech2text":
        asked.report(f"{asked.name}: --audio_context {asked.audio_context} changes nothing on the genai backend.")
    voices = (*choice.voices, *((asked.speaker,) if asked.speaker else ()))
    if len(voices) > 1:
        raise ConfigError(
            f"{asked.name}: the genai backend takes one voice by name; put the others' files into {choice.folder / 'voices'}."
        )
    session: AnySession = genai.load(
        choice.folder,
        name=asked.name,
        device=choice.device,
        reason=reason,
        word_timestamps=word_timestamps,
        plugin_config=asked.properties,
        cache_dir=asked.cache_dir,
        speaker=voices[0] if voices else None,
        report=asked.report,
    )
    return session
