"""The worker loop, mostly on the test's own thread: joins, steps, delivery and hooks."""

from __future__ import annotations

import time
from threading import Condition

import pytest

from antiphon.scheduling.queue import Queue
from antiphon.scheduling.request import ScheduledRequest
from antiphon.scheduling.worker import Worker
from antiphon.testing.fake import FakeSession
from antiphon.types.events import LanguageDetected, Window, WindowFinished
from tests.support.scheduling import EndlessPlan, OneUnit, RecordingHooks
from tests.support.worker_loop import admit, make_request, make_unit, reason_of, run_dry


def test_units_are_decoded_together_and_each_ends_once() -> None:
    queue = Queue()
    units = [make_unit(seconds) for seconds in (1.0, 2.0, 3.0)]
    plans = [admit(queue, [unit]) for unit in units]
    session = FakeSession(slots=4)

    run_dry(session, queue, joins_per_step=3)

    assert session.batches == [3]
    for plan, unit, text in zip(plans, units, ("1.00", "2.00", "3.00"), strict=True):
        (event,) = plan.events
        assert isinstance(event, WindowFinished)
        assert event.unit is unit
        assert event.result.pieces[0].text == f" audio of {text} s"


def test_joins_per_step_is_the_limit_with_no_unit_in_flight() -> None:
    """A new request must not wait for the encodes of a whole long file."""
    queue = Queue()
    admit(queue, [make_unit(30.0) for _ in range(3)])
    session = FakeSession(slots=4)
    run_dry(session, queue)
    assert session.batches == [1, 2, 3, 2, 1]  # three steps each, one joining a step


def test_request_that_is_done_drops_its_other_units() -> None:
    queue = Queue()
    left: list[Window] = []
    request = ScheduledRequest(OneUnit(1.0))  # done after the first event
    units = [make_unit(), make_unit(30.0)]
    queue.admit(request, units, now=0.0)
    session = FakeSession(slots=4)
    leave = session.leave
    session.leave = lambda unit: (left.append(unit), leave(unit))[1]  # type: ignore[method-assign]
    run_dry(session, queue, joins_per_step=2)
    assert left == [units[1]]  # the unit that ended holds no slot
    assert reason_of(request) is None
    assert queue.in_flight == 0


def test_joins_per_step_is_the_limit_while_others_decode() -> None:
    queue = Queue()
    admit(queue, [make_unit(30.0)])

    def arrive() -> None:
        for _ in range(0 if arrived else 3):
            admit(queue, [make_unit(30.0)])
        arrived.append(True)

    arrived: list[bool] = []
    session = FakeSession(slots=4, before_step=arrive)
    run_dry(session, queue)

    assert session.batches == [1, 2, 3, 3, 2, 1]  # three steps each, one joining a step


def test_expensive_joins_wait_until_a_short_request_is_decoded() -> None:
    """A clip of three steps and a long file: while the clip is in flight, no window of the file joins."""
    joined: list[str] = []

    def count(unit: Window) -> bool:
        joined.append("clip" if unit is clip else "file")
        time.sleep(0.03)
        return False

    def arrive() -> None:
        steps.append(len(joined))
        if len(steps) == 1:
            admit(queue, [clip], seconds=3.0)

    steps: list[int] = []
    queue, clip = Queue(), make_unit(30.0)
    admit(queue, [make_unit(30.0) for _ in range(6)], seconds=300.0)
    run_dry(FakeSession(slots=8, join_fails=count, before_step=arrive), queue)
    assert joined == ["file", "clip", *["file"] * 5]
    assert steps[:5] == [1, 2, 2, 2, 3]  # units that had joined before each step


def test_long_file_leaves_slots_to_new_requests() -> None:
    """Windows of 30 steps, all of them far from their end when a new request arrives."""
    queue, joined, clip = Queue(), [], make_unit()
    admit(queue, [make_unit(30.0) for _ in range(20)])

    def arrive() -> None:
        if len(session.batches) == 12:
            admit(queue, [clip])
        joined.append(clip in queue.active(0))

    session = FakeSession(slots=8, seconds_per_step=1.0, before_step=arrive)
    run_dry(session, queue)
    assert max(session.batches[:12]) == 7
    assert joined[12:14] == [False, True]


def test_language_is_delivered_before_the_result() -> None:
    queue = Queue()
    plan = admit(queue, [make_unit(language=None)])
    run_dry(FakeSession(), queue)
    assert [type(event) for event in plan.events] == [LanguageDetected, WindowFinished]


def test_units_returned_for_an_event_are_decoded() -> None:
    queue = Queue()
    more = [make_unit(2.0), make_unit(3.0)]
    plan = admit(queue, [make_unit(1.0)], more)
    run_dry(FakeSession(), queue)
    assert [event.unit for event in plan.events][1:] == more


def test_joins_per_step_must_be_at_least_one() -> None:
    with pytest.raises(ValueError, match="joins_per_step"):
        Worker(FakeSession(), Queue(), Condition(), joins_per_step=0)


def recorded(hooks: RecordingHooks) -> list[str | tuple[str, float | str | None]]:
    """What was recorded: batch sizes and outcomes by value, of times only the metric."""
    records: list[str | tuple[str, float | str | None]] = []
    for metric, value, label in hooks.records:
        assert value >= 0
        by_value = {"antiphon_batch_units": value, "antiphon_units_total": label}
        records.append((metric, by_value[metric]) if metric in by_value else metric)
    return records


JOINED, STEPPED, FAILED = "antiphon_join_seconds", "antiphon_step_seconds", ("antiphon_units_total", "failed")


def test_hooks_record_joins_steps_and_ends() -> None:
    queue = Queue()
    admit(queue, [make_unit(language=None), make_unit(20.0)])
    hooks = RecordingHooks()
    run_dry(FakeSession(slots=4), queue, joins_per_step=2, hooks=hooks)
    done = ("antiphon_units_total", "done")
    steps = [[("antiphon_batch_units", float(units)), STEPPED, done] for units in (2, 1)]
    assert recorded(hooks) == [JOINED, *steps[0], *steps[1]]


def test_hooks_record_failures_but_no_cancelled_units() -> None:
    queue = Queue()
    first, second = make_unit(), make_unit()
    admit(queue, [first])
    cancelled, _plan = make_request()
    queue.admit(cancelled, [second], now=0.0)

    def cancel() -> None:
        queue.cancel(cancelled)

    hooks = RecordingHooks()
    session = FakeSession(slots=4, before_step=cancel, step_fails=lambda unit: unit is first)
    run_dry(session, queue, joins_per_step=2, hooks=hooks)
    assert recorded(hooks) == [JOINED, FAILED]
    hooks = RecordingHooks()
    admit(queue, [first])
    run_dry(FakeSession(join_fails=lambda unit: unit is first), queue, hooks=hooks)
    assert recorded(hooks) == [FAILED]


def test_request_records_its_wait_at_its_first_slot_only() -> None:
    queue, hooks = Queue(), RecordingHooks()
    slots_in_use: list[int] = []

    class Request(ScheduledRequest):
        def take(self) -> None:
            slots_in_use.append(queue.in_flight)
            super().take()

    queue.admit(Request(EndlessPlan(), hooks=hooks), [make_unit(30.0), make_unit(30.0)], now=0.0)
    run_dry(FakeSession(slots=4), queue)
    assert slots_in_use == [1, 2]
    assert [metric for metric, _, _ in hooks.records] == ["ovms_wait_for_infer_req_time_us", "ovms_inference_time_us"]
