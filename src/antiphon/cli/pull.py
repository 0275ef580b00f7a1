"""`antiphon pull`: downloads catalogue models, or hub repositories with a graph.pbtxt for OVMS's layout."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from antiphon.cli.progress import DownloadBar
from antiphon.errors import ConfigError
from antiphon.hub import pull as hub
from antiphon.hub.catalogue import find_model
from antiphon.hub.model_cache import ModelDownloads
from antiphon.loader import ESPEAK
from antiphon.models.folder import inspect, lacks_vocoder
from antiphon.repository.config_json import write_graph
from antiphon.repository.graph_pbtxt import GRAPH, GraphFile
from antiphon.types.options import GraphTask

Sources = Annotated[
    list[str],
    typer.Argument(metavar="SOURCE", help="Catalogue names, such as whisper-base, or repositories on the hub."),
]
RepositoryFlag = Annotated[
    Path | None,
    typer.Option(
        "--model-repository-path",
        envvar="OVMS_MODEL_REPOSITORY_PATH",
        help="The folder to pull models into. Default: models; for catalogue names, the cache that serve reads.",
    ),
]
OverwriteFlag = Annotated[bool, typer.Option("--overwrite-models", help="Pull models again that already exist.")]
RevisionFlag = Annotated[
    str, typer.Option("--revision", help="A branch, tag or commit, or a pull request such as refs/pr/1.")
]
VocoderFlag = Annotated[str, typer.Option("--vocoder", help="The vocoder for a SpeechT5 checkpoint; '' for none.")]
TaskFlag = Annotated[GraphTask | None, typer.Option("--task", help="The task of the model. Default: detected.")]
DeviceFlag = Annotated[str, typer.Option("--target-device", help="The OpenVINO device to write into graph.pbtxt.")]


def pull(
    sources: Sources,
    repository: RepositoryFlag = None,
    overwrite: OverwriteFlag = False,
    revision: RevisionFlag = "",
    vocoder: VocoderFlag = hub.VOCODER,
    task: TaskFlag = None,
    target_device: DeviceFlag = "",
) -> None:
    """Download models by catalogue name or from the Hugging Face hub."""
    if revision and len(sources) > 1:
        raise ConfigError(
            f"names one repository's revision; pull {' and '.join(sources)} separately.", setting="revision"
        )
    for source in sources:
        pull_model(
            source,
            repository,
            overwrite=overwrite,
            revision=revision or None,
            vocoder=vocoder or None,
            task=task,
            target_device=target_device,
        )


def pull_model(
    source: str,
    repository: Path | None,
    *,
    overwrite: bool = False,
    revision: str | None = None,
    vocoder: str | None = hub.VOCODER,
    task: GraphTask | None = None,
    target_device: str = "",
    plugin_config: Mapping[str, object] | None = None,
) -> Path:
    """Pull one model, write its graph.pbtxt and print both in OVMS's words. Returns the folder."""
    if source == ESPEAK:
        raise ConfigError(f"{ESPEAK} is built in: there is nothing to download.")
    model = find_model(source)
    with DownloadBar() as bar:
        if model is not None:
            _check_catalogue_options(overwrite_models=overwrite, revision=revision)
            downloads = ModelDownloads(lacks_vocoder=lacks_vocoder, report=bar.report, progress=bar.progress)
            folder = downloads.fetch(source, None if repository is None else repository / model.name)
        else:
            folder = hub.pull(
                source,
                repository or Path("models"),
                overwrite=overwrite,
                revision=revision,
                vocoder=vocoder,
                lacks_vocoder=lacks_vocoder,
                report=bar.report,
                progress=bar.progress,
            )
    typer.echo(f"Model: {source if model is None else model.name} downloaded to: {folder}")
    if model is not None and repository is None:
        return folder  # in the cache that `serve` reads, which is no repository of OVMS
    graph = folder / GRAPH
    graph_task = task or inspect(folder).task
    if graph.is_file() and not (task or target_device or plugin_config):
        typer.echo(f"{graph} already exists and is kept.", err=True)
    elif graph_task is None:
        typer.echo(
            f"{folder}: not a speech model according to its config.json, so no {GRAPH} is written; set --task if it is.",
            err=True,
        )
    else:
        write_graph(folder, GraphFile(graph_task, target_device=target_device, plugin_config=plugin_config or {}))
        typer.echo(f"Graph: {GRAPH} created in: {folder}")
    return folder


def _check_catalogue_options(**given: object) -> None:
    """Refuse options that have no meaning for a catalogue model, whose files are fixed."""
    for setting, value in given.items():
        if value:
            raise ConfigError("not for catalogue names; name a repository on the hub.", setting=setting)
