"""Publishes a folder as a whole: it is filled under a hidden name and renamed when complete, one process at a time.

A process killed half-way leaves only hidden files, which the next one continues or removes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from antiphon.errors import ConfigError
from antiphon.types.options import Report


@contextmanager
def made_whole(folder: Path, report: Report) -> Iterator[Path]:
    """Yield an empty folder to fill, and publish it as `folder` on success; on an error everything stays as it was.

    Raises ConfigError if it cannot be written.
    """
    partial, replaced = hidden(folder, "exporting"), hidden(folder, "old")
    try:
        with locked(folder, lambda: report(f"Another process is writing {folder}; waiting for it.")):
            if replaced.is_dir() and not folder.exists():
                replaced.rename(folder)  # killed between the two renames of `publish`
            if partial.exists():
                report(f"{partial}: left by an export that was killed; removed.")
                shutil.rmtree(partial)
            partial.mkdir()
            try:
                yield partial
                publish(partial, folder)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise cannot_write(folder, error) from error


@contextmanager
def locked(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock of `path`, a hidden file next to it; the lock of a killed process is free. Creates the parent folder."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(hidden(path, "lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        on_wait()
        lock.acquire()
    try:
        yield
    finally:
        # Removed while it is held: filelock tries again if the file it waited for has been removed.
        with suppress(OSError):
            Path(lock.lock_file).unlink()
        lock.release()


def hidden(path: Path, state: str) -> Path:
    """A hidden name next to `path`; `list_models` skips hidden folders."""
    return path.with_name(f".{path.name}.{state}")


def publish(partial: Path, folder: Path) -> None:
    """Rename `partial` to `folder`, replacing what is there. Call it with the lock held."""
    replaced = hidden(folder, "old")
    _remove(replaced)
    if folder.exists() or folder.is_symlink():
        folder.rename(replaced)
    partial.rename(folder)
    _remove(replaced)


def cannot_write(folder: Path, error: OSError) -> ConfigError:
    """The error for a model folder that cannot be written."""
    reason = error.strerror or error
    return ConfigError(
        f"{folder}: cannot be written ({reason}): make room, or choose another folder.", setting="model_repository_path"
    )


def _remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
