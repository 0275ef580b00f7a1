"""The queue of one model: admission by limits and deadlines, and fair order among requests.

Pure bookkeeping of units by identity; the time is passed in.
"""

from __future__ import annotations

import math
import sys
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean

from antiphon.errors import DeadlineMissed, Overloaded, Refusal
from antiphon.scheduling.fair_queue import FairQueue
from antiphon.scheduling.policy import PRIORITIES
from antiphon.scheduling.request import ScheduledRequest
from antiphon.scheduling.throughput import ThroughputEstimate
from antiphon.types.events import Unit

CLASSES = 2 * len(PRIORITIES)  # per priority: requests whose first unit is waiting, then those that have started
MIN_RETRY_AFTER_S, MAX_RETRY_AFTER_S = 0.5, 60.0
DEFAULT_RETRY_AFTER_S = 1.0  # while the throughput is unknown
DEADLINE_SAFETY_FACTOR = 1.2  # on the estimated time of an answer: the throughput of the next half minute is a guess
SHORT_REQUEST_S = 10.0  # seconds of audio in a request that later units of other requests must not slow down
MAX_HELD_ROUNDS = 32  # rounds in a row for which they wait: the tokens of `SHORT_REQUEST_S` of speech
RECENT_REQUESTS = 32  # whose mean length is assumed for a request that is still being decoded


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be ahead of a new request: waiting units, requests, and unfinished seconds of audio."""

    units: int = sys.maxsize
    requests: int = sys.maxsize
    seconds: float = math.inf


UNLIMITED = Limits()


@dataclass(slots=True)
class _Entry:
    """What one request has in the queue. `reserved` units are expected but not added yet.

    `unfinished_s` is how many seconds of its audio are not done. Half of a unit is done when it is taken, the other half
    when it ends: about half of the work on a window is its encoding, so the figure holds while a batch fills or empties.
    """

    reserved: int
    unfinished_s: float
    waiting: deque[Unit]
    active: dict[Unit, int] = field(default_factory=dict)  # units that were taken, with the worker that took them
    started: bool = False
    paused: bool = False  # its waiting units are not in line


class Queue:
    """The units of one model, for one worker or several, each with its own session.

    Every unit added ends exactly once: by `finish`, or with its request by `cancel` or `expire`. The caller that removes
    a request from the queue also ends the request.

    A request is refused while one of the `limits` is reached, or if it cannot meet its deadline. The limits concern what
    is ahead of a request, not the request itself: no file is too long to be admitted. Requests are counted by permits,
    because a file that is being decoded was accepted too.

    Requests take turns. First units overtake later ones of other requests, and higher priorities lower ones, but none
    starves: if p requests of its class were in line, itself included, when a request got in line for its next unit, that
    unit is taken within p * (max_overtakes + CLASSES) units, whatever arrives.
    """

    def __init__(self, limits: Limits = UNLIMITED, *, max_overtakes: int = 4, workers: int = 1) -> None:
        self._limits = limits
        self._workers = workers
        self._permits = 0
        self._recent_s: deque[float] = deque(maxlen=RECENT_REQUESTS)
        self._entries: dict[ScheduledRequest, _Entry] = {}
        self._owners: dict[Unit, ScheduledRequest] = {}  # of the active units
        self._cancelled: dict[Unit, int] = {}  # units to be removed from a session, with the worker that has it
        self._line: FairQueue[ScheduledRequest] = FairQueue(CLASSES, max_overtakes)
        self._resting = False
        self._throughput = ThroughputEstimate()
        self._done_s = 0.0  # seconds of audio done since the last `record_work`
        self._saturated = False  # the last `take` left requests in line or filled the last slot
        self._held_rounds: Counter[int] = Counter()  # of each worker: rounds in a row in which later units waited

    @property
    def waiting(self) -> int:
        """Units admitted but not taken, those reserved included."""
        return sum(len(entry.waiting) + entry.reserved for entry in self._entries.values())

    @property
    def seconds(self) -> float:
        """Audio that was admitted and is not done."""
        return sum(entry.unfinished_s for entry in self._entries.values())

    @property
    def in_flight(self) -> int:
        """Units taken that still hold a slot."""
        return len(self._owners) + len(self._cancelled)

    @property
    def idle(self) -> bool:
        """True if no unit is waiting or holds a slot."""
        return not (self._entries or self.in_flight)

    @property
    def requests(self) -> tuple[ScheduledRequest, ...]:
        return tuple(self._entries)

    @property
    def full(self) -> bool:
        """True if any request would be refused now."""
        try:
            self.check_room()
        except Overloaded:
            return True
        return False

    def has_work(self, worker_index: int) -> bool:
        """True if this worker has units to take, to advance or to remove. No worker has any while a session rests."""
        return not self._resting and bool(self._line or self.held(worker_index))

    def held(self, worker_index: int) -> int:
        """Units that this worker took and that still hold a slot."""
        return len(self.active(worker_index)) + list(self._cancelled.values()).count(worker_index)

    def active(self, worker_index: int) -> tuple[Unit, ...]:
        """Units that this worker took and that have neither ended nor been cancelled."""
        owners = self._owners.items()
        return tuple(unit for unit, request in owners if self._entries[request].active[unit] == worker_index)

    def owner(self, unit: Unit) -> ScheduledRequest | None:
        """The request of an active unit; None if the unit was cancelled or has ended."""
        return self._owners.get(unit)

    def begin_rest(self) -> bool:
        """Keep the workers from taking units until `end_rest`; False if the queue is not idle or a session rests already."""
        if self._resting or not self.idle:
            return False
        self._resting = True
        return True

    def end_rest(self) -> None:
        self._resting = False

    def acquire_permit(self) -> None:
        """Count one more request until `release_permit`, or raise `Overloaded`."""
        self.check_room()
        self._permits += 1

    def release_permit(self) -> None:
        self._permits -= 1

    def check_room(self) -> None:
        """Raise `Overloaded` if any request would be refused now."""
        if self._permits >= self._limits.requests:
            why = f"{self._permits} requests are not done, and max_queued_requests allows {self._limits.requests}"
            raise self._overloaded("requests", why)
        self._check_load()

    def admit(self, request: ScheduledRequest, units: Sequence[Unit], *, now: float) -> None:
        """Admit a request with its first units, or raise `Overloaded` or `DeadlineMissed`."""
        if request in self._entries:
            raise ValueError("the request was admitted before")
        if not units:
            raise ValueError("a request needs at least one unit to start with")
        self._check_load(newcomers=1)
        self._check_deadline(request, now)
        self._recent_s.append(request.seconds)
        reserved = max(0, request.expected - len(units))
        self._entries[request] = _Entry(reserved, request.seconds, deque(units))
        self._line.push(request, _rank(request, started=False))

    def add(self, request: ScheduledRequest, units: Sequence[Unit]) -> None:
        """Put more units at the front of a request's own line; ignored if the request was cancelled or has ended."""
        entry = self._entries.get(request)
        if entry is None or not units:
            return
        if not (entry.waiting or entry.paused):  # it was admitted with a unit, so one was taken
            self._line.push(request, _rank(request, started=True))
        entry.waiting.extendleft(reversed(units))
        entry.reserved = max(0, entry.reserved - len(units))

    def set_paused(self, request: ScheduledRequest, paused: bool) -> bool:
        """Keep the waiting units of a request from being taken, or let them be taken again; True if there are any then.

        Its active units go on. Ignored if the request has ended.
        """
        entry = self._entries.get(request)
        if entry is None or entry.paused == paused:
            return False
        entry.paused = paused
        if paused:
            self._line.remove(request)
        elif entry.waiting:
            self._line.push(request, _rank(request, started=entry.started))
        return not paused and bool(entry.waiting)

    def take(
        self,
        count: int,
        *,
        worker_index: int = 0,
        max_later: int = sys.maxsize,
        hold_back: bool = False,
        free_slots: int | None = None,
    ) -> list[Unit]:
        """Up to `count` units whose turn it is, active from now on. `free_slots` tells whether they fill the last slot.

        At most `max_later` of them are not their request's first: all windows of a batch may have long to go, and a new
        request should find a slot.
        `hold_back`: joining is expensive, and every active unit waits for it. Then later units do not join while a short
        request of no lower priority is active on this worker, for `MAX_HELD_ROUNDS` rounds in a row: a 3 s clip next to two
        long files would wait for an encode every second step (starter-asr). A class that is due joins all the same.
        """
        taken: list[Unit] = []
        hold_back = hold_back and self._held_rounds[worker_index] < MAX_HELD_ROUNDS
        held_rank = 2 * self._highest_short_priority(worker_index) if hold_back else CLASSES
        self._held_rounds[worker_index] = self._held_rounds[worker_index] + 1 if held_rank < CLASSES else 0
        while len(taken) < count:
            request = self._line.pop(partial(_may_join, held_rank=held_rank if max_later > 0 else 0))
            if request is None:
                break
            entry = self._entries[request]
            max_later -= entry.started
            entry.started = True
            unit = entry.waiting.popleft()
            entry.active[unit] = worker_index
            self._owners[unit] = request
            self._count_half(entry, unit)
            if entry.waiting:
                self._line.push(request, _rank(request, started=True))
            taken.append(unit)
        self._saturated = bool(self._line) or len(taken) == free_slots
        return taken

    def finish(self, unit: Unit) -> bool:
        """End an active unit. True if that was the request's last one, which removes the request."""
        request = self._owners.pop(unit, None)
        if request is None:
            return False
        entry = self._entries[request]
        del entry.active[unit]
        self._count_half(entry, unit)
        if entry.active or entry.waiting:
            return False
        del self._entries[request]
        return True

    def cancel(self, request: ScheduledRequest) -> bool:
        """Remove a request: its waiting units are dropped, its active ones are left to `take_cancelled`. False if it had
        ended before."""
        entry = self._entries.pop(request, None)
        if entry is None:
            return False
        self._line.remove(request)
        for unit in entry.active:
            del self._owners[unit]
        self._cancelled |= entry.active
        return True

    def expire(self, now: float) -> list[ScheduledRequest]:
        """Cancel and return the requests whose deadline has passed."""
        deadlines = [(request, request.policy.deadline) for request in self._entries]
        late = [request for request, deadline in deadlines if deadline is not None and deadline.at <= now]
        for request in late:
            self.cancel(request)
        return late

    def take_cancelled(self, worker_index: int) -> list[Unit]:
        """Cancelled units that still hold a slot of this worker's session, which the caller has to free."""
        units = [unit for unit, holder in self._cancelled.items() if holder == worker_index]
        for unit in units:
            del self._cancelled[unit]
        return units

    def record_work(self, seconds: float) -> None:
        """Measure the throughput: one worker worked for `seconds` on the audio done since the last call.

        Workers run in parallel, so each one's time counts for its share. A round with free slots and an empty line is
        left out, because the model could have done more in it.
        """
        if self._saturated:
            self._throughput.add(self._done_s, seconds / self._workers)
        self._done_s = 0.0

    def _highest_short_priority(self, worker_index: int) -> int:
        """The highest priority (0) of the short requests that are active on a worker; `len(PRIORITIES)` without any."""
        owners = (self._owners[unit] for unit in self.active(worker_index))
        return min(
            map(_priority, (owner for owner in owners if owner.seconds <= SHORT_REQUEST_S)), default=len(PRIORITIES)
        )

    def _count_half(self, entry: _Entry, unit: Unit) -> None:
        entry.unfinished_s = max(0.0, entry.unfinished_s - unit.seconds / 2)
        self._done_s += unit.seconds / 2

    def _check_load(self, newcomers: int = 0) -> None:
        limits = self._limits
        if (waiting := self.waiting) >= limits.units:
            why = f"{waiting} windows or sentences are waiting, and max_waiting_units allows {limits.units}"
            raise self._overloaded("units", why, newcomers=newcomers)
        if (seconds := self.seconds) >= limits.seconds:
            why = f"{seconds:.0f} s of audio are not done, and max_queued_seconds allows {limits.seconds:g}"
            raise self._overloaded("seconds", why, newcomers=newcomers)

    def _check_deadline(self, request: ScheduledRequest, now: float) -> None:
        deadline = request.policy.deadline
        if deadline is None:
            return
        if deadline.at <= now:
            raise DeadlineMissed(deadline.seconds, param=deadline.param)
        ahead = self._seconds_ahead(request)
        needed = self._throughput.time_for(DEADLINE_SAFETY_FACTOR * (request.seconds + ahead))
        # With nothing ahead it is admitted: else one slow measurement would keep out all requests that could correct it.
        if ahead and needed is not None and needed > deadline.at - now:
            why = f"the answer would take about {needed:.1f} s, and {deadline.source} allows {deadline.seconds:g}"
            raise self._overloaded("deadline", why, deadline.param, newcomers=1)

    def _seconds_ahead(self, request: ScheduledRequest) -> float:
        """Seconds of other requests' audio that are done before this request is.

        Processor sharing: all higher-priority work, no lower-priority work, and of each request of the same priority at
        most this one's own length, or the window whose turn it is. Active units count whole, though half of each is done:
        others will join before this request and next to it, and in a batch that stays full a unit holds its slot for as
        long as the audio of all slots takes (Little's law).
        """
        ahead = 0.0
        for other, entry in self._entries.items():
            if _priority(other) < _priority(request):
                ahead += entry.unfinished_s
            elif _priority(other) == _priority(request):
                turn = entry.waiting[0].seconds if entry.waiting else 0.0
                ahead += min(entry.unfinished_s, max(request.seconds, turn))
            ahead += sum(unit.seconds for unit in entry.active) / 2
        return ahead

    def _overloaded(self, reason: Refusal, why: str, param: str | None = None, *, newcomers: int = 0) -> Overloaded:
        """The error of a refused request; permit holders counted in `newcomers` are left out of the estimate.

        Permit holders without a request in the queue are being decoded: each is assumed to be as long as the last
        requests were on average. Those that have their answer and still read it are counted too; they look the same.
        """
        decoding = max(0, self._permits - len(self._entries) - newcomers)
        coming = decoding * fmean(self._recent_s) if self._recent_s else 0.0
        needed = self._throughput.time_for(self.seconds + coming)
        wait = DEFAULT_RETRY_AFTER_S if needed is None else min(max(needed, MIN_RETRY_AFTER_S), MAX_RETRY_AFTER_S)
        message = f"The server is busy: {why}. Try again in {wait:.1f} s."
        return Overloaded(message, retry_after=wait, reason=reason, param=param)


def _may_join(rank: int, *, held_rank: int) -> bool:
    """True for first units, and for later ones of a class before `held_rank`."""
    return rank < held_rank or not rank % 2


def _rank(request: ScheduledRequest, *, started: bool) -> int:
    return 2 * _priority(request) + started


def _priority(request: ScheduledRequest) -> int:
    """0 is the highest."""
    return PRIORITIES.index(request.policy.priority)
