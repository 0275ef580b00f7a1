"""Every error Antiphon raises on purpose; the tree below is the whole of it.

No HTTP in here: `api/failures.py` turns a class into a status, `cli` turns it into one line and an exit code.

    AntiphonError
    ├── RequestError            the caller can mend it
    │   ├── InvalidParameter    a field has a value we cannot use; names the field and the valid values
    │   ├── InvalidAudio        not audio, truncated, or no samples
    │   ├── TooLarge            more bytes or more seconds than the settings allow
    │   ├── ModelNotFound       no model of that name is served
    │   └── Unauthorized        a key is set and the request does not carry it
    ├── Overloaded              the queue is full, or too full for the request's deadline; try again later
    ├── DeadlineMissed          the time the request was given is over
    ├── Unavailable             loading or draining; try again later
    ├── Cancelled               the caller left
    ├── EngineFailed            a batch failed; its members are told, the server goes on
    └── ConfigError             a flag, folder or file is wrong; names it and the fix
        ├── WeightError         a checkpoint lacks a tensor or has one of the wrong shape
        └── NotNative           nothing is wrong, but our own engine cannot read the folder; another backend may
"""

from __future__ import annotations

from typing import Literal

Refusal = Literal["units", "seconds", "requests", "deadline"]  # what there was too much of, or too little time


class AntiphonError(Exception):
    """Root of the tree. `str(error)` is one sentence for the person who has to act."""


class RequestError(AntiphonError):
    """The request cannot be served as sent; `param` is the field at fault, `code` a stable word for programs."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class InvalidParameter(RequestError):
    """A field has a value that cannot be used."""


class InvalidAudio(RequestError):
    """The upload is not audio, is truncated, or holds no samples."""

    def __init__(self, message: str, *, param: str | None = "file", code: str | None = "invalid_audio") -> None:
        super().__init__(message, param=param, code=code)


class TooLarge(RequestError):
    """The upload has more bytes or more seconds than the settings allow."""


class ModelNotFound(RequestError):
    """No model of that name is served."""

    def __init__(self, name: str, available: tuple[str, ...]) -> None:
        super().__init__(
            f"The model {name!r} is not served here. Served: {', '.join(available) or 'none'}.",
            param="model",
            code="model_not_found",
        )
        self.name = name
        self.available = available


class Unauthorized(RequestError):
    """A key is set and the request does not carry it."""


class Overloaded(AntiphonError):
    """The queue is full, or cannot meet the request's deadline; `retry_after` is seconds, `param` who set the deadline."""

    def __init__(
        self, message: str, *, retry_after: float, reason: Refusal = "units", param: str | None = None
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.reason = reason
        self.param = param


class DeadlineMissed(AntiphonError):
    """The time a request was given is over, and so is the work on it; `param` is the header that gave it, if one did."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.param = param


class Unavailable(AntiphonError):
    """The server is loading or draining; `retry_after` is seconds."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Cancelled(AntiphonError):
    """The caller left before the answer was ready."""


class EngineFailed(AntiphonError):
    """A batch failed inside the engine; its members are told, the server goes on."""


class ConfigError(AntiphonError):
    """A setting, folder or file is wrong; the message names it and the fix.

    `setting` is the name of the setting at fault, as `settings.py` and the Python API spell it. `message` does not repeat
    it: `str(error)` puts the name in front, and the command line puts the flag or the environment variable there instead.
    """

    def __init__(self, message: str, *, setting: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.setting = setting

    def __str__(self) -> str:
        return f"{self.setting}: {self.message}" if self.setting else self.message


class WeightError(ConfigError):
    """A checkpoint lacks a tensor or has one of the wrong shape."""


class NotNative(ConfigError):
    """Nothing is wrong with the folder, but the native engine cannot read it; the message says why."""
