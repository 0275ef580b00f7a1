"""The worker loop, mostly on the test's own thread: joins, steps, delivery, failures, cancellation and resting."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from threading import Condition, Thread

import numpy as np
import pytest

from antiphon.errors import (
    AntiphonError,
    Cancelled,
    ConfigError,
    DeadlineMissed,
    EngineFailed,
    InvalidParameter,
    ModelNotFound,
)
from antiphon.scheduling.hooks import NULL_HOOKS
from antiphon.scheduling.policy import Deadline, SchedulingPolicy
from antiphon.scheduling.queue import Queue
from antiphon.scheduling.request import ScheduledRequest
from antiphon.scheduling.worker import Worker
from antiphon.testing.fake import FakeSession
from antiphon.types.events import Event, Failed, LanguageDetected, Window, WindowFinished
from antiphon.types.options import TranscribeOptions
from tests.support.scheduling import EndlessPlan, Holder, OneUnit, RecordingHooks


def make_unit(seconds: float = 1.0, language: str | None = "en") -> Window:
    samples = np.zeros(round(seconds * 16_000), np.float32)
    return Window(request=0, samples=samples, start=0, options=TranscribeOptions(language=language))


def make_request(*following: Sequence[Window], seconds: float = 0.0) -> tuple[ScheduledRequest, EndlessPlan]:
    """A request, and its plan, which keeps the events and asks for one list of further units per event."""
    plan = EndlessPlan(*following, seconds=seconds)
    return ScheduledRequest(plan), plan


def admit(queue: Queue, units: Sequence[Window], *following: Sequence[Window], seconds: float = 0.0) -> EndlessPlan:
    """Admit a new request with these units; returns its plan."""
    request, plan = make_request(*following, seconds=seconds)
    queue.admit(request, units, now=0.0)
    return plan


def reason_of(request: ScheduledRequest) -> BaseException | None:
    """The error that ended a request."""
    return request.answered.exception(timeout=0)


def run_dry(
    session: FakeSession, queue: Queue, *, joins_per_step: int = 1, hooks: RecordingHooks | None = None
) -> None:
    """Run the loop until the queue is idle."""
    worker = Worker(session, queue, Condition(), joins_per_step=joins_per_step, hooks=hooks or NULL_HOOKS)
    worker.stopping = "drained"
    worker.run()
    assert queue.idle


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


def test_a_request_that_is_done_drops_its_other_units() -> None:
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


def test_a_session_rests_once_after_a_while_without_work() -> None:
    queue, changed, session = Queue(), Condition(), FakeSession()
    worker = Worker(session, queue, changed, rest_after_s=0.01)
    thread = Thread(target=worker.run)
    thread.start()
    for work in range(1, 3):
        wait_until(lambda work=work: session.rests == work)  # type: ignore[misc]
        time.sleep(0.05)
        assert session.rests == work  # once per idle time
        with changed:
            admit(queue, [make_unit()])
            changed.notify()
    wait_until(lambda: session.rests == 3)
    with changed:
        worker.stopping = "now"
        changed.notify()
    thread.join()


def test_no_session_rests_while_a_replica_works() -> None:
    """They share graphs, and OpenVINO releases no memory of a graph that runs."""
    queue, changed, session = Queue(workers=2), Condition(), FakeSession()
    worker = Worker(session, queue, changed, rest_after_s=0.01)
    unit = make_unit()
    admit(queue, [unit])
    queue.take(1, worker_index=1)
    thread = Thread(target=worker.run)
    thread.start()
    time.sleep(0.05)
    assert session.rests == 0
    with changed:
        queue.finish(unit)
    wait_until(lambda: session.rests == 1)
    with changed:
        worker.stopping = "drained"
        changed.notify()
    thread.join()


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


def test_a_long_file_leaves_slots_to_new_requests() -> None:
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


def test_no_rest_between_two_windows() -> None:
    queue, session = Queue(), FakeSession()
    admit(queue, [make_unit() for _ in range(5)])
    run_dry(session, queue)
    assert session.rests == 0


def wait_until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.005)


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


@pytest.mark.parametrize("where", ["join", "step"])
def test_a_failure_ends_only_its_members(where: str, caplog: pytest.LogCaptureFixture) -> None:
    queue = Queue()
    bad, good = make_unit(), make_unit()
    doomed = admit(queue, [bad])

    session = FakeSession(
        slots=1,
        join_fails=lambda unit: where == "join" and unit is bad,
        step_fails=lambda unit: where == "step" and unit is bad,
    )
    spared = admit(queue, [good])

    with caplog.at_level(logging.ERROR):
        run_dry(session, queue)

    (event,) = doomed.events
    assert isinstance(event, Failed)
    assert isinstance(event.error, EngineFailed)
    assert isinstance(event.error.__cause__, RuntimeError)
    assert isinstance(spared.events[0], WindowFinished)
    assert f"scripted failure of {where}" not in str(event.error)  # such texts name files and libraries
    assert f"scripted failure of {where}" in str(event.error.__cause__)
    assert "Traceback" in caplog.text
    assert f"scripted failure of {where}" in caplog.text


@pytest.mark.parametrize("where", ["join", "step"])
@pytest.mark.parametrize(
    "error",
    [
        InvalidParameter("This model takes no prompt.", param="prompt", code="unsupported"),
        ModelNotFound("x", ("y",)),
        ConfigError("is not there", setting="speaker_path"),
    ],
)
def test_an_error_written_for_the_caller_keeps_its_type_and_text(where: str, error: AntiphonError) -> None:
    class Refusing(FakeSession):
        def join(self, units: Sequence[Window]) -> list[Event]:
            if where == "join":
                raise error
            return super().join(units)

        def step(self) -> list[Event]:
            raise error

    queue = Queue()
    plans = [admit(queue, [make_unit()]) for _ in range(2)]
    run_dry(Refusing(), queue, joins_per_step=2)
    errors = [event.error for plan in plans for event in plan.events if isinstance(event, Failed)]
    for failure in errors:
        assert (type(failure), str(failure), vars(failure)) == (type(error), str(error), vars(error))
    assert len({id(failure) for failure in (*errors, error)}) == 3  # each caller raises an object of its own


def test_a_failed_step_frees_every_slot() -> None:
    queue = Queue()
    victims = [admit(queue, [make_unit()]) for _ in range(3)]
    failures = iter([True])
    session = FakeSession(slots=3, step_fails=lambda _unit: next(failures, False))
    after = admit(queue, [make_unit()])

    run_dry(session, queue, joins_per_step=3)

    errors = [event.error for victim in victims for event in victim.events if isinstance(event, Failed)]
    assert len({id(error) for error in errors}) == 3  # each caller raises an object of its own
    assert isinstance(after.events[0], WindowFinished)
    assert session.batches == [1]


def test_a_plan_that_fails_ends_only_its_own_request() -> None:
    queue = Queue()

    class Broken(EndlessPlan):
        def receive(self, event: Event) -> Sequence[Window]:
            raise KeyError("broken")

    request = ScheduledRequest(Broken())
    queue.admit(request, [make_unit(), make_unit()], now=0.0)
    other = admit(queue, [make_unit()])
    run_dry(FakeSession(), queue)
    assert type(reason_of(request)) is KeyError
    assert isinstance(other.events[0], WindowFinished)


def test_a_request_that_runs_out_of_units_fails() -> None:
    queue = Queue()
    request, _plan = make_request()
    queue.admit(request, [make_unit()], now=0.0)
    run_dry(FakeSession(), queue)
    assert type(reason_of(request)) is EngineFailed


def test_a_cancelled_unit_leaves_and_gets_no_event() -> None:
    queue = Queue()
    request, plan = make_request()
    queue.admit(request, [make_unit(30.0), make_unit(30.0)], now=0.0)
    other = admit(queue, [make_unit(30.0)])

    def cancel() -> None:
        queue.cancel(request)

    session = FakeSession(slots=4, before_step=cancel)
    run_dry(session, queue, joins_per_step=3)
    assert plan.events == []
    assert isinstance(other.events[0], WindowFinished)
    assert session.batches == [3, 1, 1]


@pytest.mark.parametrize("fails", [False, True])
def test_a_request_cancelled_while_it_processes_an_event_ends_once(fails: bool) -> None:
    """Then or by the error of its plan; a second end would raise, and the worker would die of it."""
    queue = Queue()

    class Left(OneUnit):
        def receive(self, event: Event) -> Sequence[Window]:
            assert queue.cancel(request)
            request.end(Cancelled("left"))
            if fails:
                raise KeyError("broken")
            return super().receive(event)

    plan = Left(1.0)
    request = ScheduledRequest(plan)
    queue.admit(request, [plan.unit, make_unit(30.0)], now=0.0)
    run_dry(FakeSession(), queue, joins_per_step=2)
    assert type(reason_of(request)) is Cancelled


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_late_unit_leaves_at_the_next_turn(steps: int) -> None:
    queue = Queue()
    late_plan = EndlessPlan()
    late = ScheduledRequest(late_plan, SchedulingPolicy(deadline=Deadline(10.0, 10.0, "x-request-timeout")))
    queue.admit(late, [make_unit(100.0), make_unit(100.0)], now=0.0)
    other, other_plan = make_request()
    queue.admit(other, [make_unit(50.0)], now=0.0)
    session = FakeSession(slots=2)
    now = [0.0]
    worker = Worker(session, queue, Condition(), clock=lambda: now[0])
    for _ in range(steps):
        worker.turn()
    now[0] = 10.0
    worker.turn()
    assert type(reason_of(late)) is DeadlineMissed
    assert queue.requests == (other,)
    assert session.batches[-1] == 1
    worker.stopping = "drained"
    worker.run()
    assert isinstance(other_plan.events[0], WindowFinished)
    assert late_plan.events == []


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


def test_a_request_records_its_wait_at_its_first_slot_only() -> None:
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


def test_replicas_take_no_unit_while_a_session_rests() -> None:
    hold = Holder()

    class SlowRest(FakeSession):
        def rest(self) -> None:
            super().rest()
            hold()

    queue, changed = Queue(workers=2), Condition()
    resting, other = SlowRest(), FakeSession()
    workers = [
        Worker(session, queue, changed, rest_after_s=after, worker_index=index)
        for index, (session, after) in enumerate([(resting, 0.01), (other, 60.0)])
    ]
    threads = [Thread(target=worker.run, daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    assert hold.reached.wait(60)
    try:
        with changed:
            assert not queue.begin_rest()  # one at a time
            admit(queue, [make_unit()])
            changed.notify_all()
        time.sleep(0.05)
        assert (queue.waiting, queue.in_flight, resting.batches, other.batches) == (1, 0, [], [])
    finally:
        hold.go_on.set()
    wait_until(lambda: queue.idle)
    assert resting.batches + other.batches == [1]
    with changed:
        for worker in workers:
            worker.stopping = "now"
        changed.notify_all()
    for thread in threads:
        thread.join()
