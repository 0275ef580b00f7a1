"""On what terms a request is taken in beside others: how it ranks, and until when its answer is of use.

Values only; it must not know queues, clocks or HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from antiphon.errors import DeadlineMissed

Priority = Literal["high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = ("high", "normal", "low")  # in the order in which they are served


@dataclass(frozen=True, slots=True)
class Deadline:
    """When an answer is of no use any more: `at` on the scheduler's clock (`time.monotonic`), `seconds` after it was asked.

    `source` is the header or the flag that says so; only a header is a field that the caller can mend.
    """

    at: float
    seconds: float
    source: str

    @property
    def param(self) -> str | None:
        return None if self.source.startswith("--") else self.source

    def missed(self) -> DeadlineMissed:
        """The error of a request whose time is over; a fresh one each time, for raising writes to it."""
        return DeadlineMissed(
            f"The answer was not ready within the {self.seconds:g} s that {self.source} allows.", param=self.param
        )


@dataclass(frozen=True, slots=True)
class SchedulingPolicy:
    """What a request asks of the queue."""

    priority: Priority = "normal"
    deadline: Deadline | None = None


DEFAULT_POLICY = SchedulingPolicy()
