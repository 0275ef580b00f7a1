"""Idle sessions rest: once, outside the lock, and never while a replica works."""

from __future__ import annotations

import time
from threading import Condition, Thread

from antiphon.scheduling.queue import Queue
from antiphon.scheduling.worker import Worker
from antiphon.testing.fake import FakeSession
from tests.support.scheduling import Holder
from tests.support.worker_loop import admit, make_unit, run_dry, wait_until


def test_session_rests_once_after_a_while_without_work() -> None:
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


def test_no_rest_between_two_windows() -> None:
    queue, session = Queue(), FakeSession()
    admit(queue, [make_unit() for _ in range(5)])
    run_dry(session, queue)
    assert session.rests == 0


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


def test_session_that_cannot_rest_goes_on() -> None:
    class Restless(FakeSession):
        def rest(self) -> None:
            super().rest()
            raise MemoryError

    queue, changed, session = Queue(), Condition(), Restless()
    worker = Worker(session, queue, changed, rest_after_s=0.01)
    thread = Thread(target=worker.run)
    thread.start()
    wait_until(lambda: session.rests == 1)
    with changed:
        plan = admit(queue, [make_unit()])
        changed.notify()
    wait_until(lambda: len(plan.events) == 1)
    with changed:
        worker.stopping = "now"
        changed.notify()
    thread.join()
