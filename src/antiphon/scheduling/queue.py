"""Whose turn it is, and who is let in: admission by bounds, then turns by job, with first units ahead of later ones.

Pure bookkeeping of units by identity, with the time passed in; it must not know threads, clocks, samples or the session.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean

from antiphon.errors import Overloaded, Refusal
from antiphon.scheduling.fair_queue import FairQueue
from antiphon.scheduling.policy import PRIORITIES
from antiphon.scheduling.request import Job
from antiphon.scheduling.throughput import ThroughputEstimate
from antiphon.types.events import Unit

CLASSES = 2 * len(PRIORITIES)  # of each priority, the jobs none of whose units was taken yet, then the others
SOONEST, LATEST = 0.5, 60.0  # seconds that somebody who is refused is told to stay away
UNKNOWN = 1.0  # the same, while nothing is known of the model's pace
CAUTION = 1.2  # how much longer than reckoned an answer may take: nobody knows the pace of the next half minute
SHORT = 10.0  # seconds of audio in a request whose decoding is not held up by others that join
PATIENCE = 32  # turns in a row that they wait for it at most: the tokens of so much speech
RECENT = 32  # jobs whose length says how long those will be of which nothing is known yet


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be ahead of a newcomer: units that wait, requests inside, and seconds of audio that are not done."""

    units: int = sys.maxsize
    requests: int = sys.maxsize
    seconds: float = math.inf


UNLIMITED = Limits()


@dataclass(slots=True)
class _Line:
    """What one job has in the queue; `reserved` units are expected but not handed in yet.

    `left` is how many seconds of its audio are still to be worked off. A unit is half done once it is taken: about half of
    the work on a window is its encoding, and so neither a batch that fills nor one that empties misleads.
    """

    reserved: int
    left: float
    waiting: deque[Unit] = field(default_factory=deque)
    flying: set[Unit] = field(default_factory=set)
    started: bool = False  # one of its units was taken


