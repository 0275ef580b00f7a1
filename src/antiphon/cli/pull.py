"""`antiphon pull`: downloads models from the hub into a repository and writes their graph.pbtxt."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import typer

from antiphon.errors import ConfigError
from antiphon.hub import pull as hub
from antiphon.models.folder import inspect, lacks_vocoder
from antiphon.repository.config_json import write_whole
from antiphon.repository.graph_pbtxt import GRAPH, GraphFile, render_graph
from antiphon.types.options import GraphTask

Sources = Annotated[
    list[str], typer.Argument(metavar="SOURCE", help="Repositories on the hub, such as openai/whisper-base.")
]
RepositoryFlag = Annotated[
    Path,
    typer.Option(
        "--model-repository-path", envvar="OVMS_MODEL_REPOSITORY_PATH", help="The folder to pull models into."
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
    repository: RepositoryFlag = Path("models"),
    overwrite: OverwriteFlag = False,
    revision: RevisionFlag = "",
    vocoder: VocoderFlag = hub.VOCODER,
    task: TaskFlag = None,
    target_device: DeviceFlag = "",
) -> None:
    """Pull models from the Hugging Face hub."""
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
    repository: Path,
    *,
    overwrite: bool = False,
    revision: str | None = None,
    vocoder: str | None = hub.VOCODER,
    task: GraphTask | None = None,
    target_device: str = "",
    plugin_config: Mapping[str, object] | None = None,
) -> Path:
    """Pull one model, write its graph.pbtxt and print both in OVMS's words. Returns the folder."""
    with _Bar() as bar:
        folder = hub.pull(
            source,
            repository,
            overwrite=overwrite,
            revision=revision,
            vocoder=vocoder,
            lacks_vocoder=lacks_vocoder,
            report=bar.report,
            progress=bar.progress,
        )
    typer.echo(f"Model: {source} downloaded to: {folder}")
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
        _write(
            graph, render_graph(GraphFile(graph_task, target_device=target_device, plugin_config=plugin_config or {}))
        )
        typer.echo(f"Graph: {GRAPH} created in: {folder}")
    return folder


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}).") from error


class _Bar:
    """A progress bar on stderr for each repository, if stderr is a terminal; report lines are printed in any case."""

    def __init__(self) -> None:
        self._source = ""
        self._bar: Any = None

    def __enter__(self) -> _Bar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def report(self, line: str) -> None:
        self._close()
        typer.echo(line, err=True)

    def progress(self, source: str, done: int, total: int) -> None:
        if not sys.stderr.isatty():
            return
        if self._bar is None or source != self._source:
            self._close()
            self._source = source
            self._bar = typer.progressbar(length=total, label=source, file=sys.stderr)
            self._bar.render_progress()
        self._bar.update(max(done - self._bar.pos, 0))

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.render_finish()
            self._bar = None
