"""A client for the Hugging Face hub: lists what a repository holds and downloads its files, resuming partial ones.

`huggingface_hub.snapshot_download` would do less than `hub.pull` promises: it loses up to 10 MiB and fails when a
connection breaks, compares sizes but not digests, and reports no progress in bytes. Works with huggingface_hub 0.34 to 1.x.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from antiphon._version import __version__
from antiphon.errors import ConfigError

BOT = "SFconvertbot"  # the hub's own account that turns pickles into safetensors and proposes the result
MAX_PULL_REQUESTS = 20  # examined at most, newest first; each costs a request
CHUNK_BYTES = 2**20  # what a killed download loses at most
USER_AGENT = {"user-agent": f"antiphon/{__version__}"}
RETRY_DELAYS_S = (1, 2, 4, 8, 16)  # between attempts that bring no new bytes


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file as the hub lists it. `digest` is a sha256 (64 digits), a git blob sha1 (40), or something that cannot be checked."""

    path: str
    size: int | None
    digest: str


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a repository at one revision."""

    source: str
    revision: str
    files: tuple[HubFile, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        return tuple(file.path for file in self.files)


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A pull request on the hub and the files the repository would hold; `author` is "" if unknown."""

    author: str
    listing: Listing


def is_offline() -> bool:
    """Whether the environment forbids using the hub, with the variables and values of huggingface_hub."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.upper() in ("1", "ON", "YES", "TRUE")


class Hub:
    """The hub at HF_ENDPOINT, used with HF_TOKEN. Every failure is a ConfigError of one line."""

    def __init__(self) -> None:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError

        self.endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
        # Without a User-Agent of our own the library sends the versions of Python and of the frameworks it finds.
        self._api = HfApi(endpoint=self.endpoint, headers=dict(USER_AGENT))
        # In version 0 connection errors are requests' own (OSError), in version 1 httpx's, a base class of HfHubHTTPError.
        self._connection_errors: tuple[type[Exception], ...] = (OSError, *HfHubHTTPError.__bases__)

    def listing(self, source: str, revision: str | None = None) -> Listing:
        """List the files of a repository, on main unless a revision is given."""
        with self._explained(source, revision):
            info = self._api.model_info(source, revision=revision, files_metadata=True)
            files = tuple(
                HubFile(file.rfilename, file.size, (file.lfs.sha256 if file.lfs else file.blob_id) or "")
                for file in info.siblings or ()
            )
        # A commit does not change while it is downloaded; not every mirror serves the commit of a pull request.
        if revision is None or not revision.startswith("refs/"):
            revision = info.sha or revision or "main"
        return Listing(source, revision, files)

    def pull_requests(self, source: str) -> Iterator[PullRequest]:
        """Yield the pull requests of a repository: those of the hub's own converter first, then the newest."""
        with self._explained(source, None):
            refs = self._api.list_repo_refs(source, include_pull_requests=True).pull_requests or []
        unavailable: tuple[type[Exception], ...] = (*self._connection_errors, ValueError, KeyError)
        try:
            discussions = self._api.get_repo_discussions(source, discussion_type="pull_request")
            authors = {str(discussion.num): discussion.author for discussion in discussions}
        except unavailable:  # a mirror may not serve discussions; the authors are unknown then
            authors = {}
        numbered = {ref.ref.rpartition("/")[2]: ref.ref for ref in refs}
        order = sorted(numbered, key=lambda number: (authors.get(number) == BOT, int(number)), reverse=True)
        for number in order[:MAX_PULL_REQUESTS]:
            yield PullRequest(authors.get(number, ""), self.listing(source, numbered[number]))

    def with_size(self, listing: Listing, file: HubFile) -> HubFile:
        """Return the file with its size, which some mirrors give only in the headers of the file itself."""
        if file.size is not None:
            return file
        from huggingface_hub import get_hf_file_metadata

        with self._explained(listing.source, listing.revision):
            found = get_hf_file_metadata(self._url(listing, file))
        if found.size is None:
            raise ConfigError(
                f"{self.endpoint} does not give the size of {listing.source}/{file.path}: use another hub."
            )
        return HubFile(file.path, found.size, found.etag or "")

    def download(self, listing: Listing, file: HubFile, part: Path, progress: Callable[[int], None]) -> None:
        """Append to `part` the missing bytes of a file; `progress` is called with the number of bytes in it."""
        assert file.size is not None, "call with_size first"
        part.parent.mkdir(parents=True, exist_ok=True)
        part.touch()
        delays = iter(RETRY_DELAYS_S)
        while (had := part.stat().st_size) != file.size:
            if had > file.size:
                part.unlink()
                part.touch()
                had = 0
            error = self._request(listing, file, part, progress)
            if had < part.stat().st_size <= file.size:
                delays = iter(RETRY_DELAYS_S)
                continue
            delay = next(delays, None)
            if delay is None:
                with self._explained(listing.source, listing.revision):
                    raise error or OSError(f"{file.path} never arrives complete")
            time.sleep(delay)

    def _request(
        self, listing: Listing, file: HubFile, part: Path, progress: Callable[[int], None]
    ) -> Exception | None:
        """Send one request for the rest of a file. Returns a connection error; raises every other as ConfigError."""
        from huggingface_hub import constants, get_token
        from huggingface_hub.file_download import http_get

        # No compression: a range of a compressed file is not a range of the file.
        headers = USER_AGENT | {"Accept-Encoding": "identity"}
        token = None if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else get_token()
        if token:
            headers["Authorization"] = f"Bearer {token}"  # requests and httpx drop it on a redirect to another host
        with part.open("ab") as file_object, self._explained(listing.source, listing.revision):
            out: Any = _Output(file_object, progress)
            # No parameter of http_get: with its own 10 MiB, that much is lost whenever a connection breaks.
            constants.DOWNLOAD_CHUNK_SIZE = CHUNK_BYTES
            try:
                http_get(
                    self._url(listing, file),
                    out,
                    resume_size=out.tell(),
                    headers=headers,
                    expected_size=file.size,
                    _tqdm_bar=out,  # instead of a bar on the terminal
                )
            except self._connection_errors as error:
                if getattr(error, "response", None) is not None:
                    raise
                return error
        return None

    def _url(self, listing: Listing, file: HubFile) -> str:
        from huggingface_hub import hf_hub_url

        return hf_hub_url(listing.source, file.path, revision=listing.revision, endpoint=self.endpoint)

    @contextmanager
    def _explained(self, source: str, revision: str | None) -> Iterator[None]:
        """Turn the errors of the library into a ConfigError of one line with the fix."""
        from huggingface_hub import errors

        try:
            yield
        except errors.GatedRepoError as error:
            fix = f"accept its terms at {self.endpoint}/{source}, then set HF_TOKEN"
            raise ConfigError(f"{source}: access is restricted; {fix}.") from error
        except errors.RevisionNotFoundError as error:
            raise ConfigError(f"{source} has no revision {revision!r}: name another.", setting="revision") from error
        except errors.RepositoryNotFoundError as error:
            fix = "or one HF_TOKEN may not read" if os.environ.get("HF_TOKEN") else "or a private one: set HF_TOKEN"
            raise ConfigError(f"{source}: no such repository at {self.endpoint}, {fix}.") from error
        except errors.HFValidationError as error:
            raise not_a_repository(source) from error
        except json.JSONDecodeError as error:  # requests' own is an OSError too
            raise ConfigError(f"{self.endpoint} does not answer like a hub: check HF_ENDPOINT.") from error
        except self._connection_errors as error:
            raise ConfigError(f"{source}: {self._reason(error)}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(f"{self.endpoint} does not answer like a hub: check HF_ENDPOINT.") from error

    def _reason(self, error: BaseException) -> str:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if status in (401, 403):
            return f"{self.endpoint} refuses HF_TOKEN ({status}): set one with read access, or none."
        if status == 429:
            return f"{self.endpoint} answers 429 (too many requests): try again later, or set HF_TOKEN."
        if status is not None:
            return f"{self.endpoint} answers {status}: try again later, or name a mirror with HF_ENDPOINT."
        fix = "run the command again to resume, or check the network, https_proxy and HF_ENDPOINT"
        return f"{self.endpoint} cannot be reached ({_cause(error)}): {fix}."


def not_a_repository(source: str) -> ConfigError:
    """The error for a name that cannot be a repository's."""
    return ConfigError(f"{source!r} is not a repository: the hub's names are owner/name.")


def _cause(error: BaseException) -> str:
    """The operating system's text for the first of a chain of exceptions."""
    reason = type(error).__name__
    current: BaseException | None = error
    while current is not None:
        reason = getattr(current, "strerror", None) or reason
        current = current.__cause__ or current.__context__
    return reason


class _Output:
    """A file that reports its length after each write. A full disk becomes a ConfigError at once."""

    def __init__(self, file: BinaryIO, progress: Callable[[int], None]) -> None:
        self._file = file
        self._progress = progress

    def write(self, data: bytes) -> int:
        try:
            written = self._file.write(data)
        except OSError as error:  # the callers handle an OSError as a connection error
            raise ConfigError(f"{self._file.name}: cannot be written ({error.strerror}): make room there.") from error
        self._progress(self._file.tell())
        return written

    def update(self, size: int) -> None:
        """Nothing: http_get calls it as a progress bar's."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)
