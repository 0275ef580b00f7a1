"""The queue alone: order, cancellation, priorities and units held back. test_schedules.py puts it through random schedules."""

from __future__ import annotations

import pytest

from antiphon.scheduling.policy import Priority, SchedulingPolicy
from antiphon.scheduling.queue import MAX_HELD_ROUNDS, SHORT_REQUEST_S, Queue
from antiphon.types.events import Window
from tests.support.queue_units import make_request, make_unit, make_units


def test_units_are_taken_in_order_and_requests_in_turn() -> None:
    queue = Queue()
    first, second = make_units(3), make_units(3)
    queue.admit(make_request(), first, now=0.0)
    queue.admit(make_request(), second, now=0.0)

    assert queue.take(6) == [first[0], second[0], first[1], second[1], first[2], second[2]]
    assert queue.take(1) == []


def test_first_unit_overtakes_later_units() -> None:
    queue = Queue()
    long_file, short = make_units(4), make_units(1)
    queue.admit(make_request(), long_file, now=0.0)
    assert queue.take(2) == long_file[:2]

    queue.admit(make_request(), short, now=0.0)
    assert queue.take(2) == [short[0], long_file[2]]


def test_first_units_overtake_at_most_max_overtakes_times() -> None:
    queue = Queue(max_overtakes=2)
    long_file = make_units(3)
    queue.admit(make_request(), long_file, now=0.0)
    queue.take(1)
    firsts = make_units(5)
    for unit in firsts:
        queue.admit(make_request(), [unit], now=0.0)

    assert queue.take(7) == [*firsts[:2], long_file[1], *firsts[2:4], long_file[2], firsts[4]]


def test_higher_priority_overtakes_without_starving_the_rest() -> None:
    queue = Queue(max_overtakes=4)
    kinds: dict[Priority, list[Window]] = {"low": make_units(3), "normal": make_units(3), "high": make_units(9)}
    for priority, units in kinds.items():
        queue.admit(make_request(policy=SchedulingPolicy(priority)), units, now=0.0)
    names = {unit: priority[0] for priority, units in kinds.items() for unit in units}

    order = "".join(names[unit] for unit in queue.take(15))
    assert order == "hhhhnlhhhnlhhnl"


def test_continuations_go_to_the_front_of_their_own_line_only() -> None:
    queue = Queue()
    mine, other = make_units(3), make_units(2)
    request = make_request()
    queue.admit(request, mine, now=0.0)
    queue.admit(make_request(), other, now=0.0)
    queue.take(2)
    continuation = make_unit()
    queue.add(request, [continuation])

    assert queue.take(5) == [continuation, other[1], mine[1], mine[2]]


def test_request_ends_with_its_last_unit() -> None:
    queue = Queue()
    request = make_request()
    units = make_units(2)
    queue.admit(request, units, now=0.0)
    queue.take(2)

    assert queue.finish(units[0]) is False
    assert queue.requests == (request,)
    assert queue.finish(units[1]) is True
    assert queue.finish(units[1]) is False
    assert queue.idle
    assert queue.requests == ()


def test_cancel_drops_waiting_units_and_returns_active_ones() -> None:
    queue = Queue()
    request = make_request()
    units = make_units(3)
    queue.admit(request, units, now=0.0)
    queue.take(1)

    assert queue.cancel(request)
    assert not queue.cancel(request)
    assert queue.in_flight == 1  # its slot is not free until the session has removed it
    assert queue.owner(units[0]) is None
    assert queue.take(5) == []
    assert queue.take_cancelled(0) == [units[0]]
    assert queue.idle
    queue.add(request, make_units(1))
    assert queue.idle


def test_empty_request_and_second_admission_raise_value_error() -> None:
    queue = Queue()
    request = make_request()
    with pytest.raises(ValueError, match="at least one"):
        queue.admit(request, [], now=0.0)
    queue.admit(request, make_units(1), now=0.0)
    with pytest.raises(ValueError, match="before"):
        queue.admit(request, make_units(1), now=0.0)


def with_clip(seconds: float, *, theirs: Priority = "normal", mine: Priority = "normal") -> tuple[Queue, Window]:
    """A queue with a long request, one unit of which was taken, and an active request of `seconds`; and its unit."""
    queue, clip = Queue(), make_unit()
    queue.admit(
        make_request(seconds=3_600.0, policy=SchedulingPolicy(theirs)), make_units(3 * MAX_HELD_ROUNDS), now=0.0
    )
    queue.take(1)
    queue.admit(make_request(seconds=seconds, policy=SchedulingPolicy(mine)), [clip], now=0.0)
    while clip not in queue.active(0):
        queue.take(1)
    return queue, clip


def test_later_units_are_held_back_while_a_short_request_is_active() -> None:
    queue, clip = with_clip(3.0)
    assert queue.take(4, hold_back=True) == []
    queue.finish(clip)
    assert len(queue.take(4, hold_back=True)) == 4


def test_later_units_are_not_held_back_if_joins_are_cheap() -> None:
    queue, _ = with_clip(3.0)
    assert len(queue.take(4)) == 4


def test_longer_requests_hold_no_unit_back() -> None:
    queue, _ = with_clip(SHORT_REQUEST_S + 1.0)
    assert len(queue.take(4, hold_back=True)) == 4


def test_first_units_are_not_held_back() -> None:
    queue, _ = with_clip(3.0)
    units = [make_unit(), make_unit()]
    queue.admit(make_request(seconds=3_600.0), units, now=0.0)
    assert queue.take(4, hold_back=True) == units[:1]


def test_later_units_are_held_back_for_a_bounded_number_of_turns() -> None:
    queue, _ = with_clip(3.0)
    taken = [len(queue.take(1, hold_back=True)) for _ in range(2 * (MAX_HELD_ROUNDS + 1))]
    assert taken == ([0] * MAX_HELD_ROUNDS + [1]) * 2


@pytest.mark.parametrize(("theirs", "mine", "held"), [("high", "normal", 0), ("normal", "high", 1), ("low", "low", 1)])
def test_higher_priority_is_not_held_back_by_lower(theirs: Priority, mine: Priority, held: int) -> None:
    queue, _ = with_clip(3.0, theirs=theirs, mine=mine)
    assert len(queue.take(1, hold_back=True)) == 1 - held


def test_class_that_is_due_joins_next_to_short_requests() -> None:
    queue, _ = with_clip(3.0)
    for start in range(8):
        queue.admit(make_request(seconds=3.0), [make_unit(start)], now=0.0)
    taken = [owner.seconds for unit in queue.take(8, hold_back=True) if (owner := queue.owner(unit)) is not None]
    assert taken.count(3_600.0) == 1


def test_each_replica_holds_later_units_back_for_its_own_number_of_rounds() -> None:
    """Rounds of a replica without a short request must not start the count of another anew."""
    queue = Queue(workers=2)
    queue.admit(make_request(seconds=SHORT_REQUEST_S), make_units(1), now=0.0)
    queue.admit(make_request(seconds=3_600.0), make_units(3 * MAX_HELD_ROUNDS), now=0.0)
    assert len(queue.take(1, worker_index=1)) == 1  # the short request is active on the second worker
    assert len(queue.take(1, worker_index=1)) == 1  # the long one has begun
    taken = []
    for _ in range(MAX_HELD_ROUNDS + 1):
        taken.append(len(queue.take(1, worker_index=1, hold_back=True)))
        queue.take(0, worker_index=0, hold_back=True)
    assert taken == [0] * MAX_HELD_ROUNDS + [1]
