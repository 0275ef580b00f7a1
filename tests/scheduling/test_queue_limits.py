"""The queue's limits: overload by units, requests and seconds, Retry-After, throughput and deadlines."""

from __future__ import annotations

import pytest

from antiphon.errors import DeadlineMissed, Overloaded
from antiphon.scheduling.policy import Deadline, Priority, SchedulingPolicy
from antiphon.scheduling.queue import Limits, Queue
from tests.support.queue_units import due, make_request, make_sound, make_units, measure


def test_too_many_waiting_units_are_overload() -> None:
    queue = Queue(Limits(units=2))
    queue.admit(make_request(), make_units(5), now=0.0)  # one request may be longer than the limit

    with pytest.raises(
        Overloaded, match="5 windows or sentences are waiting, and max_waiting_units allows 2"
    ) as refused:
        queue.admit(make_request(), make_units(1), now=0.0)
    assert refused.value.reason == "units"

    queue.take(4)
    queue.admit(make_request(), make_units(1), now=0.0)


def test_too_many_requests_are_overload_with_retry_after() -> None:
    queue = Queue(Limits(requests=2))
    queue.acquire_permit()
    queue.acquire_permit()
    with pytest.raises(
        Overloaded, match=r"2 requests are not done, and max_queued_requests allows 2\. Try again in 1\.0 s\."
    ) as refused:
        queue.acquire_permit()
    assert refused.value.reason == "requests"
    assert queue.full
    queue.admit(make_request(), make_units(1), now=0.0)  # that of a permit holder
    queue.release_permit()
    queue.acquire_permit()


def test_too_many_seconds_of_audio_are_overload_for_a_request_of_any_length() -> None:
    queue = Queue(Limits(seconds=60.0))
    long_file = [make_sound(30.0) for _ in range(4)]
    queue.admit(make_request(seconds=120.0), long_file, now=0.0)
    with pytest.raises(Overloaded, match="120 s of audio are not done, and max_queued_seconds allows 60") as refused:
        queue.admit(make_request(seconds=1.0), [make_sound(1.0)], now=0.0)
    assert refused.value.reason == "seconds"

    for unit in queue.take(3):
        queue.finish(unit)
    assert queue.seconds == 30.0
    queue.admit(make_request(seconds=900.0), [make_sound(30.0)], now=0.0)
    assert queue.seconds == 930.0


def test_half_of_a_unit_is_done_once_it_is_taken() -> None:
    queue = Queue()
    request = make_request(seconds=10.0)
    unit = make_sound(10.0)
    queue.admit(request, [unit], now=0.0)
    queue.take(1)
    assert queue.seconds == 5.0
    queue.add(request, [make_sound(4.0)])  # a tail that is decoded again was counted once
    queue.finish(unit)
    assert queue.seconds == 0.0
    queue.take(1)
    assert queue.seconds == 0.0


def test_retry_after_is_the_time_to_finish_the_queue() -> None:
    queue = Queue(Limits(units=1))

    def retry_after(seconds: float) -> float:
        request = make_request(seconds=seconds)
        queue.admit(request, [make_sound(1.0)], now=0.0)
        with pytest.raises(Overloaded) as refused:
            queue.check_room()
        queue.cancel(request)
        return refused.value.retry_after

    assert retry_after(100.0) == 1.0  # throughput unknown
    measure(queue, seconds=200.0, throughput=50.0)
    assert retry_after(400.0) == pytest.approx(8.0)
    assert retry_after(1.0) == 0.5
    assert retry_after(14_400.0) == 60.0


def test_retry_after_counts_files_being_decoded_at_the_mean_length() -> None:
    queue = Queue(Limits(requests=4))
    measure(queue, seconds=60.0, throughput=10.0)
    queue.admit(make_request(seconds=20.0), [make_sound(20.0)], now=0.0)  # 60 s and 20 s are 40 on average
    for _ in range(4):
        queue.acquire_permit()

    def retry_after() -> float:
        with pytest.raises(Overloaded) as refused:
            queue.check_room()
        return refused.value.retry_after

    assert retry_after() == pytest.approx((20 + 3 * 40) / 10)
    queue.admit(make_request(seconds=10.0), [make_sound(10.0)], now=0.0)  # one of them is known now; the mean is 30
    assert retry_after() == pytest.approx((20 + 10 + 2 * 30) / 10)
    with pytest.raises(Overloaded) as refused:  # a request is not ahead of itself
        queue.admit(make_request(seconds=500.0, policy=due(1.0)), [make_sound(30.0)], now=0.0)
    assert refused.value.retry_after == pytest.approx((20 + 10 + 30) / 10)


def test_throughput_is_measured_under_full_load_only() -> None:
    """A unit alone in the batch takes as long, and does not show how many more could have been in it."""
    queue = Queue()
    measure(queue, seconds=200.0, throughput=50.0)
    unit = make_sound(1.0)
    queue.admit(make_request(seconds=1.0), [unit], now=0.0)
    queue.take(1)
    queue.record_work(5.0)
    queue.finish(unit)
    queue.record_work(5.0)
    queue.admit(make_request(seconds=0.1), [make_sound(0.1)], now=0.0)
    with pytest.raises(Overloaded, match=r"about 2\.4 s"):
        queue.admit(make_request(seconds=100.0, policy=due(2.3)), make_units(1), now=0.0)


