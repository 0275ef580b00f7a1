"""Where an export is written: a hidden folder beside the place it is for, which it takes when it is whole.

A killed export leaves that hidden folder behind and nothing else; the next one clears it away. It must not know what is
written.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from antiphon.errors import ConfigError
from antiphon.types.options import Report

_MAKING, _LEAVING = "exporting", "replaced"


@contextmanager
def made_whole(folder: Path, report: Report) -> Iterator[Path]:
    """A new folder to fill. It becomes `folder` at the end, in place of what was there; an error leaves all as it was."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _clear(folder, report)
        partial = _beside(folder, _MAKING)
        partial.mkdir()
        try:
            yield partial
            _take_place(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        fix = "make room, or choose another --model_repository_path"
        raise ConfigError(f"{folder}: cannot be written ({error.strerror or error}): {fix}.") from error


def _beside(folder: Path, state: str) -> Path:
    # Hidden, so that nobody takes it for a model.
    return folder.with_name(f".{folder.name}.{state}-{os.getpid()}")


def _take_place(partial: Path, folder: Path) -> None:
    leaving = _beside(folder, _LEAVING)
    if folder.exists():
        folder.rename(leaving)
    partial.rename(folder)
    shutil.rmtree(leaving, ignore_errors=True)


def _clear(folder: Path, report: Report) -> None:
    """What exports that were killed left behind."""
    pattern = re.compile(rf"\.{re.escape(folder.name)}\.({_MAKING}|{_LEAVING})-(\d+)")
    for path in sorted(folder.parent.iterdir()):
        match = pattern.fullmatch(path.name)
        if match is None or _is_alive(int(match[2])):
            continue
        if match[1] == _LEAVING and not folder.exists():
            path.rename(folder)  # killed between the two renames: what was there is what is whole
            continue
        report(f"{path}: left by an export that was killed; removed.")
        shutil.rmtree(path, ignore_errors=True)


def _is_alive(process: int) -> bool:
    if process == os.getpid():
        return False  # a number that came round again, as it does at once in a container
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
