"""What a server's settings, or the config.json they name, ask to be served: one `ModelSpec` a model.

It reads what is asked for; it must not load anything, nor bring the runtime in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from antiphon.errors import ConfigError
from antiphon.loader import ESPEAK, built_in_models, load_session, name_of
from antiphon.models.session import AnySession
from antiphon.repository.config_json import Entry, find_config, read_monitoring, read_repository
from antiphon.repository.graph_pbtxt import GRAPH, GraphFile
from antiphon.settings import Settings
from antiphon.types.options import GraphTask, Report


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model to be served under a name. Two that are equal are the same model, down to the words of its graph.pbtxt.

    `source` is a folder or a built-in name; `device`, `plugin_config` and `word_timestamps` stand above the graph.
    """

    name: str
    source: str
    graph: GraphFile | Path | None = None
    graph_text: str = ""
    device: str | None = None
    plugin_config: Mapping[str, object] = field(default_factory=dict)
    word_timestamps: bool = False
    vocoder: Path | None = None
    speaker: tuple[str, Path] | None = None


def config_of(settings: Settings) -> Path | None:
    """The config.json that says what is served, if that is how it is said."""
    if settings.config_path is not None:
        return find_config(settings.config_path)
    if settings.model_repository_path is None or settings.source_model or settings.model_path:
        return None
    return find_config(settings.model_repository_path)


def model_specs(settings: Settings) -> tuple[ModelSpec, ...]:
    """What the settings ask for now; a config.json is read anew each time. ConfigError names what is wrong in it."""
    config = config_of(settings)
    if config is not None:
        return tuple(map(_of_entry, read_repository(config)))
    if settings.source_model is not None:
        assert settings.model_repository_path is not None  # the settings have seen to it
        folder = settings.model_repository_path / settings.source_model
        return (_of_settings(settings, str(folder), settings.model_name or settings.source_model),)
    if settings.model_path is not None:
        return (_of_settings(settings, settings.model_path, settings.model_name or name_of(settings.model_path)),)
    return tuple(
        ModelSpec(name, name, device=settings.target_device, plugin_config=settings.properties)
        for name in built_in_models()
    )


def wanted_metrics(settings: Settings) -> tuple[str, ...] | None:
    """The metrics that flags or a config.json ask for, by name; () is the usual ones, None is none at all."""
    config = config_of(settings)
    monitoring = read_monitoring(config) if config is not None else None
    if monitoring is None:
        return settings.metrics
    if settings.metrics_enable:
        raise ConfigError(
            f"Metrics configuration duplicated in configuration file and CLI parameters: take --metrics_enable away, "
            f"or monitoring out of {config}."
        )
    return monitoring.names if monitoring.enable else None


def load(wanted: ModelSpec, settings: Settings, report: Report) -> AnySession:
    """A session of what is wanted. Raises ConfigError naming the folder, file or flag and the fix."""
    return load_session(
        wanted.source,
        name=wanted.name,
        precision=settings.precision,
        weight_format=settings.weight_format,
        device=wanted.device,
        slots=settings.slots,
        report=report,
        cache_dir=settings.cache,
        vocoder=wanted.vocoder,
        speaker=wanted.speaker,
        graph=wanted.graph,
        plugin_config=wanted.plugin_config,
        word_timestamps=wanted.word_timestamps,
        audio_context=settings.audio_context,
    )


def graph_of(settings: Settings, task: GraphTask) -> GraphFile:
    """The graph that flags describe, for a file or for memory only."""
    return GraphFile(
        task=task,
        target_device=settings.target_device or "",
        plugin_config=settings.properties,
        enable_word_timestamps=settings.enable_word_timestamps,
        model_type=settings.model_type,
    )


def _vocoder_of(settings: Settings) -> Path | None:
    """The vocoder's folder; one that is a name of the hub has been pulled into the model's own."""
    if settings.vocoder is None or (settings.source_model and not Path(settings.vocoder).is_dir()):
        return None
    return Path(settings.vocoder).expanduser()


def _of_entry(entry: Entry) -> ModelSpec:
    built_in = entry.folder.name == ESPEAK and not entry.folder.exists()
    return ModelSpec(
        entry.name,
        ESPEAK if built_in else str(entry.folder),
        graph=entry.graph,
        graph_text=_text_of(entry.graph),
        device=entry.target_device,
        plugin_config=entry.plugin_config,
    )


def _of_settings(settings: Settings, source: str, name: str) -> ModelSpec:
    graph: GraphFile | Path | None = graph_of(settings, settings.task) if settings.task is not None else None
    if settings.task is None and settings.model_type is not None and not (Path(source) / GRAPH).is_file():
        graph = GraphFile("text2speech", model_type=settings.model_type)
    return ModelSpec(
        name,
        source,
        graph=graph,
        device=settings.target_device,
        plugin_config=settings.properties,
        word_timestamps=settings.enable_word_timestamps,
        vocoder=_vocoder_of(settings),
        speaker=settings.speaker,
    )


def _text_of(graph: Path | None) -> str:
    """What the file says, so that a change of it is seen; what is wrong with it is told when it is loaded."""
    try:
        return graph.read_text("utf-8", errors="replace") if graph is not None else ""
    except OSError:
        return ""
