"""A scheduler over a session and its twins: side by side on one queue, and all of them end together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from antiphon.errors import EngineFailed, Unavailable
from antiphon.scheduling.scheduler import Scheduler
from antiphon.testing.fake import FakeSession
from antiphon.types.events import Event, Window
from tests.support.scheduling import Holder, OneUnit, running


def test_twins_work_side_by_side_on_one_queue() -> None:
    """Each twin holds a step up until the other has one too; answers are each caller's own; draining waits for both."""
    both = Barrier(2)
    twin = FakeSession(slots=2, seconds_per_step=60.0, before_step=lambda: both.wait(60))
    session = FakeSession(slots=2, seconds_per_step=60.0, before_step=lambda: both.wait(60), twins=[twin])
    scheduler = Scheduler(session)
    assert scheduler.slots == 4
    with ThreadPoolExecutor(4) as pool:
        seconds = [0.5, 0.75, 1.0, 1.25]
        answers = [pool.submit(scheduler.run_blocking, OneUnit(length)) for length in seconds]
        while scheduler.waiting < 4:
            time.sleep(0.001)
        scheduler.start()
        assert [each.result(60) for each in answers] == [f" audio of {length:.2f} s" for length in seconds]
    scheduler.close()
    assert session.batches == twin.batches == [1, 1]


@pytest.mark.parametrize("drain", [True, False])
def test_twins_end_together(drain: bool) -> None:
    """One works, the other waits: both threads end, after what was admitted is done or at once."""
    hold = Holder()
    twins = [FakeSession(before_step=hold)]
    scheduler = Scheduler(FakeSession(before_step=hold, twins=twins))
    scheduler.start()
    with ThreadPoolExecutor(2) as pool:
        answer = pool.submit(scheduler.run_blocking, OneUnit(60.0))
        assert hold.reached.wait(60)
        closing = pool.submit(scheduler.close, drain=drain)
        while not scheduler.full:
            time.sleep(0.001)
        hold.go_on.set()
        closing.result(60)
        if drain:
            assert answer.result(60) == " audio of 60.00 s"
        else:
            with pytest.raises(Unavailable):
                answer.result(60)


def test_a_twin_that_dies_takes_the_other_with_it() -> None:
    """Its thread is gone for good: better that nobody is let in than that half of the requests are never answered."""

    class Dying(FakeSession):
        def leave(self, unit: Window) -> None:
            raise RuntimeError("dying")

    hold = Holder()
    scheduler = Scheduler(Dying(before_step=hold, step_fails=lambda _: True, twins=[FakeSession(before_step=hold)]))
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(scheduler.run_blocking, OneUnit(60.0)) for _ in range(2)]
        while scheduler.waiting < 2:
            time.sleep(0.001)
        scheduler.start()
        hold.go_on.set()
        assert any(isinstance(each.exception(60), EngineFailed) for each in answers)
    with pytest.raises(EngineFailed, match="dying"):
        scheduler.check_room()
    scheduler.close()


def test_a_plan_is_told_one_event_at_a_time() -> None:
    """Its windows end in two lanes at once; `done` in the middle of an event is nobody's business."""
    both, inside = Barrier(2), []

    class Careful(OneUnit):
        expected = 2

        def __init__(self) -> None:
            super().__init__(60.0)
            self.left = {self.unit, OneUnit(60.0).unit}

        def start(self) -> Sequence[Window]:
            return list(self.left)

        def receive(self, event: Event) -> Sequence[Window]:
            inside.append(event.unit)
            assert len(inside) == 1
            time.sleep(0.05)
            inside.clear()
            self.left.discard(event.unit)  # type: ignore[arg-type]
            return [] if self.left else super().receive(event)

    def step() -> None:
        if not both.broken:
            both.wait(60)

    session = FakeSession(slots=1, seconds_per_step=60.0, before_step=step)
    twin = FakeSession(slots=1, seconds_per_step=60.0, before_step=step)
    session.twins = [twin]
    with running(session) as scheduler:
        assert scheduler.run_blocking(Careful()) == " audio of 60.00 s"
    assert (session.batches, twin.batches) == ([1], [1])
