"""API keys: read from a file that is checked for changes, from the environment, or generated at the first start."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from antiphon.environment import OUR_KEY_VARIABLE, api_key_variable
from antiphon.errors import ConfigError
from antiphon.settings import Settings
from antiphon.types.options import Report

logger = logging.getLogger(__name__)

CHECK_INTERVAL_S = 1.0  # a key file is checked for changes at most this often
MAX_FILE_BYTES = 2**20
_NAMED = re.compile(r"([\w.@-]{1,64}):\s+(\S.*)")
_NAME_ALONE = re.compile(r"[\w.@-]{1,64}:")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key and its name. `digest` is the SHA-256 of the key's UTF-8 bytes, so that all comparisons have one length."""

    name: str
    digest: bytes


def api_key(name: str, text: str) -> ApiKey:
    """The key `text` under a name."""
    return ApiKey(name, hashlib.sha256(text.encode()).digest())


def parse_keys(text: str) -> tuple[ApiKey, ...]:
    """The keys of a file: one per line, as `name: key` or as the key alone, which is then named after its line.

    Blank lines and lines that begin with # are left out. In an entry with a name, white space follows the colon, so a key
    may contain colons. ConfigError for a name without a key.
    """
    keys = []
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            if _NAME_ALONE.fullmatch(stripped):
                raise ConfigError(f"line {number} has a name and no key after it.", setting="api_key_file")
            named = _NAMED.fullmatch(stripped)
            keys.append(api_key(named[1], named[2]) if named else api_key(f"line-{number}", stripped))
    return tuple(keys)


class ApiKeys:
    """The keys of which every request needs one; none if they are empty."""

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        self._keys = tuple(keys)

    def __len__(self) -> int:
        return len(self._keys)

    @property
    def required(self) -> bool:
        """Whether requests need a key."""
        return bool(self._keys)

    def name_of(self, tokens: Sequence[bytes]) -> str | None:
        """The name of the key that one of these tokens is, else None. Every token is compared with every key."""
        found = None
        for token in tokens:
            digest = hashlib.sha256(token).digest()
            for key in self._keys:
                if hmac.compare_digest(digest, key.digest):
                    found = key.name
        return found


class KeyFile(ApiKeys):
    """The keys of a file. The file is read again once it has changed, so that keys can be replaced without a restart.

    If it then has no keys or cannot be read, the previous keys remain and an error is logged: a file that is being written
    must lock no client out. Raises ConfigError if that is the case at the start.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._checked = clock()
        self._version = _version(path)
        super().__init__(read_keys(path))
        _warn_if_public(path)

    def name_of(self, tokens: Sequence[bytes]) -> str | None:
        """As in the base class, with the keys that the file has now."""
        self._refresh()
        return super().name_of(tokens)

    def _refresh(self) -> None:
        now = self._clock()
        if now - self._checked < CHECK_INTERVAL_S:
            return
        self._checked = now
        version = _version(self._path)
        if version == self._version:
            return
        self._version = version
        try:
            self._keys = read_keys(self._path)
        except ConfigError as error:
            logger.error("The API keys stay as they are: %s", error.message)
        else:
            logger.info("%s has changed: %d API keys.", self._path, len(self._keys))


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """The keys of a file. ConfigError if it cannot be read or has none."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}.", setting="api_key_file") from error
    keys = parse_keys(text)
    if not keys:
        raise ConfigError(f"{path} has no key; write one on its first line.", setting="api_key_file")
    return keys


def configured_keys(settings: Settings, report: Report = logger.debug) -> ApiKeys:
    """The keys of `api_key_file` or else of the environment. They are empty with `no_auth`, or if none is set.

    `report` receives a line that says where the keys are from.
    """
    if settings.no_auth:
        return ApiKeys()
    if settings.api_key_file is not None:
        keys = KeyFile(settings.api_key_file)
        report(f"Requests need one of the API keys in {settings.api_key_file}; there are {len(keys)}.")
        return keys
    variable = api_key_variable()
    if variable is None:
        return ApiKeys()
    name, value = variable
    report(f"Requests need the API key in the environment variable {name}.")
    return ApiKeys([api_key(name, value)])


def generated_keys(report: Report) -> ApiKeys:
    """The keys of the file that the first start makes, in the user's folder for state. `report` gets the new key once."""
    path = generated_key_file()
    text = secrets.token_urlsafe(32)
    try:
        made = _create(path, f"{text}\n")
    except OSError as error:
        raise ConfigError(
            f"Other machines can reach the server, it has no API key, and none can be generated: cannot write {path} "
            f"({error.strerror}). Set api_key_file or {OUR_KEY_VARIABLE}, or rest_bind_address 127.0.0.1; or no_auth to serve "
            "without a key.",
        ) from error
    if made:
        report(f"Generated an API key, kept in {path} and not shown again: {text}")
        report("Clients send it as 'Authorization: Bearer <key>'. To serve without a key: --no_auth")
    else:
        report(f"Requests need the API key in {path}.")
    return KeyFile(path)


def generated_key_file() -> Path:
    """$XDG_STATE_HOME/antiphon/api-key, or the same in ~/.local/state."""
    base = os.environ.get("XDG_STATE_HOME", "")
    folder = Path(base) if Path(base).is_absolute() else Path("~/.local/state").expanduser()
    return folder / "antiphon" / "api-key"


def _create(path: Path, text: str) -> bool:
    """Write a file that only its owner can read, in whole; False if it exists."""
    if path.exists():
        return False
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
    try:
        os.link(part, path)  # unlike a rename, it fails if another server was faster
    except FileExistsError:
        return False
    finally:
        part.unlink()
    return True


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _warn_if_public(path: Path) -> None:
    if os.name == "posix" and path.stat().st_mode & stat.S_IROTH:
        logger.warning("%s can be read by every user of this machine: chmod o-r %s", path, path)