class Queue:
    """Units in turn, for one session or for several `lanes`, each a session that takes from the same line.

    Every unit put in ends exactly once: by `finish`, or with its job by `cancel` or `expire`.

    A job is refused while one of the `limits` is reached, and if it cannot meet its deadline. The limits are on what is
    ahead of a newcomer, not on the newcomer: a file is never too long to be admitted. Requests are counted from `enter`
    to `leave`: a file that is being decoded has no job yet, but is work that was accepted.

    Turns go round by job. A job's first unit overtakes the later units of others, and one of a higher priority those of
    a lower one, but nobody is passed over for ever: if p jobs of its priority were in line, itself included, when a job
    got in line for its next unit, that unit is taken within p * (max_overtakes + CLASSES) units, whatever arrives.
    """

    def __init__(self, limits: Limits = UNLIMITED, *, max_overtakes: int = 4, lanes: int = 1) -> None:
        self._limits = limits
        self._lanes = lanes
        self._inside = 0
        self._lengths: deque[float] = deque(maxlen=RECENT)  # seconds of audio in the jobs admitted last
        self._lines: dict[Job, _Line] = {}
        self._flights: tuple[dict[Unit, Job], ...] = tuple(
            {} for _ in range(lanes)
        )  # each lane's units, and whose they are
        self._turns: FairQueue[Job] = FairQueue(CLASSES, max_overtakes)
        # In flight, of cancelled jobs: their slots are still to be given back.
        self._cancelled: tuple[list[Unit], ...] = tuple([] for _ in range(lanes))
        self._pace = ThroughputEstimate()
        self._worked = 0.0  # seconds of audio worked off since `spent` was called
        self._crowded = False  # when units were last taken somebody had to wait, or no slot was left
        self._patient = 0  # turns in a row in which later units had to wait for short requests

    @property
    def waiting(self) -> int:
        """Units admitted but not taken, those reserved included."""
        return sum(len(line.waiting) + line.reserved for line in self._lines.values())

    @property
    def seconds(self) -> float:
        """Audio that was admitted and is not done."""
        return sum(line.left for line in self._lines.values())

    @property
    def in_flight(self) -> int:
        """Units taken that still hold a slot."""
        return sum(map(self.held, range(self._lanes)))

    @property
    def idle(self) -> bool:
        """True if there is nothing to take, advance or leave."""
        return not any(map(self.calls, range(self._lanes)))

    @property
    def jobs(self) -> tuple[Job, ...]:
        return tuple(self._lines)

    def calls(self, lane: int) -> bool:
        """True if there is something for this lane to take, advance or leave."""
        return bool(self._turns or self.held(lane))

    def held(self, lane: int) -> int:
        """Units that this lane took and that still hold a slot."""
        return len(self._flights[lane]) + len(self._cancelled[lane])

    def flying(self, lane: int) -> tuple[Unit, ...]:
        """The units in flight in this lane whose jobs still want them."""
        return tuple(self._flights[lane])

    def owner(self, unit: Unit) -> Job | None:
        """The job of a unit in flight; None if it was cancelled or has ended."""
        return next((flight[unit] for flight in self._flights if unit in flight), None)

    @property
    def full(self) -> bool:
        """True if any request would be refused now."""
        try:
            self.check_room()
        except Overloaded:
            return True
        return False

    def enter(self) -> None:
        """Count one more request, or raise `Overloaded`; whoever is counted must `leave`."""
        self.check_room()
        self._inside += 1

    def leave(self) -> None:
        self._inside -= 1

    def admit(self, job: Job, units: Sequence[Unit], *, now: float) -> None:
        """Let a job in with its first units, or raise `Overloaded`, or `DeadlineMissed`."""
        if job in self._lines:
            raise ValueError("the job was admitted before")
        if not units:
            raise ValueError("a job needs at least one unit to start with")
        self._check_load(newcomers=1)
        self._check_deadline(job, now)
        self._lengths.append(job.seconds)
        self._lines[job] = _Line(max(0, job.expected - len(units)), job.seconds, deque(units))
        self._turns.join(job, _rank(job, started=False))

    def check_room(self) -> None:
        """Raise `Overloaded` if any request would be refused now."""
        if self._inside >= self._limits.requests:
            limit = f"--max_queued_requests allows {self._limits.requests}"
            raise self._refusal("requests", f"{self._inside} requests are not done, and {limit}")
        self._check_load()

    def add(self, job: Job, units: Sequence[Unit]) -> None:
        """Put more units of an admitted job at the front of its line; one that was cancelled or has ended wants none."""
        line = self._lines.get(job)
        if line is None or not units:
            return
        if not line.waiting:  # it was admitted with a unit, so an empty line means that one was taken
            self._turns.join(job, _rank(job, started=True))
        line.waiting.extendleft(reversed(units))
        line.reserved = max(0, line.reserved - len(units))

    def take(
        self, count: int, *, lane: int = 0, later: int = sys.maxsize, gentle: bool = False, room: int | None = None
    ) -> list[Unit]:
        """Up to `count` units whose turn it is, now in flight. `room` is how many slots were free, if that is to be known.

        Not more than `later` of them are not their request's first: all windows of a batch may have long to go, and a
        newcomer should find a slot.
        `gentle`: joining is dear, and all in flight wait for it. Then a request's later units do not join while a short
        request of no lower priority is in flight there, `PATIENCE` turns in a row at most: a 3 s clip beside two long
        files would wait for an encode every second step (starter-asr). Who was overtaken often enough joins all the same.
        """
        taken: list[Unit] = []
        held = 2 * self._short_priority(lane) if gentle and self._patient < PATIENCE else CLASSES
        self._patient = self._patient + 1 if held < CLASSES else 0
        while len(taken) < count:
            job = self._turns.take(partial(_may_join, held=held if later > 0 else 0))
            if job is None:
                break
            line = self._lines[job]
            later -= line.started
            line.started = True
            unit = line.waiting.popleft()
            line.flying.add(unit)
            self._flights[lane][unit] = job
            self._half_done(line, unit)
            if line.waiting:
                self._turns.join(job, _rank(job, started=True))
            taken.append(unit)
        self._crowded = bool(self._turns) or len(taken) == room
        return taken

    def finish(self, unit: Unit) -> Job | None:
        """End a unit in flight; answers with its job if that was the last thing the job had here."""
        job = self.owner(unit)
        if job is None:
            return None
        self._land(unit)
        line = self._lines[job]
        line.flying.discard(unit)
        self._half_done(line, unit)
        if line.flying or line.waiting:
            return None
        del self._lines[job]
        return job

    def cancel(self, job: Job) -> bool:
        """Drop a job's waiting units, leave those in flight to `take_cancelled`. False if it was gone already."""
        line = self._lines.pop(job, None)
        if line is None:
            return False
        self._turns.leave(job)
        for unit in line.flying:
            self._cancelled[self._land(unit)].append(unit)
        return True

    def expire(self, now: float) -> list[Job]:
        """Cancel the jobs whose deadline has passed; answers with them."""
        late = [job for job in self._lines if job.terms.deadline is not None and job.terms.deadline.at <= now]
        for job in late:
            self.cancel(job)
        return late

    def take_cancelled(self, lane: int) -> list[Unit]:
        """The units in flight in this lane that nobody wants any more; the caller makes its session leave them."""
        cancelled = self._cancelled[lane][:]
        self._cancelled[lane].clear()
        return cancelled

    def spent(self, seconds: float) -> None:
        """So long one lane worked, on what was taken and finished since this was last told: the measure of the pace.

        Lanes work at the same time, so that of all their time together each counts for its share. A turn with slots to
        spare and nobody waiting counts for nothing, for the model could have done more in it.
        """
        if self._crowded:
            self._pace.add(self._worked, seconds / self._lanes)
        self._worked = 0.0

    def _land(self, unit: Unit) -> int:
        """Take a unit out of its lane, which is answered."""
        lane = next(index for index, flight in enumerate(self._flights) if unit in flight)
        del self._flights[lane][unit]
        return lane

    def _short_priority(self, lane: int) -> int:
        """The highest priority (0) of short requests in flight in a lane; one behind all there are if there is none."""
        shorts = (job.terms.priority for job in self._flights[lane].values() if job.seconds <= SHORT)
        return min(map(PRIORITIES.index, shorts), default=len(PRIORITIES))

    def _half_done(self, line: _Line, unit: Unit) -> None:
        line.left = max(0.0, line.left - unit.seconds / 2)
        self._worked += unit.seconds / 2

    def _check_load(self, newcomers: int = 0) -> None:
        if (waiting := self.waiting) >= self._limits.units:
            limit = f"--max_waiting_units allows {self._limits.units}"
            why = f"{waiting} windows or sentences are waiting, and {limit}"
            raise self._refusal("units", why, newcomers=newcomers)
        if (seconds := self.seconds) >= self._limits.seconds:
            limit = f"--max_queued_seconds allows {self._limits.seconds:g}"
            raise self._refusal("seconds", f"{seconds:.0f} s of audio are not done, and {limit}", newcomers=newcomers)

    def _check_deadline(self, job: Job, now: float) -> None:
        deadline = job.terms.deadline
        if deadline is None:
            return
        if deadline.at <= now:
            raise deadline.missed()
        ahead = self._ahead(job)
        needed = self._pace.time_for(CAUTION * (job.seconds + ahead))
        # With nothing ahead it may try: a pace that was slow once would else be believed for ever, for want of a newer one.
        if ahead and needed is not None and needed > deadline.at - now:
            why = f"the answer would take about {needed:.1f} s, and {deadline.source} allows {deadline.seconds:g}"
            raise self._refusal("deadline", why, deadline.param, newcomers=1)

    def _ahead(self, job: Job) -> float:
        """Seconds of other jobs' audio that are worked off before this one is done.

        Processor sharing: of an equal no more than of itself, or the window whose turn it is; of its betters all, of the
        lesser nothing. What is in flight counts whole, though half of it is done: others will join before this one and
        beside it, and in a batch that stays full a unit is in its slot for as long as all slots' audio takes (Little).
        """
        mine = PRIORITIES.index(job.terms.priority)
        ahead = 0.0
        for other, line in self._lines.items():
            theirs = PRIORITIES.index(other.terms.priority)
            turn = line.waiting[0].seconds if line.waiting else 0.0
            beside = min(line.left, max(job.seconds, turn)) if theirs == mine else 0.0
            ahead += line.left if theirs < mine else beside
            ahead += sum(unit.seconds for unit in line.flying) / 2
        return ahead

    def _coming(self, newcomers: int) -> float:
        """Seconds of audio that those inside will bring who have no job yet, `newcomers` of them left out.

        Their files are being decoded, so each is taken for as long as the last jobs were on average. Who has had all and
        still reads the answer is taken for one of them too: nothing here tells the two apart.
        """
        unknown = max(0, self._inside - len(self._lines) - newcomers)
        return unknown * fmean(self._lengths) if self._lengths else 0.0

    def _refusal(self, reason: Refusal, why: str, param: str | None = None, *, newcomers: int = 0) -> Overloaded:
        """The refusal of somebody who is none of those inside, or one of the `newcomers` among them."""
        needed = self._pace.time_for(self.seconds + self._coming(newcomers))
        wait = UNKNOWN if needed is None else min(max(needed, SOONEST), LATEST)
        message = f"The server is busy: {why}. Try again in {wait:.1f} s."
        return Overloaded(message, retry_after=wait, reason=reason, param=param)


def _may_join(rank: int, *, held: int) -> bool:
    """Whether a class may join while later units of class `held` and those behind are held back."""
    return rank < held or not rank % 2


def _rank(job: Job, *, started: bool) -> int:
    return 2 * PRIORITIES.index(job.terms.priority) + started
