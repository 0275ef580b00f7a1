"""A scheduler over several sessions of one model: they work in parallel on one queue and end together."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from antiphon.errors import Unavailable
from antiphon.scheduling.scheduler import Scheduler
from antiphon.testing.fake import FakeSession
from antiphon.types.events import Event, Window
from tests.support.scheduling import Holder, OneUnit


def test_replicas_work_in_parallel_on_one_queue() -> None:
    """Each replica blocks its step until the other is in a step too; each caller gets its own answer; draining waits for
    both."""
    both = Barrier(2)
    sessions = [FakeSession(slots=2, seconds_per_step=60.0, before_step=lambda: both.wait(60)) for _ in range(2)]
    scheduler = Scheduler(sessions)
    assert scheduler.slots == 4
    with ThreadPoolExecutor(4) as pool:
        lengths = [0.5, 0.75, 1.0, 1.25]
        answers = [pool.submit(scheduler.run_blocking, OneUnit(length)) for length in lengths]
        while scheduler.waiting < 4:
            time.sleep(0.001)
        scheduler.start()
        assert [answer.result(60) for answer in answers] == [f" audio of {length:.2f} s" for length in lengths]
    scheduler.close()
    assert sessions[0].batches == sessions[1].batches == [1, 1]


@pytest.mark.parametrize("drain", [True, False])
def test_closing_ends_all_replicas(drain: bool) -> None:
    """One works, the other waits: both threads end, after what was admitted is done or at once."""
    hold = Holder()
    scheduler = Scheduler([FakeSession(before_step=hold), FakeSession(before_step=hold)])
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


def test_plan_receives_one_event_at_a_time_from_two_replicas() -> None:
    """Its windows end on two workers at once; `done` is not read while an event is processed."""
    both, inside = Barrier(2), []

    class OneAtATime(OneUnit):
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

    sessions = [FakeSession(slots=1, seconds_per_step=60.0, before_step=step) for _ in range(2)]
    scheduler = Scheduler(sessions)
    scheduler.start()
    assert scheduler.run_blocking(OneAtATime()) == " audio of 60.00 s"
    scheduler.close(drain=False)
    assert [session.batches for session in sessions] == [[1], [1]]
