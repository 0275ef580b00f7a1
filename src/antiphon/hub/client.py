"""The hub: what a repository there holds, and any file of it, continued where it stopped.

It knows huggingface_hub, old and new; it must not know which files make a model, or where models are kept.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from antiphon._version import __version__
from antiphon.errors import ConfigError

BOT = "SFconvertbot"  # the hub's own account that turns pickles into safetensors and proposes the result
_PROPOSALS = 20  # looked through at most, newest first: each is a request
_CHUNK = 2**20  # bytes; what a killed download loses at most
_PAUSES = (1, 2, 4, 8, 16)  # seconds before asking again, while nothing at all arrives


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file as the hub lists it. `digest` is a sha256 (64 digits), git's sha1 of it (40), or something we cannot check."""

    path: str
    size: int | None
    digest: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What a repository holds at one revision."""

    source: str
    revision: str
    files: tuple[HubFile, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(file.path for file in self.files)


@dataclass(frozen=True, slots=True)
class Proposal:
    """A pull request on the hub, with what the repository would hold; `author` is "" where nobody says."""

    author: str
    listing: Listing


def is_offline() -> bool:
    """Whether the hub must be left alone, in the words huggingface_hub understands."""
    said = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return said.upper() in ("1", "ON", "YES", "TRUE")


class Hub:
    """The hub that HF_ENDPOINT names, asked in the name of HF_TOKEN. Every failure is a ConfigError of one line."""

    def __init__(self) -> None:
        # The library reads these when it is imported, and none of them is an argument of anything.
        from huggingface_hub import HfApi, constants
        from huggingface_hub.errors import HfHubHTTPError
        from huggingface_hub.utils.tqdm import disable_progress_bars

        constants.HF_HUB_OFFLINE = False  # asked before, by is_offline
        constants.HF_HUB_DISABLE_TELEMETRY = True
        constants.DOWNLOAD_CHUNK_SIZE = _CHUNK  # its 10 MiB would be lost with each connection that breaks
        if not constants.HF_HUB_DISABLE_PROGRESS_BARS:
            disable_progress_bars()
        self.endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
        self._api = HfApi(endpoint=self.endpoint, library_name="antiphon", library_version=__version__)
        # requests' errors, of version 0, are OSErrors; those of httpx, of later ones, are found among these bases.
        self._broken: tuple[type[Exception], ...] = (OSError, *HfHubHTTPError.__bases__)

    def listing(self, source: str, revision: str | None = None) -> Listing:
        """What a repository holds; on main, unless a revision is named."""
        with self._explained(source, revision):
            info = self._api.model_info(source, revision=revision, files_metadata=True)
            files = tuple(
                HubFile(each.rfilename, each.size, (each.lfs.sha256 if each.lfs else each.blob_id) or "")
                for each in info.siblings or ()
            )
        # A commit stays what it is while we download; that of a proposal is not reachable by its number everywhere.
        if revision is None or not revision.startswith("refs/"):
            revision = info.sha or revision or "main"
        return Listing(source, revision, files)

    def proposals(self, source: str) -> Iterator[Proposal]:
        """The pull requests of a repository: those of the hub's own converter first, then the newest."""
        with self._explained(source, None):
            refs = self._api.list_repo_refs(source, include_pull_requests=True).pull_requests or []
        unsaid: tuple[type[Exception], ...] = (*self._broken, ValueError, KeyError)
        try:
            said = self._api.get_repo_discussions(source, discussion_type="pull_request")
            authors = {str(each.num): each.author for each in said}
        except unsaid:  # a mirror may not have them; then nobody is named
            authors = {}
        numbered = {ref.ref.rpartition("/")[2]: ref.ref for ref in refs}
        order = sorted(numbered, key=lambda number: (authors.get(number) == BOT, int(number)), reverse=True)
        for number in order[:_PROPOSALS]:
            yield Proposal(authors.get(number, ""), self.listing(source, numbered[number]))

    def measured(self, listing: Listing, file: HubFile) -> HubFile:
        """The file with its size, which a mirror may tell only when asked for the file itself."""
        if file.size is not None:
            return file
        from huggingface_hub import get_hf_file_metadata

        with self._explained(listing.source, listing.revision):
            found = get_hf_file_metadata(self._url(listing, file))
        if found.size is None:
            raise ConfigError(
                f"{self.endpoint} does not tell the size of {listing.source}/{file.path}: use another hub."
            )
        return HubFile(file.path, found.size, found.etag or "")

    def download(self, listing: Listing, file: HubFile, part: Path, progress: Callable[[int], None]) -> None:
        """Append to `part` what it lacks of a file; `progress` hears how many bytes it has."""
        assert file.size is not None, "measured first"
        part.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        pauses = iter(_PAUSES)
        while (had := part.stat().st_size) != file.size:
            if had > file.size:
                part.unlink()
                part.touch()
                had = 0
            error = self._ask(listing, file, part, progress)
            if had < part.stat().st_size <= file.size:
                pauses = iter(_PAUSES)
                continue
            pause = next(pauses, None)
            if pause is None:
                with self._explained(listing.source, listing.revision):
                    raise error or OSError(f"{file.path} never arrives whole")
            time.sleep(pause)

    def _ask(self, listing: Listing, file: HubFile, part: Path, progress: Callable[[int], None]) -> Exception | None:
        """One request for the rest of a file. What broke the connection is returned; all else is raised, explained."""
        from huggingface_hub import constants, get_token
        from huggingface_hub.file_download import http_get

        # A range of a compressed file is no range of the file.
        headers = {"User-Agent": f"antiphon/{__version__}", "Accept-Encoding": "identity"}
        token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
        if token:
            headers["Authorization"] = (
                f"Bearer {token}"  # both of the library's clients drop it on the way to another host
            )
        with part.open("ab") as out, self._explained(listing.source, listing.revision):
            try:
                http_get(
                    self._url(listing, file),
                    cast(BinaryIO, _Watched(out, progress)),
                    resume_size=out.tell(),
                    headers=headers,
                    expected_size=file.size,
                )
            except self._broken as error:
                if getattr(error, "response", None) is not None:
                    raise
                return error
        return None

    def _url(self, listing: Listing, file: HubFile) -> str:
        from huggingface_hub import hf_hub_url

        return hf_hub_url(listing.source, file.path, revision=listing.revision, endpoint=self.endpoint)

    @contextmanager
    def _explained(self, source: str, revision: str | None) -> Iterator[None]:
        """Whatever the library raises, as one line with the fix."""
        from huggingface_hub import errors

        try:
            yield
        except errors.GatedRepoError as error:
            fix = f"accept its terms at {self.endpoint}/{source}, then set HF_TOKEN"
            raise ConfigError(f"{source}: only for those who accepted its terms; {fix}.") from error
        except errors.RevisionNotFoundError as error:
            raise ConfigError(f"{source} has no revision {revision!r}: name another with --revision.") from error
        except errors.RepositoryNotFoundError as error:
            fix = "or one HF_TOKEN may not read" if os.environ.get("HF_TOKEN") else "or a private one: set HF_TOKEN"
            raise ConfigError(f"{source}: no such repository at {self.endpoint}, {fix}.") from error
        except errors.HFValidationError as error:
            raise ConfigError(f"{source!r} is no repository: the hub knows them as owner/name.") from error
        except json.JSONDecodeError as error:  # of requests it is an OSError too
            raise ConfigError(f"{self.endpoint} does not answer as a hub does: check HF_ENDPOINT.") from error
        except self._broken as error:
            raise ConfigError(f"{source}: {self._reason(error)}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{self.endpoint} does not answer as a hub does: check HF_ENDPOINT.") from error

    def _reason(self, error: BaseException) -> str:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            return f"{self.endpoint} refuses HF_TOKEN ({status}): set one that may read it, or none."
        if status == 429:
            return f"{self.endpoint} says too many requests: try again later, with HF_TOKEN if you have none."
        if status is not None:
            return f"{self.endpoint} answers {status}: try again later, or name a mirror with HF_ENDPOINT."
        fix = "run it again to go on; else check the network, https_proxy or HF_ENDPOINT"
        return f"{self.endpoint} cannot be reached ({_cause(error)}): {fix}."


def _cause(error: BaseException) -> str:
    """What the system said first, of a chain of wrappers around it."""
    said = type(error).__name__
    current: BaseException | None = error
    while current is not None:
        said = getattr(current, "strerror", None) or said
        current = current.__cause__ or current.__context__
    return said


class _Watched:
    """A file being written, with someone to tell how long it is. What the disk refuses is explained on the spot."""

    def __init__(self, file: BinaryIO, progress: Callable[[int], None]) -> None:
        self._file = file
        self._progress = progress

    def write(self, data: bytes) -> int:
        try:
            written = self._file.write(data)
        except OSError as error:  # among the network's errors it would be taken for one
            raise ConfigError(f"{self._file.name}: cannot be written ({error.strerror}): make room there.") from error
        self._progress(self._file.tell())
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
