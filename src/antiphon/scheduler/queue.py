"""Whose turn it is: admission by a bound, then round-robin by job, with first units ahead of later ones.

Pure bookkeeping of units by identity; it must not know threads, clocks, samples or the session.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from antiphon.errors import Overloaded
from antiphon.scheduler.job import Job
from antiphon.types import Unit


@dataclass(slots=True)
class _Line:
    """What one job has in the queue; `reserved` units are expected but not handed in yet."""

    reserved: int
    waiting: deque[Unit] = field(default_factory=deque)
    flying: set[Unit] = field(default_factory=set)


class Queue:
    """Every unit put in ends exactly once: by `finish`, or with its job by `cancel`.

    A job is refused while `max_waiting` units wait already. One job may go beyond it, so that a long file is never too
    long to be admitted; the bound is on what waits ahead of a newcomer.
    A job's first unit overtakes the later units of others, at most `max_overtakes` times in a row: a short request
    starts at once, and a stream of short ones cannot starve a long one.
    """

    def __init__(self, *, max_waiting: int = 512, max_overtakes: int = 4, retry_after: float = 1.0) -> None:
        self._max_waiting = max_waiting
        self._max_overtakes = max_overtakes
        self._retry_after = retry_after
        self._overtakes = 0
        self._lines: dict[Job, _Line] = {}
        self._owners: dict[Unit, Job] = {}  # of units in flight
        self._fresh: deque[Job] = deque()  # jobs none of whose units was taken yet
        self._started: deque[Job] = deque()  # the others, while they have waiting units
        self._cancelled: list[Unit] = []  # in flight, of cancelled jobs: their slots are still to be given back

    @property
    def waiting(self) -> int:
        """Units admitted but not taken, those reserved included."""
        return sum(len(line.waiting) + line.reserved for line in self._lines.values())

    @property
    def in_flight(self) -> int:
        """Units taken that still hold a slot."""
        return len(self._owners) + len(self._cancelled)

    @property
    def idle(self) -> bool:
        """True if there is nothing to take, advance or leave."""
        return not (self._fresh or self._started or self._owners or self._cancelled)

    @property
    def jobs(self) -> tuple[Job, ...]:
        return tuple(self._lines)

    @property
    def flying(self) -> tuple[Unit, ...]:
        """The units in flight whose jobs still want them."""
        return tuple(self._owners)

    def owner(self, unit: Unit) -> Job | None:
        """The job of a unit in flight; None if it was cancelled or has ended."""
        return self._owners.get(unit)

    def admit(self, job: Job, units: Sequence[Unit]) -> None:
        """Let a job in with its first units, or raise `Overloaded`."""
        if job in self._lines:
            raise ValueError("the job was admitted before")
        if not units:
            raise ValueError("a job needs at least one unit to start with")
        self.check_room()
        self._lines[job] = _Line(reserved=max(0, job.expected - len(units)), waiting=deque(units))
        self._fresh.append(job)

    def check_room(self) -> None:
        """Raise `Overloaded` if a job would be refused now."""
        waiting = self.waiting
        if waiting >= self._max_waiting:
            raise Overloaded(f"The queue is full: {waiting} units are waiting.", retry_after=self._retry_after)

    def add(self, job: Job, units: Sequence[Unit]) -> None:
        """Put more units of an admitted job at the front of its line; one that was cancelled or has ended wants none."""
        line = self._lines.get(job)
        if line is None or not units:
            return
        if not line.waiting:
            self._started.append(job)  # it was admitted with a unit, so an empty line means that one was taken
        line.waiting.extendleft(reversed(units))
        line.reserved = max(0, line.reserved - len(units))

    def take(self, count: int) -> list[Unit]:
        """Up to `count` units whose turn it is, now in flight."""
        taken: list[Unit] = []
        while len(taken) < count and (job := self._turn()) is not None:
            line = self._lines[job]
            unit = line.waiting.popleft()
            line.flying.add(unit)
            self._owners[unit] = job
            if line.waiting:
                self._started.append(job)
            taken.append(unit)
        return taken

    def finish(self, unit: Unit) -> Job | None:
        """End a unit in flight; answers with its job if that was the last thing the job had here."""
        job = self._owners.pop(unit, None)
        if job is None:
            return None
        line = self._lines[job]
        line.flying.discard(unit)
        if line.flying or line.waiting:
            return None
        del self._lines[job]
        return job

    def cancel(self, job: Job) -> bool:
        """Drop a job's waiting units, leave those in flight to `take_cancelled`. False if it was gone already."""
        line = self._lines.pop(job, None)
        if line is None:
            return False
        for ring in (self._fresh, self._started):
            if job in ring:
                ring.remove(job)
        for unit in line.flying:
            del self._owners[unit]
        self._cancelled.extend(line.flying)
        return True

    def take_cancelled(self) -> list[Unit]:
        """The units in flight that nobody wants any more; the caller makes the session leave them."""
        cancelled, self._cancelled = self._cancelled, []
        return cancelled

    def _turn(self) -> Job | None:
        if self._fresh and not (self._started and self._overtakes >= self._max_overtakes):
            self._overtakes = self._overtakes + 1 if self._started else 0
            return self._fresh.popleft()
        self._overtakes = 0
        return self._started.popleft() if self._started else None
