"""The queue alone: admission, turns, and every unit ending exactly once whatever happens in between."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.errors import Overloaded
from antiphon.scheduler.job import Job
from antiphon.scheduler.queue import Queue
from antiphon.types import Event, TranscribeOptions, Window

STEADY = settings(derandomize=True, deadline=None, max_examples=200)


def make_unit(start: int = 0) -> Window:
    return Window(
        request=0, samples=np.zeros(0, np.float32), start=start, timestamps=False, options=TranscribeOptions()
    )


def make_units(count: int) -> list[Window]:
    return [make_unit(start) for start in range(count)]


def nothing_more(_event: Event) -> Sequence[Window]:
    return ()


def make_job(expected: int = 0) -> Job:
    return Job(on_event=nothing_more, on_end=lambda _error: None, expected=expected)


def test_units_are_taken_in_their_own_order_and_jobs_in_turn() -> None:
    queue = Queue()
    first, second = make_units(3), make_units(3)
    queue.admit(make_job(), first)
    queue.admit(make_job(), second)

    assert queue.take(6) == [first[0], second[0], first[1], second[1], first[2], second[2]]
    assert queue.take(1) == []


def test_a_first_unit_overtakes_later_units() -> None:
    queue = Queue()
    long_file, short = make_units(4), make_units(1)
    queue.admit(make_job(), long_file)
    assert queue.take(2) == long_file[:2]

    queue.admit(make_job(), short)
    assert queue.take(2) == [short[0], long_file[2]]


def test_first_units_overtake_only_so_often() -> None:
    queue = Queue(max_overtakes=2)
    long_file = make_units(3)
    queue.admit(make_job(), long_file)
    queue.take(1)
    firsts = make_units(5)
    for unit in firsts:
        queue.admit(make_job(), [unit])

    assert queue.take(7) == [*firsts[:2], long_file[1], *firsts[2:4], long_file[2], firsts[4]]


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    queue = Queue(max_waiting=2, retry_after=3.0)
    queue.admit(make_job(), make_units(5))  # one job may be longer than the bound

    with pytest.raises(Overloaded, match="5 units") as refused:
        queue.admit(make_job(), make_units(1))
    assert refused.value.retry_after == 3.0

    queue.take(4)
    queue.admit(make_job(), make_units(1))


def test_units_a_job_has_yet_to_hand_in_count_as_waiting() -> None:
    queue = Queue(max_waiting=3)
    job = make_job(expected=4)
    (first,) = make_units(1)
    queue.admit(job, [first])
    queue.take(1)
    assert queue.waiting == 3
    with pytest.raises(Overloaded):
        queue.admit(make_job(), make_units(1))

    queue.add(job, make_units(3))
    assert queue.waiting == 3


def test_continuations_go_to_the_front_of_their_own_line_only() -> None:
    queue = Queue()
    mine, other = make_units(3), make_units(2)
    job = make_job()
    queue.admit(job, mine)
    queue.admit(make_job(), other)
    queue.take(2)
    continuation = make_unit()
    queue.add(job, [continuation])

    assert queue.take(5) == [continuation, other[1], mine[1], mine[2]]


def test_a_job_ends_with_its_last_unit() -> None:
    queue = Queue()
    job = make_job()
    units = make_units(2)
    queue.admit(job, units)
    queue.take(2)

    assert queue.finish(units[0]) is None
    assert queue.finish(units[1]) is job
    assert queue.finish(units[1]) is None
    assert queue.idle
    assert queue.jobs == ()


def test_cancelling_drops_what_waits_and_hands_out_what_flies() -> None:
    queue = Queue()
    job = make_job()
    units = make_units(3)
    queue.admit(job, units)
    queue.take(1)

    assert queue.cancel(job)
    assert not queue.cancel(job)
    assert queue.in_flight == 1  # its slot is not free before the session has left it
    assert queue.owner(units[0]) is None
    assert queue.take(5) == []
    assert queue.take_cancelled() == [units[0]]
    assert queue.idle
    queue.add(job, make_units(1))
    assert queue.idle


def test_an_empty_job_and_a_second_admission_are_bugs() -> None:
    queue = Queue()
    job = make_job()
    with pytest.raises(ValueError, match="at least one"):
        queue.admit(job, [])
    queue.admit(job, make_units(1))
    with pytest.raises(ValueError, match="before"):
        queue.admit(job, make_units(1))


class Ledger:
    """Plays a schedule against a queue and books how each unit ended."""

    def __init__(self) -> None:
        self.queue = Queue(max_waiting=12, max_overtakes=2)
        self.ends: Counter[Window] = Counter()
        self.accepted: list[Window] = []
        self.waiting: dict[Job, deque[Window]] = {}
        self.flying: dict[Window, Job] = {}

    def admit(self, count: int) -> None:
        job, units = make_job(), make_units(count)
        try:
            self.queue.admit(job, units)
        except Overloaded:
            return
        self.accepted += units
        self.waiting[job] = deque(units)

    def add(self, pick: int) -> None:
        jobs = self.queue.jobs
        if not jobs:
            return
        job, unit = jobs[pick % len(jobs)], make_unit()
        self.queue.add(job, [unit])
        self.accepted.append(unit)
        self.waiting[job].appendleft(unit)

    def take(self, count: int) -> None:
        taken = self.queue.take(count)
        assert len(taken) == min(count, sum(map(len, self.waiting.values())))
        for unit in taken:
            (job,) = [job for job, line in self.waiting.items() if line and line[0] is unit]
            self.waiting[job].popleft()
            self.flying[unit] = job

    def finish(self, pick: int) -> None:
        if not self.flying:
            return
        unit = list(self.flying)[pick % len(self.flying)]
        job = self.flying.pop(unit)
        self.ends[unit] += 1
        ended = self.queue.finish(unit)
        assert (ended is job) == (not self.waiting[job] and job not in self.flying.values())
        if ended is not None:
            del self.waiting[job]

    def cancel(self, pick: int) -> None:
        jobs = self.queue.jobs
        if not jobs:
            return
        job = jobs[pick % len(jobs)]
        assert self.queue.cancel(job)
        for unit in self.waiting.pop(job):
            self.ends[unit] += 1
        expected = {unit for unit, owner in self.flying.items() if owner is job}
        for unit in self.queue.take_cancelled():
            expected.remove(unit)
            del self.flying[unit]
            self.ends[unit] += 1
        assert not expected


MOVES = st.one_of(
    st.tuples(st.just("admit"), st.integers(1, 5)),
    st.tuples(st.just("add"), st.integers(0, 9)),
    st.tuples(st.just("take"), st.integers(0, 4)),
    st.tuples(st.just("finish"), st.integers(0, 9)),
    st.tuples(st.just("cancel"), st.integers(0, 9)),
)


@STEADY
@given(st.lists(MOVES, max_size=60))
def test_every_unit_ends_exactly_once(moves: list[tuple[str, int]]) -> None:
    ledger = Ledger()
    for move, number in moves:
        match move:
            case "admit":
                ledger.admit(number)
            case "add":
                ledger.add(number)
            case "take":
                ledger.take(number)
            case "finish":
                ledger.finish(number)
            case _:
                ledger.cancel(number)
        assert ledger.queue.in_flight == len(ledger.flying)
        assert ledger.queue.waiting == sum(map(len, ledger.waiting.values()))
    while not ledger.queue.idle:
        ledger.take(4)
        ledger.finish(0)

    assert ledger.ends == Counter(ledger.accepted)
    assert set(ledger.ends.values()) <= {1}
    assert ledger.queue.jobs == ()


@STEADY
@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.integers(1, 4), st.lists(st.booleans(), max_size=80))
def test_no_job_waits_longer_than_its_round(sizes: list[int], overtakes: int, newcomers: list[bool]) -> None:
    """However many short jobs arrive, a started job with n started jobs beside it is served within its bound."""
    queue = Queue(max_waiting=10_000, max_overtakes=overtakes)
    owners: dict[Window, int] = {}
    for number, size in enumerate(sizes):
        units = make_units(size)
        owners.update(dict.fromkeys(units, number))
        queue.admit(make_job(), units)
    left = dict(enumerate(sizes))
    while any(left[number] == size for number, size in enumerate(sizes)):
        left[owners[queue.take(1)[0]]] -= 1
    since = dict.fromkeys(left, 0)
    arrivals = iter(newcomers)
    while any(left.values()):
        if next(arrivals, False):
            for _ in range(3):
                queue.admit(make_job(), make_units(1))
        (unit,) = queue.take(1)
        for number in since:
            since[number] += 1
        served = owners.get(unit)
        if served is not None:
            left[served] -= 1
            since[served] = 0
        assert all(since[number] <= len(sizes) * (overtakes + 1) for number, rest in left.items() if rest)
