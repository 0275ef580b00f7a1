"""Failures in the worker loop: of a join, a step or a plan, cancelled requests and missed deadlines."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from threading import Condition

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
from antiphon.scheduling.hooks import GuardedHooks
from antiphon.scheduling.policy import Deadline, SchedulingPolicy
from antiphon.scheduling.queue import Queue
from antiphon.scheduling.request import ScheduledRequest
from antiphon.scheduling.worker import Worker
from antiphon.testing.fake import FakeSession
from antiphon.types.events import Event, Failed, Window, WindowFinished
from tests.support.scheduling import EndlessPlan, OneUnit, RecordingHooks
from tests.support.worker_loop import admit, make_request, make_unit, reason_of, run_dry


@pytest.mark.parametrize("where", ["join", "step"])
def test_failure_ends_only_its_members(where: str, caplog: pytest.LogCaptureFixture) -> None:
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
def test_error_written_for_the_caller_keeps_its_type_and_text(where: str, error: AntiphonError) -> None:
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
    assert len({id(failure) for failure in (*errors, error)}) == 3  # each caller raises its own object


def test_failed_step_frees_every_slot() -> None:
    queue = Queue()
    victims = [admit(queue, [make_unit()]) for _ in range(3)]
    failures = iter([True])
    session = FakeSession(slots=3, step_fails=lambda _unit: next(failures, False))
    after = admit(queue, [make_unit()])

    run_dry(session, queue, joins_per_step=3)

    errors = [event.error for victim in victims for event in victim.events if isinstance(event, Failed)]
    assert len({id(error) for error in errors}) == 3  # each caller raises its own object
    assert isinstance(after.events[0], WindowFinished)
    assert session.batches == [1]


def test_plan_that_fails_ends_only_its_own_request() -> None:
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


def test_request_that_runs_out_of_units_fails() -> None:
    queue = Queue()
    request, _plan = make_request()
    queue.admit(request, [make_unit()], now=0.0)
    run_dry(FakeSession(), queue)
    assert type(reason_of(request)) is EngineFailed


def test_cancelled_unit_leaves_and_gets_no_event() -> None:
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
def test_request_cancelled_while_it_processes_an_event_ends_once(fails: bool) -> None:
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
def test_late_unit_leaves_at_the_next_iteration(steps: int) -> None:
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
        worker.run_once()
    now[0] = 10.0
    worker.run_once()
    assert type(reason_of(late)) is DeadlineMissed
    assert queue.requests == (other,)
    assert session.batches[-1] == 1
    worker.stopping = "drained"
    worker.run()
    assert isinstance(other_plan.events[0], WindowFinished)
    assert late_plan.events == []


class Odd(BaseException):
    """An error that `except Exception` does not catch."""


@pytest.mark.parametrize("where", ["join", "step"])
@pytest.mark.parametrize("error", [MemoryError(), Odd(), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_any_error_of_the_session_ends_only_its_units(where: str, error: BaseException) -> None:
    failing = iter([True])

    class Failing(FakeSession):
        def join(self, units: Sequence[Window]) -> list[Event]:
            if where == "join" and next(failing, False):
                raise error
            return super().join(units)

        def step(self) -> list[Event]:
            if where == "step" and next(failing, False):
                raise error
            return super().step()

    queue = Queue()
    doomed, spared = admit(queue, [make_unit()]), admit(queue, [make_unit()])
    run_dry(Failing(slots=1), queue)
    (event,) = doomed.events
    assert isinstance(event, Failed)
    assert type(event.error) is EngineFailed
    assert event.error.__cause__ is error
    assert isinstance(spared.events[0], WindowFinished)


def test_plan_that_raises_no_exception_gets_an_engine_failure() -> None:
    """A KeyboardInterrupt as the result of a task would end the event loop."""
    queue = Queue()

    class Broken(EndlessPlan):
        def receive(self, event: Event) -> Sequence[Window]:
            raise KeyboardInterrupt

    request = ScheduledRequest(Broken())
    queue.admit(request, [make_unit()], now=0.0)
    run_dry(FakeSession(), queue)
    assert type(reason_of(request)) is EngineFailed


@pytest.mark.parametrize("error", [RuntimeError("cannot leave"), MemoryError(), Odd()], ids=repr)
def test_unit_that_cannot_leave_after_a_failed_step_is_logged_and_its_slot_is_free(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    failing = iter([True])

    class Stubborn(FakeSession):
        def leave(self, unit: Window) -> None:
            super().leave(unit)
            raise error

    queue = Queue()
    doomed = [admit(queue, [make_unit()]) for _ in range(2)]
    spared = [admit(queue, [make_unit()]) for _ in range(2)]
    session = Stubborn(slots=2, step_fails=lambda _unit: next(failing, False))
    run_dry(session, queue, joins_per_step=2)
    assert all(isinstance(plan.events[0], Failed) for plan in doomed)
    assert all(isinstance(plan.events[0], WindowFinished) for plan in spared)
    assert caplog.messages == ["fake: a step of 2 units failed", "fake: 2 of 2 units could not leave"]


def test_cancelled_unit_that_cannot_leave_ends_nothing() -> None:
    class Stubborn(FakeSession):
        def leave(self, unit: Window) -> None:
            super().leave(unit)
            raise RuntimeError("cannot leave")

    queue = Queue()
    request, _plan = make_request()
    queue.admit(request, [make_unit(30.0)], now=0.0)
    other = admit(queue, [make_unit(30.0)])

    def cancel() -> None:
        queue.cancel(request)

    run_dry(Stubborn(before_step=cancel), queue, joins_per_step=2)
    assert isinstance(other.events[0], WindowFinished)


@pytest.mark.parametrize("where", ["join", "step"])
def test_session_that_cannot_free_a_slot_and_fails_again_ends_the_loop(where: str) -> None:
    """Else each later request would fail, for as long as the process runs."""

    class Full(FakeSession):
        def leave(self, unit: Window) -> None:
            raise RuntimeError("cannot leave")

    queue = Queue()
    session = Full(slots=1 if where == "join" else 2, step_fails=lambda _unit: True)
    worker = Worker(session, queue, Condition())
    admit(queue, [make_unit()])
    assert worker.run_once()
    admit(queue, [make_unit()])
    with pytest.raises(ValueError if where == "join" else RuntimeError):
        worker.run_once()


def test_error_for_the_caller_does_not_end_the_loop_of_a_session_that_could_not_free_a_slot() -> None:
    failing = iter([True])

    class Refusing(FakeSession):
        def join(self, units: Sequence[Window]) -> list[Event]:
            if len(units[0].samples) > 16_000:
                raise InvalidParameter("too long", param="file")
            return super().join(units)

        def leave(self, unit: Window) -> None:
            super().leave(unit)
            raise RuntimeError("cannot leave")

    queue = Queue()
    session = Refusing(slots=1, step_fails=lambda _unit: next(failing, False))
    plans = [admit(queue, [make_unit(seconds)]) for seconds in (1.0, 2.0, 1.0)]
    run_dry(session, queue)
    assert [type(plan.events[0]) for plan in plans] == [Failed, Failed, WindowFinished]


@pytest.mark.parametrize("where", ["join", "step", "leave"])
def test_system_exit_of_the_session_ends_the_loop(where: str) -> None:
    def leave(*_: object) -> None:
        raise SystemExit

    session = FakeSession()
    setattr(session, where, leave)
    queue = Queue()
    request, _plan = make_request()
    queue.admit(request, [make_unit(30.0)], now=0.0)
    worker = Worker(session, queue, Condition())
    if where == "leave":
        worker.run_once()
        queue.cancel(request)
    with pytest.raises(SystemExit):
        worker.run_once()


def test_metrics_that_fail_end_nothing_and_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(RecordingHooks):
        def record(self, metric: str, value: float = 1.0, **labels: str) -> None:
            super().record(metric, value, **labels)
            raise RuntimeError("no metrics")

    hooks = Failing()
    queue = Queue()
    plans = [admit(queue, [make_unit()]) for _ in range(3)]
    worker = Worker(FakeSession(slots=1), queue, Condition(), hooks=GuardedHooks(hooks))
    worker.stopping = "drained"
    worker.run()
    assert all(isinstance(plan.events[0], WindowFinished) for plan in plans)
    assert len(hooks.values("antiphon_step_seconds")) == 3
    assert [text.split()[0] for text in caplog.messages] == sorted(
        {"antiphon_join_seconds", "antiphon_batch_units", "antiphon_step_seconds", "antiphon_units_total"},
        key=[name for name, _value, _label in hooks.records].index,
    )
