"""`antiphon pull`: models from the hub into a repository, each with the graph.pbtxt a server reads.

It knows flags and the terminal; it must not know how files travel, or load a model.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import typer

from antiphon.errors import ConfigError
from antiphon.hub import pull as store
from antiphon.models.folder import inspect, lacks_vocoder
from antiphon.repository.config_json import write_whole
from antiphon.repository.graph_pbtxt import GRAPH, GraphFile, render_graph
from antiphon.types.options import GraphTask

Sources = Annotated[
    list[str], typer.Argument(metavar="SOURCE", help="Repositories of the hub, such as openai/whisper-base.")
]
RepositoryFlag = Annotated[
    Path, typer.Option("--model-repository-path", envvar="OVMS_MODEL_REPOSITORY_PATH", help="Where models are kept.")
]
OverwriteFlag = Annotated[bool, typer.Option("--overwrite-models", help="Bring anew what is there already.")]
RevisionFlag = Annotated[
    str, typer.Option("--revision", help="A branch, tag or commit of it, or a proposal: refs/pr/1.")
]
VocoderFlag = Annotated[
    str, typer.Option("--vocoder", help="What a SpeechT5 checkpoint speaks through; '' is nothing.")
]
TaskFlag = Annotated[GraphTask | None, typer.Option("--task", help="What it is for; else what its config.json says.")]
DeviceFlag = Annotated[str, typer.Option("--target-device", help="The OpenVINO device to write into graph.pbtxt.")]


def pull(
    sources: Sources,
    repository: RepositoryFlag = Path("models"),
    overwrite: OverwriteFlag = False,
    revision: RevisionFlag = "",
    vocoder: VocoderFlag = store.VOCODER,
    task: TaskFlag = None,
    target_device: DeviceFlag = "",
) -> None:
    """Pull each of them."""
    if revision and len(sources) > 1:
        raise ConfigError(f"--revision {revision} is of one repository: pull {' and '.join(sources)} one at a time.")
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
    vocoder: str | None = store.VOCODER,
    task: GraphTask | None = None,
    target_device: str = "",
    plugin_config: Mapping[str, object] | None = None,
) -> Path:
    """Pull one model, write its graph.pbtxt and say both as OVMS says it. The folder comes back."""
    with _Bar() as bar:
        folder = store.pull(
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
    found = task or inspect(folder).task
    if graph.is_file() and not (task or target_device or plugin_config):
        typer.echo(f"{graph} is there already, and stays.", err=True)
    elif found is None:
        typer.echo(f"{folder}: no model of speech by its config.json, so no {GRAPH}; --task says it is one.", err=True)
    else:
        _write(graph, render_graph(GraphFile(found, target_device=target_device, plugin_config=plugin_config or {})))
        typer.echo(f"Graph: {GRAPH} created in: {folder}")
    return folder


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror}).") from error


class _Bar:
    """Progress on stderr, if there is a terminal; a bar for each repository. Lines go above it, terminal or not."""

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
