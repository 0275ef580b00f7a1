"""The models that a server's settings, or the config.json they name, list to be served."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from antiphon.errors import ConfigError
from antiphon.hub.catalogue import find_model
from antiphon.hub.pull import ByteProgress
from antiphon.loader import DEFAULT_RECOGNISER, ESPEAK, LoadOptions, built_in_models, load_sessions, name_of
from antiphon.models.session import AnySession
from antiphon.repository.config_json import Entry, find_config, read_monitoring, read_repository
from antiphon.repository.graph_pbtxt import GRAPH, GraphFile
from antiphon.settings import Settings
from antiphon.types.options import GraphTask, Report


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model to be served under a name. Two specs are equal if nothing has changed, down to the text of graph.pbtxt.

    `source` is a folder or a built-in name; `device`, `plugin_config` and `word_timestamps` have priority over the graph.
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
    setting: str | None = field(default="model_path", compare=False)  # the one that names the model, if one does


def files_of(spec: ModelSpec) -> tuple[tuple[str, int, int], ...]:
    """Name, size and modification time of each file in a model's folder: while they stay, a failed load would fail again."""
    try:
        files = [(path.name, path.stat()) for path in sorted(Path(spec.source).iterdir())]
    except OSError:
        return ()
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in files)


def config_of(settings: Settings) -> Path | None:
    """The config.json that lists the models, if the settings name one."""
    if settings.config_path is not None:
        return find_config(settings.config_path)
    if settings.model_repository_path is None or settings.source_model or settings.model_path:
        return None
    return find_config(settings.model_repository_path)


def model_specs(settings: Settings) -> tuple[ModelSpec, ...]:
    """The models to serve now; a config.json is read again each time. Raises ConfigError naming what is wrong in it."""
    config = config_of(settings)
    if config is not None:
        return tuple(map(_of_entry, read_repository(config)))
    if settings.source_model is not None:
        assert settings.model_repository_path is not None  # checked by the settings
        model = find_model(settings.source_model)
        name = settings.source_model if model is None else model.name  # the folder that an alias is pulled into
        folder = settings.model_repository_path / name
        return (_of_settings(settings, str(folder), settings.model_name or name),)
    if settings.model_path is not None:
        return (_of_settings(settings, settings.model_path, settings.model_name or name_of(settings.model_path)),)
    return tuple(
        ModelSpec(name, name, device=settings.target_device, plugin_config=settings.properties)
        for name in (DEFAULT_RECOGNISER, *built_in_models())
    )


def enabled_metrics(settings: Settings) -> tuple[str, ...] | None:
    """The names of the metrics that the settings or a config.json enable; () is the default set, None is none at all."""
    config = config_of(settings)
    monitoring = read_monitoring(config) if config is not None else None
    if monitoring is None:
        return settings.metrics
    if settings.metrics_enable:
        raise ConfigError(
            "Metrics configuration duplicated in configuration file and CLI parameters: leave it out, or remove "
            f"monitoring from {config}.",
            setting="metrics_enable",
        )
    return monitoring.names if monitoring.enable else None


def load(
    spec: ModelSpec,
    settings: Settings,
    report: Report,
    progress: ByteProgress = lambda name, done, total: None,
) -> tuple[AnySession, ...]:
    """Load a model; `progress` is that of a download. Raises ConfigError naming the folder, file or setting and the fix."""
    return load_sessions(
        spec.source,
        LoadOptions(
            name=spec.name,
            precision=settings.precision,
            weight_format=settings.weight_format,
            device=spec.device,
            slots=settings.slots,
            report=report,
            cache_dir=settings.cache,
            vocoder=spec.vocoder,
            speaker=spec.speaker,
            graph=spec.graph,
            plugin_config=spec.plugin_config,
            word_timestamps=spec.word_timestamps,
            audio_context=settings.audio_context,
            setting=spec.setting,
            offline=settings.offline,
            progress=progress,
        ),
    )


def graph_of(settings: Settings, task: GraphTask) -> GraphFile:
    """The graph that the settings describe."""
    return GraphFile(
        task=task,
        target_device=settings.target_device or "",
        plugin_config=settings.properties,
        enable_word_timestamps=settings.enable_word_timestamps,
        model_type=settings.model_type,
    )


def _vocoder_of(settings: Settings) -> Path | None:
    """The vocoder's folder. A vocoder named on the hub was pulled into the model's own folder."""
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
        setting=None,
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
    """The text of the file, by which a change is noticed. Errors in it are reported when the model loads."""
    try:
        return graph.read_text("utf-8", errors="replace") if graph is not None else ""
    except OSError:
        return ""
