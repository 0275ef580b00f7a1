"""Bring a model from the hub into a repository: whole or not at all, going on where a killed pull stopped.

It knows folders and which files are there; it must not know HTTP, or what is done with a model.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from antiphon.errors import ConfigError
from antiphon.hub.client import BOT, Hub, HubFile, Listing, is_offline
from antiphon.hub.selection import has_weights, wanted, why_not

VOCODER = "microsoft/speecht5_hifigan"  # what SpeechT5 was published with

Report = Callable[[str], None]
LacksVocoder = Callable[[Path, Collection[str]], bool]  # a folder, and the files in it that count
Progress = Callable[[str, int, int], None]  # the repository, bytes here, bytes in all

_NAMES = re.compile(r"(?!.*\.\.)\w[\w.-]*(/\w[\w.-]*)?")


def pull(
    source: str,
    repository: Path,
    *,
    overwrite: bool = False,
    revision: str | None = None,
    vocoder: str | None = VOCODER,
    lacks_vocoder: LacksVocoder = lambda folder, files: False,
    into: Path | None = None,
    report: Report = lambda line: None,
    progress: Progress = lambda source, done, total: None,
) -> Path:
    """Bring `source` into `<repository>/<source>`, or `into`, and return that folder.

    It appears there when all of it has arrived and been checked; until then it is a hidden folder beside it. What is
    there already stays, unless `overwrite`. A folder that `lacks_vocoder` gets `vocoder`, another repository, in vocoder/.

    Raises ConfigError naming the repository, folder or variable and the fix.
    """
    if not _NAMES.fullmatch(source):
        raise ConfigError(f"{source!r} is no repository: the hub knows them as owner/name.")
    final = into or repository / source
    if overwrite or not _is_there(final):
        order = _Order(source, final, overwrite, vocoder, lacks_vocoder, report, progress)
        _bring(order, revision)
        return final
    report(f"{final} is there already, and stays; --overwrite_models brings it anew.")
    if vocoder and lacks_vocoder(final, {path.relative_to(final).as_posix() for path in final.rglob("*.safetensors")}):
        pull(vocoder, repository, vocoder=None, into=final / "vocoder", report=report, progress=progress)
    return final


@dataclass(frozen=True, slots=True)
class _Order:
    """One pull, as asked for."""

    source: str
    final: Path
    overwrite: bool
    vocoder: str | None
    lacks_vocoder: LacksVocoder
    report: Report
    progress: Progress


def _bring(order: _Order, revision: str | None) -> None:
    if is_offline():
        fix = "unset it, or copy the model there"
        raise ConfigError(f"{order.final}: not there, and HF_HUB_OFFLINE forbids asking the hub: {fix}.")
    hub = Hub()
    listing = _readable(hub, order.source, revision, order.report)  # refused before anything is written
    final = order.final
    staging = final.with_name(f".{final.name}.pulling")
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with _alone(final, order.report):
            if _is_there(final) and not order.overwrite:
                order.report(f"{final} has been brought by another pull meanwhile.")
                return
            if final.exists() and any(final.iterdir()) and not order.overwrite:
                raise ConfigError(f"{final} holds something, but no weights: move it away, or --overwrite_models.")
            names = _fetch(hub, listing, staging, order)
            if order.vocoder and order.lacks_vocoder(staging, names):
                order.report(f"{order.source} speaks through a vocoder, which is another repository: {order.vocoder}.")
                beside = _readable(hub, order.vocoder, None, order.report)
                names |= {f"vocoder/{name}" for name in _fetch(hub, beside, staging / "vocoder", order)}
            _clear_all_but(staging, names)
            _put(staging, final)
    except OSError as error:
        fix = "make room, or choose another --model_repository_path"
        raise ConfigError(f"{final}: cannot be written ({error.strerror or error}): {fix}.") from error


def _is_there(folder: Path) -> bool:
    return any(folder.glob("*.safetensors")) or any(folder.glob("openvino_*.xml"))


def _readable(hub: Hub, source: str, revision: str | None, report: Report) -> Listing:
    """The repository at a revision that has weights we read. ConfigError says why there is none, and what there is."""
    listing = hub.listing(source, revision)
    if has_weights(listing.paths):
        return listing
    reason = why_not(listing.paths)
    fix = "name a converted repository, or a --revision with model.safetensors"
    if revision is None and "pickled" in reason:
        for proposal in hub.proposals(source):
            if not has_weights(proposal.listing.paths):
                continue
            found = proposal.listing.revision
            if proposal.author == BOT:
                report(f"{source} is pickled on main; taking {found}, where the hub's own converter has safetensors.")
                return proposal.listing
            # Anyone may propose anything: somebody has to decide to trust it.
            fix = f"{found}, by {proposal.author or 'someone'}, has safetensors: if you trust it, --revision {found}"
            break
    raise ConfigError(f"{source}: {reason}. Nothing was downloaded; {fix}.")


def _fetch(hub: Hub, listing: Listing, folder: Path, order: _Order) -> set[str]:
    """Bring what is wanted of a listing into a folder, every file checked. Its names come back."""
    names = set(wanted(listing.paths))
    files = [hub.measured(listing, file) for file in listing.files if file.path in names]
    sizes = {file.path: file.size or 0 for file in files}
    total = sum(sizes.values())
    folder.mkdir(parents=True, exist_ok=True)
    missing = [file for file in files if not _is_whole(folder / file.path, file)]
    done = total - sum(sizes[file.path] for file in missing)
    begun = sum(_length(_part(folder, file)) for file in missing)
    _make_sure_of_room(folder, total - done - begun, order)
    already = f", {_readably(done + begun)} of it here already" if done + begun else ""
    order.report(f"Pulling {listing.source}: {len(files)} files, {_readably(total)}{already}.")
    for file in missing:
        _fetch_one(hub, listing, file, folder, _from(done, total, order.progress, listing.source))
        done += sizes[file.path]
    order.progress(listing.source, total, total)
    return names


def _from(before: int, total: int, progress: Progress, source: str) -> Callable[[int], None]:
    return lambda here: progress(source, before + here, total)


def _fetch_one(hub: Hub, listing: Listing, file: HubFile, folder: Path, progress: Callable[[int], None]) -> None:
    part, whole = _part(folder, file), folder / file.path
    for _ in range(2):  # a part can have rotted where it lay; what arrives wrong twice was sent so
        hub.download(listing, file, part, progress)
        if _is_whole(part, file):
            with part.open("rb+") as content:
                os.fsync(content.fileno())  # else the name can outlive a power cut, and the bytes not
            part.replace(whole)
            return
        part.unlink()
    where = f"{listing.source}/{file.path}"
    raise ConfigError(
        f"{where} arrives damaged: it is not what {hub.endpoint} lists. Try later, or another HF_ENDPOINT."
    )


def _part(folder: Path, file: HubFile) -> Path:
    """Where a file grows; named after the content, so that another revision never goes on with it."""
    path = folder / file.path
    return path.with_name(f"{path.name}.{file.digest[:16] or file.size}.part")


def _is_whole(path: Path, file: HubFile) -> bool:
    """Whether a file has the length and, as far as the hub tells one, the digest it should have."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", file.digest):
        return True
    known = (
        hashlib.sha256() if len(file.digest) == 64 else hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    )
    with path.open("rb") as content:
        while chunk := content.read(2**20):
            known.update(chunk)
    return known.hexdigest() == file.digest


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _make_sure_of_room(folder: Path, needed: int, order: _Order) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        fix = "make room, or choose another --model_repository_path"
        raise ConfigError(f"{order.final}: {_readably(needed)} needed and {_readably(free)} free: {fix}.")


def _clear_all_but(folder: Path, names: set[str]) -> None:
    """Take away what an interrupted pull of another revision left behind."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file() and path.relative_to(folder).as_posix() not in names:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _put(staging: Path, final: Path) -> None:
    """Let the whole folder appear in place of what may be there."""
    old = final.with_name(f".{final.name}.old")
    _remove(old)
    if final.exists() or final.is_symlink():
        final.rename(old)
    staging.rename(final)
    _remove(old)


def _remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


@contextmanager
def _alone(final: Path, report: Report) -> Iterator[None]:
    """One pull of a model at a time; another one waits, and says so. Whoever is killed lets go."""
    from filelock import FileLock, Timeout

    lock = FileLock(final.with_name(f".{final.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        report(f"Another pull of {final} is under way; waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        # While it is held, so that nobody holds a name that is gone; filelock looks again after it waited.
        with suppress(OSError):
            Path(lock.lock_file).unlink()
        lock.release()


def _readably(size: int) -> str:
    for unit, step in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= step:
            return f"{size / step:.1f} {unit}"
    return f"{size} bytes"
