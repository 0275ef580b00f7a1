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
from antiphon.scheduling.policy import Deadline, SchedulingPolicy
from antiphon.scheduling.queue import Queue
from antiphon.scheduling.request import ScheduledRequest
from antiphon.scheduling.worker import Worker
from antiphon.testing.fake import FakeSession
from antiphon.types.events import Event, Failed, Window, WindowFinished
from tests.support.scheduling import EndlessPlan, OneUnit
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
