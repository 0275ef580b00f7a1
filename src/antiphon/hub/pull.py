"""Pulls a model from the hub into a repository: complete or not at all, resuming a pull that was killed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from antiphon.errors import ConfigError
from antiphon.hub.client import BOT, Hub, HubFile, Listing, is_offline, not_a_repository
from antiphon.hub.selection import lists_weights, pickled_weights, select_files, why_unusable
from antiphon.repository.atomic_folder import cannot_write, hidden, locked, publish
from antiphon.repository.config_json import has_weights
from antiphon.repository.graph_pbtxt import GRAPH
from antiphon.repository.hub_graph import restrict_file
from antiphon.types.options import Report

VOCODER = "microsoft/speecht5_hifigan"  # the one SpeechT5 was published with

LacksVocoder = Callable[[Path, Collection[str]], bool]  # of a folder that consists of these files
ByteProgress = Callable[[str, int, int], None]  # repository, bytes present, bytes in total

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
    progress: ByteProgress = lambda source, done, total: None,
) -> Path:
    """Download `source` to `<repository>/<source>`, or to `into`, and return that folder.

    The folder appears once every file has arrived and its digest has been verified; until then the files are in a hidden
    folder next to it. `repository/hub_graph.py` restricts what its graph.pbtxt may say. An existing model is kept unless
    `overwrite`. A folder that `lacks_vocoder` gets the repository `vocoder` in vocoder/.

    Raises ConfigError naming the repository, folder or variable and the fix.
    """
    if not _NAMES.fullmatch(source):
        raise not_a_repository(source)
    final = into or repository / source
    if overwrite or not has_weights(final):
        _pull(_Options(source, final, overwrite, vocoder, lacks_vocoder, report, progress), revision)
        return final
    report(f"{final} already exists and is kept; overwrite_models pulls it again.")
    if vocoder and lacks_vocoder(final, {path.relative_to(final).as_posix() for path in final.rglob("*.safetensors")}):
        pull(vocoder, repository, vocoder=None, into=final / "vocoder", report=report, progress=progress)
    return final


@dataclass(frozen=True, slots=True)
class _Options:
    """The arguments of one pull."""

    source: str
    final: Path
    overwrite: bool
    vocoder: str | None
    lacks_vocoder: LacksVocoder
    report: Report
    progress: ByteProgress


def _pull(options: _Options, revision: str | None) -> None:
    final, report = options.final, options.report
    if is_offline():
        fix = "unset it, or copy the model there"
        raise ConfigError(f"{final}: does not exist, and HF_HUB_OFFLINE forbids using the hub: {fix}.")
    hub = Hub()
    listing = _usable_listing(hub, options.source, revision, report)  # refused before anything is written
    staging = hidden(final, "pulling")
    try:
        with locked(final, lambda: report(f"Another pull of {final} is running; waiting for it.")):
            if has_weights(final) and not options.overwrite:
                report(f"{final} was pulled by another process meanwhile.")
                return
            if final.exists() and any(final.iterdir()) and not options.overwrite:
                raise ConfigError(f"{final}: contains files but no weights; move it away, or set overwrite_models.")
            names = _fetch(hub, listing, staging, options)
            if options.vocoder and options.lacks_vocoder(staging, names):
                report(f"{options.source} needs a vocoder from another repository: {options.vocoder}.")
                vocoder = _usable_listing(hub, options.vocoder, None, report)
                names |= {f"vocoder/{name}" for name in _fetch(hub, vocoder, staging / "vocoder", options)}
            remove_others(staging, names)
            for graph in staging.rglob(GRAPH):
                restrict_file(graph, report)
            publish(staging, final)
    except OSError as error:
        raise cannot_write(final, error) from error


def _usable_listing(hub: Hub, source: str, revision: str | None, report: Report) -> Listing:
    """List the repository at a revision with weights that Antiphon reads, else raise ConfigError with the alternatives."""
    listing = hub.listing(source, revision)
    if lists_weights(listing.paths):
        return listing
    fix = "name a converted repository, or a revision with model.safetensors"
    if revision is None and pickled_weights(listing.paths):
        for pull_request in hub.pull_requests(source):
            if not lists_weights(pull_request.listing.paths):
                continue
            ref = pull_request.listing.revision
            if pull_request.author == BOT:
                report(f"{source} is pickled on main; using {ref}, the safetensors of the hub's own converter.")
                return pull_request.listing
            # Anyone can open a pull request, so the user has to decide to trust it.
            author = pull_request.author or "an unknown author"
            fix = f"{ref} by {author} has safetensors: if you trust it, set revision to {ref}"
            break
    raise ConfigError(f"{source}: {why_unusable(listing.paths)}. Nothing was downloaded; {fix}.")


def _fetch(hub: Hub, listing: Listing, folder: Path, options: _Options) -> set[str]:
    """Download the selected files of a listing to a folder and verify each. Returns their names."""
    names = set(select_files(listing.paths))
    files = [hub.with_size(listing, file) for file in listing.files if file.path in names]
    sizes = {file.path: file.size or 0 for file in files}
    total = sum(sizes.values())
    folder.mkdir(parents=True, exist_ok=True)
    missing = [file for file in files if not _is_whole(folder / file.path, file)]
    done = total - sum(sizes[file.path] for file in missing)
    partial = sum(_length(_part(folder, file)) for file in missing)
    _check_space(folder, total - done - partial, options)
    resumed = f", {_human_size(done + partial)} already here" if done + partial else ""
    options.report(f"Pulling {listing.source}: {len(files)} files, {_human_size(total)}{resumed}.")
    for file in missing:
        _fetch_one(hub, listing, file, folder, _offset(done, total, options.progress, listing.source))
        done += sizes[file.path]
    options.progress(listing.source, total, total)
    return names


def _offset(before: int, total: int, progress: ByteProgress, source: str) -> Callable[[int], None]:
    return lambda size: progress(source, before + size, total)


def _fetch_one(hub: Hub, listing: Listing, file: HubFile, folder: Path, progress: Callable[[int], None]) -> None:
    part, whole = _part(folder, file), folder / file.path
    for _ in range(2):  # the first failure can be a partial file damaged on disk, the second is the server's
        hub.download(listing, file, part, progress)
        if _is_whole(part, file):
            with part.open("rb+") as content:
                os.fsync(content.fileno())  # or the name may survive a power failure without the bytes
            part.replace(whole)
            return
        part.unlink()
    where = f"{listing.source}/{file.path}"
    raise ConfigError(
        f"{where}: the content does not match the digest {hub.endpoint} lists. Try later, or another HF_ENDPOINT."
    )


def _part(folder: Path, file: HubFile) -> Path:
    """The partial file; named by the digest, so that another revision never resumes it."""
    path = folder / file.path
    return path.with_name(f"{path.name}.{file.digest[:16] or file.size}.part")


def _is_whole(path: Path, file: HubFile) -> bool:
    """Whether a file has the listed size and, if the hub gives one, the listed digest."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", file.digest):
        return True
    digest = (
        hashlib.sha256() if len(file.digest) == 64 else hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False)
    )
    with path.open("rb") as content:
        while chunk := content.read(2**20):
            digest.update(chunk)
    return digest.hexdigest() == file.digest


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _check_space(folder: Path, needed: int, options: _Options) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ConfigError(
            f"{options.final}: {_human_size(needed)} needed and {_human_size(free)} free: make room, or choose another folder.",
            setting="model_repository_path",
        )


def remove_others(folder: Path, names: set[str]) -> None:
    """Remove what an interrupted pull left of another revision, or of another version of the catalogue."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file() and path.relative_to(folder).as_posix() not in names:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _human_size(size: int) -> str:
    for unit, step in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= step:
            return f"{size / step:.1f} {unit}"
    return f"{size} bytes"
