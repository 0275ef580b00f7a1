"""A request as the scheduler sees it: where its events go, and the state machine that turns events into more units.

It knows units and events; it must not know what is said in them, nor threads or queues.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from antiphon.scheduling.policy import DEFAULT_POLICY, SchedulingPolicy
from antiphon.types.events import Event, Unit

Result = TypeVar("Result")
Result_co = TypeVar("Result_co", covariant=True)


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One request in the queue. Compared by identity.

    `on_event` is called on a worker thread, on two at the same time where the job has units in two lanes, and answers
    with the units to go on with, which go to the front of this job's own line. `finished` says whether it has its answer,
    so that what it still has in the queue is of no use.
    `on_end` is called once no more events will come, with the reason if that was not the job's own doing; a job that has
    its answer ignores it. `expected` is how many units the job will need in all, as far as it can tell: admission
    reserves room for those it has not handed in yet. `seconds` is how much audio they are. `on_take` is called whenever
    one of its units gets a slot. `on_end` and `on_take` may be called under the scheduler's lock: they must be quick.
    """

    on_event: Callable[[Event], Sequence[Unit]]
    on_end: Callable[[Exception], None]
    finished: Callable[[], bool] = lambda: False
    expected: int = 0
    seconds: float = 0.0
    terms: SchedulingPolicy = DEFAULT_POLICY
    on_take: Callable[[], None] = lambda: None


class Plan(Protocol[Result_co]):
    """The pure state machine of one request. Called from one thread at a time."""

    @property
    def expected(self) -> int:
        """How many units the request will need, as far as can be told before it starts."""
        ...

    @property
    def seconds(self) -> float:
        """How much audio these units are, in all."""
        ...

    @property
    def done(self) -> bool:
        """True once `result` can be asked; units still out there are then of no use."""
        ...

    def start(self) -> Sequence[Unit]:
        """The first units; none only if the plan is done."""
        ...

    def receive(self, event: Event) -> Sequence[Unit]:
        """Take in what came of a unit; answer with the units to go on with."""
        ...

    def result(self) -> Result_co:
        """The answer, or the error that ended the request, raised."""
        ...
