"""The progress bar of a download."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

import typer


class DownloadBar:
    """A progress bar on stderr for each download, if stderr is a terminal; report lines are printed in any case."""

    def __init__(self) -> None:
        self._source = ""
        self._bar: Any = None
        self._complete: set[str] = set()  # what is done is reported again when its files are put in place

    def __enter__(self) -> DownloadBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def report(self, line: str) -> None:
        self.close()
        typer.echo(line, err=True)

    def progress(self, source: str, done: int, total: int) -> None:
        if not sys.stderr.isatty() or source in self._complete:
            return
        if self._bar is None or source != self._source:
            self.close()
            self._source = source
            self._bar = typer.progressbar(length=total, label=source, file=sys.stderr)
            self._bar.render_progress()
        self._bar.update(max(done - self._bar.pos, 0))
        if done >= total:
            self.close()
            self._complete.add(source)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.render_finish()
            self._bar = None