def test_throughput_of_a_full_batch_counts_with_nothing_waiting() -> None:
    queue = Queue()
    units = [make_sound(10.0) for _ in range(2)]
    queue.admit(make_request(seconds=20.0), units, now=0.0)
    assert queue.take(4, free_slots=2) == units
    for unit in units:
        queue.finish(unit)
    queue.record_work(2.0)
    queue.admit(make_request(seconds=0.1), [make_sound(0.1)], now=0.0)
    with pytest.raises(Overloaded, match=r"about 12\.0 s"):
        queue.admit(make_request(seconds=100.0, policy=due(11.9)), make_units(1), now=0.0)


def test_deadline_is_not_checked_with_nothing_ahead() -> None:
    """Otherwise one slow measurement would keep out all requests that could correct it."""
    queue = Queue()
    measure(queue, seconds=1.0, throughput=0.1)
    queue.admit(make_request(seconds=1.0, policy=due(0.5)), [make_sound(1.0)], now=0.0)


def test_deadline_that_cannot_be_met_is_overload() -> None:
    queue = Queue()
    measure(queue, seconds=200.0, throughput=10.0)
    others = [make_request(seconds=20.0), make_request(seconds=500.0)]
    for other in others:
        queue.admit(other, [make_sound(20.0)], now=100.0)

    def admit(seconds: float, at: float, priority: Priority = "normal") -> None:
        policy = SchedulingPolicy(priority, Deadline(at, 7.0, "x-request-timeout"))
        request = make_request(seconds=seconds, policy=policy)
        queue.admit(request, [make_sound(seconds)], now=100.0)
        queue.cancel(request)

    # Its own 30 s, and 20 s and 30 s of the two others that are done meanwhile; 10 s per second; a safety factor of 1.2.
    with pytest.raises(Overloaded, match=r"about 9\.6 s, and x-request-timeout allows 7") as refused:
        admit(30.0, at=109.5)
    assert (refused.value.reason, refused.value.param) == ("deadline", "x-request-timeout")
    admit(30.0, at=109.7)
    admit(30.0, at=103.7, priority="high")  # nothing of that priority is ahead
    with pytest.raises(Overloaded, match=r"about 66\.0 s"):  # all of the others comes first
        admit(30.0, at=165.0, priority="low")
    with pytest.raises(DeadlineMissed):
        admit(30.0, at=100.0)
    assert queue.requests == tuple(others)


def test_deadline_estimate_counts_active_units_whole() -> None:
    """By the time the new request is in the batch, others have joined, and each step is theirs too."""
    queue = Queue()
    measure(queue, seconds=200.0, throughput=10.0)
    for _ in range(16):
        queue.admit(make_request(seconds=10.0), [make_sound(10.0)], now=0.0)
    queue.take(16)
    assert queue.seconds == 80.0
    with pytest.raises(Overloaded, match=r"about 20\.4 s"):
        queue.admit(make_request(seconds=10.0, policy=due(20.3)), [make_sound(10.0)], now=0.0)
    queue.admit(make_request(seconds=10.0, policy=due(20.5)), [make_sound(10.0)], now=0.0)


def test_deadline_estimate_of_a_short_request_counts_the_windows_in_line_before_it() -> None:
    queue = Queue()
    measure(queue, seconds=200.0, throughput=10.0)
    for _ in range(4):
        queue.admit(make_request(seconds=300.0), [make_sound(30.0) for _ in range(10)], now=0.0)
    with pytest.raises(Overloaded, match=r"about 14\.5 s"):
        queue.admit(make_request(seconds=1.0, policy=due(14.4)), [make_sound(1.0)], now=0.0)


def test_deadline_is_not_checked_while_the_throughput_is_unknown() -> None:
    queue = Queue()
    queue.admit(make_request(seconds=10_000.0, policy=due(1.0)), make_units(1), now=0.0)


def test_expired_requests_are_cancelled_and_free_their_slots() -> None:
    queue = Queue()
    late, patient, later = make_request(policy=due(5.0)), make_request(), make_request(policy=due(6.0))
    flying, waiting = make_units(2)
    queue.admit(late, [flying, waiting], now=0.0)
    queue.take(1)
    queue.admit(patient, make_units(1), now=0.0)
    queue.admit(later, make_units(1), now=0.0)

    assert queue.expire(4.9) == []
    assert queue.expire(5.0) == [late]
    assert queue.expire(5.0) == []
    assert queue.take_cancelled(0) == [flying]
    assert queue.requests == (patient, later)
    assert waiting not in queue.take(5)


def test_expected_units_count_as_waiting() -> None:
    queue = Queue(Limits(units=3))
    request = make_request(expected=4)
    (first,) = make_units(1)
    queue.admit(request, [first], now=0.0)
    queue.take(1)
    assert queue.waiting == 3
    with pytest.raises(Overloaded):
        queue.admit(make_request(), make_units(1), now=0.0)

    queue.add(request, make_units(3))
    assert queue.waiting == 3
