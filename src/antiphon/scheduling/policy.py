"""The scheduling policy of a request: its priority and its deadline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Priority = Literal["high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")  # in the order in which they are served


@dataclass(frozen=True, slots=True)
class Deadline:
    """The time by which a request needs its answer: `at` on the scheduler's clock (`time.monotonic`), `seconds` after
    the request arrived.

    `param` is the request field that set it; None means the server's `request_timeout` setting.
    """

    at: float
    seconds: float
    param: str | None = None

    @property
    def source(self) -> str:
        return self.param or "request_timeout"


@dataclass(frozen=True, slots=True)
class SchedulingPolicy:
    """How a request is ordered among others, and how long it may take."""

    priority: Priority = "normal"
    deadline: Deadline | None = None


DEFAULT_POLICY = SchedulingPolicy()
