"""The errors that Antiphon raises. `server/errors.py` maps each class to a status, `cli` to one line and an exit code.

AntiphonError
├── RequestError            the request is at fault
│   ├── InvalidParameter    a field has an invalid value; names the field and the valid values
│   ├── InvalidAudio        not audio, truncated, or no samples
│   ├── TooLarge            more bytes or more seconds than the settings allow
│   ├── ModelNotFound       no model of that name is served
│   ├── Unauthorized        a key is set and the request does not carry it
│   ├── HostNotAllowed      the request addresses the server by a name that is not its own
│   └── OriginNotAllowed    a web page of another origin sent the request
├── Overloaded              the queue is full, or too full for the request's deadline, or too many uploads; try again later
├── DeadlineMissed          the request's time limit has passed
├── Unavailable             loading or draining, or the model does not work; try again later
├── Cancelled               the client disconnected
├── EngineFailed            a batch failed; its requests get the error, the server continues
└── ConfigError             a setting, folder or file is wrong; names it and the fix
    ├── WeightError         a checkpoint lacks a tensor or has one of the wrong shape
    └── NotNative           the native engine cannot read the folder, but another backend may
"""

from __future__ import annotations

import reprlib
from typing import Literal

MAX_QUOTED = 100  # characters of a value
Refusal = Literal["units", "seconds", "requests", "deadline", "uploads"]  # the limit that was reached


def quoted(value: object) -> str:
    """A value of a request in quotes, as a message repeats it: cut to `MAX_QUOTED` characters."""
    return repr(shortened(value)) if isinstance(value, str) else reprlib.repr(value)


def shortened(text: str) -> str:
    """The same without quotes."""
    return text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}…"


class AntiphonError(Exception):
    """Base class. `str(error)` is one sentence that names the problem and the fix."""


class RequestError(AntiphonError):
    """The request is at fault. `param` is the field, `code` a stable identifier for programs."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


class InvalidParameter(RequestError):
    """A field has an invalid value."""


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
            f"The model {quoted(name)} is not served here. Served: {', '.join(available) or 'none'}.",
            param="model",
            code="model_not_found",
        )
        self.name = name
        self.available = available


class Unauthorized(RequestError):
    """A key is set and the request does not carry it."""


class HostNotAllowed(RequestError):
    """The request addresses the server by a name that is not one of its own."""


class OriginNotAllowed(RequestError):
    """A web page of another origin sent the request."""


class Overloaded(AntiphonError):
    """The queue is full or too long for the deadline. `retry_after` is in seconds, `param` the header of the deadline."""

    def __init__(
        self, message: str, *, retry_after: float, reason: Refusal = "units", param: str | None = None
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.reason = reason
        self.param = param


class DeadlineMissed(AntiphonError):
    """The request's time limit of `seconds` has passed and its work is cancelled.

    `param` is the header that set the limit; None means the server's `request_timeout` setting.
    """

    def __init__(self, seconds: float, *, param: str | None = None) -> None:
        source = param or "request_timeout"
        super().__init__(f"The answer was not ready within the {seconds:g} s that {source} allows.")
        self.param = param


class Unavailable(AntiphonError):
    """The server is loading or draining, or the model does not work; `retry_after` is seconds."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Cancelled(AntiphonError):
    """The client disconnected before the response was ready."""


class EngineFailed(AntiphonError):
    """A batch failed inside the engine; its requests get this error, and the server continues."""


class ConfigError(AntiphonError):
    """A setting, folder or file is wrong; the message names it and the fix.

    `setting` is the setting at fault, as spelled in `settings.py` and the Python API. `message` does not repeat it:
    `str(error)` starts with the name, and the command line replaces it by the flag or environment variable.
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
    """The native engine cannot read the folder, although it is valid; the message gives the reason."""
