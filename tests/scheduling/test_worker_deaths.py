"""The scheduler with a worker thread that dies or is stuck: refusals, what is known of it, and closing."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event as Gate

import pytest

from antiphon.errors import EngineFailed, Unavailable
from antiphon.scheduling import scheduler as scheduler_module
from antiphon.scheduling.scheduler import Scheduler
from antiphon.testing.fake import FakeSession
from antiphon.types.events import Event
from tests.support.scheduling import Holder, OneUnit, running
from tests.support.worker_loop import wait_until


class Dying(FakeSession):
    """Ends its worker thread in the first step."""

    def step(self) -> list[Event]:
        super().step()
        return [None]  # type: ignore[list-item]


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def die(scheduler: Scheduler) -> None:
    with pytest.raises(EngineFailed, match="died"):
        scheduler.run_blocking(OneUnit(1.0))
    wait_until(lambda: scheduler.stopped)


def test_worker_that_dies_fails_the_requests_in_flight_without_the_exception_text_and_the_others_with_503(
    threads: ThreadPoolExecutor,
) -> None:
    class Broken(FakeSession):
        def step(self) -> list[Event]:
            if len(self._steps_left) == 2:
                raise SystemExit("secret")
            return []

    scheduler = Scheduler([Broken(slots=2)])
    answers = [threads.submit(scheduler.run_blocking, OneUnit(1.0)) for _ in range(5)]
    wait_until(lambda: scheduler.waiting == 5)
    scheduler.start()
    errors = [answer.exception(60) for answer in answers]
    failed = [error for error in errors if isinstance(error, EngineFailed)]
    assert len(failed) == 2
    for error in failed:
        assert str(error) == "The worker of fake died; the log has the details."
        assert str(error.__cause__) == "secret"
    assert sum(isinstance(error, Unavailable) for error in errors) == 3
    scheduler.close()


def test_requests_after_a_death_are_unavailable_503() -> None:
    with running(Dying()) as scheduler:
        assert (scheduler.dead, scheduler.failure) == (False, None)
        die(scheduler)
        assert scheduler.dead
        assert scheduler.full
        for refused in (scheduler.check_room, lambda: scheduler.run_blocking(OneUnit(1.0))):
            with pytest.raises(Unavailable, match="The worker of fake died; the log has the details") as unavailable:
                refused()
            assert unavailable.value.retry_after == 5.0
            assert unavailable.value.__cause__ is None  # a traceback would keep the session in memory


def test_replica_that_dies_ends_the_others_too(threads: ThreadPoolExecutor) -> None:
    """Its thread is gone for good: refusing all requests is better than never answering half of them."""
    hold = Holder()
    scheduler = Scheduler([Dying(before_step=hold), FakeSession(before_step=hold)])
    answers = [threads.submit(scheduler.run_blocking, OneUnit(60.0)) for _ in range(2)]
    wait_until(lambda: scheduler.waiting == 2)
    scheduler.start()
    hold.go_on.set()
    assert any(isinstance(answer.exception(60), EngineFailed) for answer in answers)
    with pytest.raises(Unavailable, match="The worker of fake died"):
        scheduler.check_room()
    wait_until(lambda: scheduler.stopped)
    scheduler.close()


def test_sessions_are_released_when_the_dead_scheduler_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler_module.logger, "disabled", True)  # pytest keeps the traceback with all its variables
    session = Dying()
    reference = weakref.ref(session)
    scheduler = Scheduler([session])
    del session
    scheduler.start()
    die(scheduler)
    assert reference() is not None
    scheduler.close(drain=False)
    assert scheduler.progress() == ()
    wait_until(lambda: gc.collect() >= 0 and reference() is None)


def test_progress_stays_the_same_while_a_worker_is_stuck_and_is_none_while_it_waits() -> None:
    hold = Holder()
    with running(FakeSession(before_step=hold)) as scheduler, ThreadPoolExecutor(1) as pool:
        assert scheduler.progress() == (None,)
        answer = pool.submit(scheduler.run_blocking, OneUnit(30.0))
        assert hold.reached.wait(60)
        [progress] = scheduler.progress()
        assert progress is not None
        assert scheduler.progress() == (progress,)
        assert "go_on.wait" in scheduler.stack(0)
        hold.reached.clear()
        hold.go_on.set()
        answer.result(60)
        wait_until(lambda: scheduler.progress() == (None,))


def test_progress_of_a_session_that_rests_counts() -> None:
    hold = Holder()

    class SlowRest(FakeSession):
        def rest(self) -> None:
            hold()

    with running(SlowRest(), rest_after_s=0.01) as scheduler:
        assert hold.reached.wait(60)
        assert scheduler.progress() != (None,)
        hold.go_on.set()
        wait_until(lambda: scheduler.progress() == (None,))


def test_progress_of_a_dead_worker_is_none() -> None:
    with running(Dying()) as scheduler:
        die(scheduler)
        assert scheduler.progress() == (None,)
        assert scheduler.stack(0) == ""


def test_suspended_model_refuses_new_requests_with_503_and_finishes_the_others(threads: ThreadPoolExecutor) -> None:
    hold = Holder()
    with running(FakeSession(slots=1, before_step=hold)) as scheduler:
        answers = [threads.submit(scheduler.run_blocking, OneUnit(1.0)) for _ in range(2)]
        wait_until(lambda: scheduler.requests == 2)
        scheduler.suspend(Unavailable("stuck", retry_after=10.0))
        assert scheduler.full
        assert str(scheduler.failure) == "stuck"
        with pytest.raises(Unavailable, match="stuck"):
            scheduler.check_room()
        hold.go_on.set()
        assert [answer.result(60) for answer in answers] == [" audio of 1.00 s"] * 2
        scheduler.suspend(None)
        assert not scheduler.full
        assert scheduler.run_blocking(OneUnit(2.0)) == " audio of 2.00 s"


@pytest.mark.parametrize("drain", [True, False])
def test_close_returns_after_its_timeout_although_a_worker_is_stuck(
    drain: bool, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(scheduler_module, "MAX_LAST_STEP_S", 0.05)
    hold = Holder()
    scheduler = Scheduler([FakeSession(slots=1, before_step=hold)])
    scheduler.start()
    answers = [threads.submit(scheduler.run_blocking, OneUnit(1.0)) for _ in range(2)]
    wait_until(lambda: scheduler.requests == 2)
    assert hold.reached.wait(60)
    closing = threads.submit(scheduler.close, drain=drain, timeout=0.05)
    for answer in answers:  # also that whose unit is in the stuck step
        with pytest.raises(Unavailable, match="shutting down"):
            answer.result(60)
    closing.result(60)
    assert not scheduler.stopped
    assert caplog.messages == ["fake: a worker thread does not end; it is left behind"]
    hold.go_on.set()
    wait_until(lambda: scheduler.stopped)


def test_close_within_its_timeout_drains(threads: ThreadPoolExecutor) -> None:
    hold = Holder()
    scheduler = Scheduler([FakeSession(before_step=hold)])
    scheduler.start()
    answer = threads.submit(scheduler.run_blocking, OneUnit(1.0))
    assert hold.reached.wait(60)
    closing = threads.submit(scheduler.close, timeout=60.0)
    time.sleep(0.05)
    assert not closing.done()
    hold.go_on.set()
    closing.result(60)
    assert answer.result(60) == " audio of 1.00 s"
    assert scheduler.stopped


def test_close_without_draining_ends_requests_before_the_step_is_over(threads: ThreadPoolExecutor) -> None:
    hold, closed = Holder(), Gate()
    scheduler = Scheduler([FakeSession(before_step=hold)])
    scheduler.start()
    answer = threads.submit(scheduler.run_blocking, OneUnit(1.0))
    assert hold.reached.wait(60)
    closing = threads.submit(lambda: (scheduler.close(drain=False), closed.set()))
    with pytest.raises(Unavailable):
        answer.result(60)
    assert not closed.is_set()
    hold.go_on.set()
    closing.result(60)
