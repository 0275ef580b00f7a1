"""The actions of OVMS's command line other than serving: list, add, remove, configure, pull. Messages are OVMS's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import typer

from antiphon.environment import REPOSITORY_VARIABLE
from antiphon.errors import ConfigError
from antiphon.model_spec import graph_of
from antiphon.models.folder import inspect
from antiphon.repository.config_json import CONFIG, add_entry, find_config, list_models, remove_entry, write_graph
from antiphon.repository.graph_pbtxt import GRAPH, GraphFile, read_graph
from antiphon.settings import Settings

UNKNOWN_TASK = "Could not infer model task - specify --task value explicitly"


def run(settings: Settings) -> None:
    """Perform the action of the settings."""
    if settings.action == "pull":
        pull_model(settings)
    elif settings.action == "configure":
        _configure(settings)
    elif settings.action == "list_models":
        _list(settings)
    elif settings.action == "add_to_config":
        _add(settings)
    else:
        _remove(settings)


def pull_model(settings: Settings) -> Path:
    """Pull the model into the repository and write a graph.pbtxt from the settings. Returns its folder."""
    from antiphon.cli import pull  # deferred: imports the hub's library
    from antiphon.hub.pull import VOCODER

    source = settings.source_model or settings.model_name
    if source is None:
        raise ConfigError("source_model parameter is required for pull mode", setting="pull")
    if settings.model_repository_path is None:
        raise ConfigError("model_repository_path parameter is required for pull mode", setting="pull")
    if settings.weight_format != "auto" and source.lower().startswith("openvino/"):
        raise ConfigError("parameter unsupported for OpenVINO models.", setting="weight_format")
    vocoder = settings.vocoder or VOCODER
    folder = pull.pull_model(
        source,
        settings.model_repository_path,
        overwrite=settings.overwrite_models,
        vocoder=None if Path(vocoder).is_dir() else vocoder,
        task=settings.task,
        target_device=settings.target_device or "",
        plugin_config=settings.properties,
    )
    if settings.task is None and inspect(folder).task is None:
        raise ConfigError(UNKNOWN_TASK)
    if settings.enable_word_timestamps or settings.speaker is not None:
        write_graph(folder, _completed(settings, read_graph(folder / GRAPH)))
    return folder


def _configure(settings: Settings) -> None:
    if settings.model_path is None:
        raise ConfigError("needs model_path too, the model to write a graph.pbtxt for.", setting="configure")
    folder = Path(settings.model_path).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder.", setting="model_path")
    _write_graph(settings, folder)


def _write_graph(settings: Settings, folder: Path) -> None:
    task = settings.task or inspect(folder).task
    if task is None:
        raise ConfigError(UNKNOWN_TASK)
    write_graph(folder, _completed(settings, graph_of(settings, task)))
    typer.echo(f"Graph: {GRAPH} created in: {folder}")


def _completed(settings: Settings, graph: GraphFile) -> GraphFile:
    """Add the voice and word timestamps of the settings to a graph."""
    if settings.speaker is not None:
        name, path = settings.speaker
        graph = replace(graph, voices=((name, str(path.resolve())),))
    return replace(graph, enable_word_timestamps=graph.enable_word_timestamps or settings.enable_word_timestamps)


def _list(settings: Settings) -> None:
    if settings.model_repository_path is None:
        raise ConfigError("needs model_repository_path too, the folder to list.", setting="list_models")
    names = list_models(settings.model_repository_path)
    typer.echo(f"Available servables to serve from path: {settings.model_repository_path} are: ")
    for name in names:
        typer.echo(name)


def _add(settings: Settings) -> None:
    if settings.model_name is None or not (settings.model_path or settings.model_repository_path):
        raise ConfigError(
            "Set model_name either with model_path or model_repository_path with add_to_config parameter.",
            setting="add_to_config",
        )
    config = _config(settings)
    if settings.model_path is not None:
        folder = Path(settings.model_path).expanduser()
    else:
        assert settings.model_repository_path is not None
        folder = settings.model_repository_path / settings.model_name
    add_entry(
        config,
        settings.model_name,
        folder,
        target_device=settings.target_device,
        plugin_config=settings.properties,
    )
    typer.echo(f"Model: {settings.model_name} added to configuration file: {config}")


def _remove(settings: Settings) -> None:
    if settings.model_name is None:
        raise ConfigError("Set model_name with remove_from_config parameter.", setting="remove_from_config")
    config = _config(settings)
    remove_entry(config, settings.model_name)
    typer.echo(f"Model: {settings.model_name} removed from configuration file: {config}")


def _config(settings: Settings) -> Path:
    """The config.json to change: that of config_path, else the repository's."""
    if settings.config_path is not None:
        return find_config(settings.config_path)
    if settings.model_repository_path is not None:
        return settings.model_repository_path / CONFIG
    raise ConfigError(f"is missing; name the configuration file, or set {REPOSITORY_VARIABLE}.", setting="config_path")
