"""The queue alone: admission, turns, deadlines. What happens to it in thousands of ways is in test_schedules.py."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from antiphon.errors import DeadlineMissed, Overloaded
from antiphon.scheduling.policy import DEFAULT_POLICY, Deadline, Priority, SchedulingPolicy
from antiphon.scheduling.queue import PATIENCE, SHORT, Limits, Queue
from antiphon.scheduling.request import Job
from antiphon.types.events import Event, Window
from antiphon.types.options import TranscribeOptions


def make_unit(start: int = 0) -> Window:
    return Window(
        request=0, samples=np.zeros(0, np.float32), start=start, timestamps=False, options=TranscribeOptions()
    )


def make_units(count: int) -> list[Window]:
    return [make_unit(start) for start in range(count)]


def nothing_more(_event: Event) -> Sequence[Window]:
    return ()


def make_job(expected: int = 0, *, seconds: float = 0.0, terms: SchedulingPolicy = DEFAULT_POLICY) -> Job:
    return Job(nothing_more, lambda _error: None, expected=expected, seconds=seconds, terms=terms)


def make_sound(seconds: float) -> Window:
    samples = np.zeros(round(seconds * 16_000), np.float32)
    return Window(request=0, samples=samples, start=0, timestamps=False, options=TranscribeOptions())


def due(at: float, source: str = "x-request-timeout") -> SchedulingPolicy:
    return SchedulingPolicy(deadline=Deadline(at, at, source))


def paced(queue: Queue, *, seconds: float, a_second: float) -> None:
    """Let the queue see so much audio worked off at such a pace, by a crowd."""
    units = [make_sound(seconds / 4) for _ in range(4)]
    queue.admit(make_job(seconds=seconds), units, now=0.0)
    for _ in units:
        (unit,) = queue.take(1)
        queue.finish(unit)
        queue.spent(seconds / 4 / a_second)


def test_units_are_taken_in_their_own_order_and_jobs_in_turn() -> None:
    queue = Queue()
    first, second = make_units(3), make_units(3)
    queue.admit(make_job(), first, now=0.0)
    queue.admit(make_job(), second, now=0.0)

    assert queue.take(6) == [first[0], second[0], first[1], second[1], first[2], second[2]]
    assert queue.take(1) == []


def test_a_first_unit_overtakes_later_units() -> None:
    queue = Queue()
    long_file, short = make_units(4), make_units(1)
    queue.admit(make_job(), long_file, now=0.0)
    assert queue.take(2) == long_file[:2]

    queue.admit(make_job(), short, now=0.0)
    assert queue.take(2) == [short[0], long_file[2]]


def test_first_units_overtake_only_so_often() -> None:
    queue = Queue(max_overtakes=2)
    long_file = make_units(3)
    queue.admit(make_job(), long_file, now=0.0)
    queue.take(1)
    firsts = make_units(5)
    for unit in firsts:
        queue.admit(make_job(), [unit], now=0.0)

    assert queue.take(7) == [*firsts[:2], long_file[1], *firsts[2:4], long_file[2], firsts[4]]


def test_a_full_queue_refuses_and_says_when_to_come_back() -> None:
    queue = Queue(Limits(units=2))
    queue.admit(make_job(), make_units(5), now=0.0)  # one job may be longer than the bound

    with pytest.raises(
        Overloaded, match="5 windows or sentences are waiting, and --max_waiting_units allows 2"
    ) as refused:
        queue.admit(make_job(), make_units(1), now=0.0)
    assert refused.value.reason == "units"

    queue.take(4)
    queue.admit(make_job(), make_units(1), now=0.0)


def test_requests_that_are_not_done_are_bounded() -> None:
    queue = Queue(Limits(requests=2))
    queue.enter()
    queue.enter()
    with pytest.raises(
        Overloaded, match=r"2 requests are not done, and --max_queued_requests allows 2\. Try again in 1\.0 s\."
    ) as refused:
        queue.enter()
    assert refused.value.reason == "requests"
    assert queue.full
    queue.admit(make_job(), make_units(1), now=0.0)  # that of somebody inside
    queue.leave()
    queue.enter()


def test_audio_that_is_not_done_is_bounded_whatever_length_a_newcomer_has() -> None:
    queue = Queue(Limits(seconds=60.0))
    long_file = [make_sound(30.0) for _ in range(4)]
    queue.admit(make_job(seconds=120.0), long_file, now=0.0)
    with pytest.raises(Overloaded, match="120 s of audio are not done, and --max_queued_seconds allows 60") as refused:
        queue.admit(make_job(seconds=1.0), [make_sound(1.0)], now=0.0)
    assert refused.value.reason == "seconds"

    for unit in queue.take(3):
        queue.finish(unit)
    assert queue.seconds == 30.0
    queue.admit(make_job(seconds=900.0), [make_sound(30.0)], now=0.0)
    assert queue.seconds == 930.0


def test_a_unit_is_half_done_once_it_is_taken() -> None:
    queue = Queue()
    job = make_job(seconds=10.0)
    unit = make_sound(10.0)
    queue.admit(job, [unit], now=0.0)
    queue.take(1)
    assert queue.seconds == 5.0
    queue.add(job, [make_sound(4.0)])  # a tail that is heard again was reckoned with once
    queue.finish(unit)
    assert queue.seconds == 0.0
    queue.take(1)
    assert queue.seconds == 0.0


def test_who_is_refused_is_told_when_the_queue_will_be_done() -> None:
    queue = Queue(Limits(units=1))

    def told(seconds: float) -> float:
        job = make_job(seconds=seconds)
        queue.admit(job, [make_sound(1.0)], now=0.0)
        with pytest.raises(Overloaded) as refused:
            queue.check_room()
        queue.cancel(job)
        return refused.value.retry_after

    assert told(100.0) == 1.0  # nothing is known yet
    paced(queue, seconds=200.0, a_second=50.0)
    assert told(400.0) == pytest.approx(8.0)
    assert told(1.0) == 0.5
    assert told(14_400.0) == 60.0


def test_those_whose_files_are_being_read_count_as_long_as_the_others_were() -> None:
    queue = Queue(Limits(requests=4))
    paced(queue, seconds=60.0, a_second=10.0)
    queue.admit(make_job(seconds=20.0), [make_sound(20.0)], now=0.0)  # 60 s and 20 s are 40 on average
    for _ in range(4):
        queue.enter()

    def told() -> float:
        with pytest.raises(Overloaded) as refused:
            queue.check_room()
        return refused.value.retry_after

    assert told() == pytest.approx((20 + 3 * 40) / 10)
    queue.admit(make_job(seconds=10.0), [make_sound(10.0)], now=0.0)  # one of them is known now, and 30 is the average
    assert told() == pytest.approx((20 + 10 + 2 * 30) / 10)
    with pytest.raises(Overloaded) as refused:  # who is let in no further is not ahead of himself
        queue.admit(make_job(seconds=500.0, terms=due(1.0)), [make_sound(30.0)], now=0.0)
    assert refused.value.retry_after == pytest.approx((20 + 10 + 30) / 10)


def test_the_pace_is_that_of_a_crowd() -> None:
    """A unit alone in the batch takes as long, and says nothing about how many could have been beside it."""
    queue = Queue()
    paced(queue, seconds=200.0, a_second=50.0)
    unit = make_sound(1.0)
    queue.admit(make_job(seconds=1.0), [unit], now=0.0)
    queue.take(1)
    queue.spent(5.0)
    queue.finish(unit)
    queue.spent(5.0)
    queue.admit(make_job(seconds=0.1), [make_sound(0.1)], now=0.0)
    with pytest.raises(Overloaded, match=r"about 2\.4 s"):
        queue.admit(make_job(seconds=100.0, terms=due(2.3)), make_units(1), now=0.0)


def test_the_pace_of_a_full_batch_counts_though_nobody_waits() -> None:
    queue = Queue()
    units = [make_sound(10.0) for _ in range(2)]
    queue.admit(make_job(seconds=20.0), units, now=0.0)
    assert queue.take(4, room=2) == units
    for unit in units:
        queue.finish(unit)
    queue.spent(2.0)
    queue.admit(make_job(seconds=0.1), [make_sound(0.1)], now=0.0)
    with pytest.raises(Overloaded, match=r"about 12\.0 s"):
        queue.admit(make_job(seconds=100.0, terms=due(11.9)), make_units(1), now=0.0)


def test_who_finds_nobody_ahead_may_try() -> None:
    """A model that was slow once would else refuse for ever, and never learn that it is not slow any more."""
    queue = Queue()
    paced(queue, seconds=1.0, a_second=0.1)
    queue.admit(make_job(seconds=1.0, terms=due(0.5)), [make_sound(1.0)], now=0.0)


def test_a_deadline_that_cannot_be_met_is_refused_at_once() -> None:
    queue = Queue()
    paced(queue, seconds=200.0, a_second=10.0)
    others = [make_job(seconds=20.0), make_job(seconds=500.0)]
    for other in others:
        queue.admit(other, [make_sound(20.0)], now=100.0)

    def admit(seconds: float, at: float, priority: Priority = "normal") -> None:
        terms = SchedulingPolicy(priority, Deadline(at, 7.0, "x-request-timeout"))
        job = make_job(seconds=seconds, terms=terms)
        queue.admit(job, [make_sound(seconds)], now=100.0)
        queue.cancel(job)

    # 30 s of its own, and of the two others what is done beside it: 20 s and 30 s, ten a second; and a fifth for caution.
    with pytest.raises(Overloaded, match=r"about 9\.6 s, and x-request-timeout allows 7") as refused:
        admit(30.0, at=109.5)
    assert (refused.value.reason, refused.value.param) == ("deadline", "x-request-timeout")
    admit(30.0, at=109.7)
    admit(30.0, at=103.7, priority="high")  # nobody is beside it
    with pytest.raises(Overloaded, match=r"about 66\.0 s"):  # all of theirs comes first
        admit(30.0, at=165.0, priority="low")
    with pytest.raises(DeadlineMissed):
        admit(30.0, at=100.0)
    assert queue.jobs == tuple(others)


def test_a_full_batch_is_reckoned_whole_for_a_deadline() -> None:
    """By the time a newcomer is in it others will be beside it, and each step is theirs too."""
    queue = Queue()
    paced(queue, seconds=200.0, a_second=10.0)
    for _ in range(16):
        queue.admit(make_job(seconds=10.0), [make_sound(10.0)], now=0.0)
    queue.take(16)
    assert queue.seconds == 80.0
    with pytest.raises(Overloaded, match=r"about 20\.4 s"):
        queue.admit(make_job(seconds=10.0, terms=due(20.3)), [make_sound(10.0)], now=0.0)
    queue.admit(make_job(seconds=10.0, terms=due(20.5)), [make_sound(10.0)], now=0.0)


def test_a_short_one_waits_for_the_windows_in_line_before_it() -> None:
    queue = Queue()
    paced(queue, seconds=200.0, a_second=10.0)
    for _ in range(4):
        queue.admit(make_job(seconds=300.0), [make_sound(30.0) for _ in range(10)], now=0.0)
    with pytest.raises(Overloaded, match=r"about 14\.5 s"):
        queue.admit(make_job(seconds=1.0, terms=due(14.4)), [make_sound(1.0)], now=0.0)


def test_while_nothing_is_known_of_the_pace_a_deadline_is_taken_on_trust() -> None:
    queue = Queue()
    queue.admit(make_job(seconds=10_000.0, terms=due(1.0)), make_units(1), now=0.0)


def test_what_is_late_is_dropped_and_its_slots_given_back() -> None:
    queue = Queue()
    late, patient, later = make_job(terms=due(5.0)), make_job(), make_job(terms=due(6.0))
    flying, waiting = make_units(2)
    queue.admit(late, [flying, waiting], now=0.0)
    queue.take(1)
    queue.admit(patient, make_units(1), now=0.0)
    queue.admit(later, make_units(1), now=0.0)

    assert queue.expire(4.9) == []
    assert queue.expire(5.0) == [late]
    assert queue.expire(5.0) == []
    assert queue.take_cancelled(0) == [flying]
    assert queue.jobs == (patient, later)
    assert waiting not in queue.take(5)


def test_the_urgent_overtake_and_the_rest_are_not_forgotten() -> None:
    queue = Queue(max_overtakes=4)
    kinds: dict[Priority, list[Window]] = {"low": make_units(3), "normal": make_units(3), "high": make_units(9)}
    for priority, units in kinds.items():
        queue.admit(make_job(terms=SchedulingPolicy(priority)), units, now=0.0)
    names = {unit: priority[0] for priority, units in kinds.items() for unit in units}

    order = "".join(names[unit] for unit in queue.take(15))
    assert order == "hhhhnlhhhnlhhnl"


def test_units_a_job_has_yet_to_hand_in_count_as_waiting() -> None:
    queue = Queue(Limits(units=3))
    job = make_job(expected=4)
    (first,) = make_units(1)
    queue.admit(job, [first], now=0.0)
    queue.take(1)
    assert queue.waiting == 3
    with pytest.raises(Overloaded):
        queue.admit(make_job(), make_units(1), now=0.0)

    queue.add(job, make_units(3))
    assert queue.waiting == 3


def test_continuations_go_to_the_front_of_their_own_line_only() -> None:
    queue = Queue()
    mine, other = make_units(3), make_units(2)
    job = make_job()
    queue.admit(job, mine, now=0.0)
    queue.admit(make_job(), other, now=0.0)
    queue.take(2)
    continuation = make_unit()
    queue.add(job, [continuation])

    assert queue.take(5) == [continuation, other[1], mine[1], mine[2]]


def test_a_job_ends_with_its_last_unit() -> None:
    queue = Queue()
    job = make_job()
    units = make_units(2)
    queue.admit(job, units, now=0.0)
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
    queue.admit(job, units, now=0.0)
    queue.take(1)

    assert queue.cancel(job)
    assert not queue.cancel(job)
    assert queue.in_flight == 1  # its slot is not free before the session has left it
    assert queue.owner(units[0]) is None
    assert queue.take(5) == []
    assert queue.take_cancelled(0) == [units[0]]
    assert queue.idle
    queue.add(job, make_units(1))
    assert queue.idle


def test_an_empty_job_and_a_second_admission_are_bugs() -> None:
    queue = Queue()
    job = make_job()
    with pytest.raises(ValueError, match="at least one"):
        queue.admit(job, [], now=0.0)
    queue.admit(job, make_units(1), now=0.0)
    with pytest.raises(ValueError, match="before"):
        queue.admit(job, make_units(1), now=0.0)


def beside(seconds: float, *, theirs: Priority = "normal", mine: Priority = "normal") -> tuple[Queue, Window]:
    """A queue with a long job, one unit of which was taken, and a job of `seconds` in flight; and its unit."""
    queue, clip = Queue(), make_unit()
    queue.admit(make_job(seconds=3_600.0, terms=SchedulingPolicy(theirs)), make_units(3 * PATIENCE), now=0.0)
    queue.take(1)
    queue.admit(make_job(seconds=seconds, terms=SchedulingPolicy(mine)), [clip], now=0.0)
    while clip not in queue.flying(0):
        queue.take(1)
    return queue, clip


def test_a_short_request_is_not_held_up_by_the_later_units_of_others() -> None:
    queue, clip = beside(3.0)
    assert queue.take(4, gentle=True) == []
    queue.finish(clip)
    assert len(queue.take(4, gentle=True)) == 4


def test_where_joining_is_cheap_nobody_is_held_back() -> None:
    queue, _ = beside(3.0)
    assert len(queue.take(4)) == 4


def test_longer_requests_hold_nobody_back() -> None:
    queue, _ = beside(SHORT + 1.0)
    assert len(queue.take(4, gentle=True)) == 4


def test_newcomers_join_whoever_is_in_flight() -> None:
    queue, _ = beside(3.0)
    newcomers = [make_unit(), make_unit()]
    queue.admit(make_job(seconds=3_600.0), newcomers, now=0.0)
    assert queue.take(4, gentle=True) == newcomers[:1]


def test_patience_with_short_requests_ends() -> None:
    queue, _ = beside(3.0)
    taken = [len(queue.take(1, gentle=True)) for _ in range(2 * (PATIENCE + 1))]
    assert taken == ([0] * PATIENCE + [1]) * 2


@pytest.mark.parametrize(("theirs", "mine", "held"), [("high", "normal", 0), ("normal", "high", 1), ("low", "low", 1)])
def test_the_urgent_are_not_held_back_by_the_less_urgent(theirs: Priority, mine: Priority, held: int) -> None:
    queue, _ = beside(3.0, theirs=theirs, mine=mine)
    assert len(queue.take(1, gentle=True)) == 1 - held


def test_who_was_overtaken_often_enough_joins_beside_short_requests() -> None:
    queue, _ = beside(3.0)
    for start in range(8):
        queue.admit(make_job(seconds=3.0), [make_unit(start)], now=0.0)
    taken = [owner.seconds for unit in queue.take(8, gentle=True) if (owner := queue.owner(unit)) is not None]
    assert taken.count(3_600.0) == 1
