"""The scheduler: answers, cancellation, deadlines, closing and resting."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event as Gate
from typing import Any

import pytest

from antiphon.errors import DeadlineMissed, EngineFailed, Overloaded, Unavailable
from antiphon.scheduling.policy import DEFAULT_POLICY, Deadline, SchedulingPolicy
from antiphon.scheduling.queue import Limits
from antiphon.scheduling.request import ScheduledRequest
from antiphon.scheduling.scheduler import Scheduler
from antiphon.testing.fake import FakeSession
from antiphon.types.events import Event, Window
from tests.support.scheduling import Holder, OneUnit, RecordingHooks, running


def test_many_threads_each_get_their_own_answer() -> None:
    session = FakeSession(slots=8)
    with running(session) as scheduler, ThreadPoolExecutor(16) as pool:
        seconds = [0.5 + 0.25 * number for number in range(64)]
        answers = list(pool.map(lambda length: scheduler.run_blocking(OneUnit(length)), seconds))
    assert answers == [f" audio of {length:.2f} s" for length in seconds]


def test_requests_submitted_before_the_start_decode_as_one_batch() -> None:
    session = FakeSession(slots=8)
    scheduler = Scheduler([session], joins_per_step=5)

    async def main() -> list[str]:
        tasks = [asyncio.create_task(scheduler.run(OneUnit(1.0))) for _ in range(5)]
        await asyncio.sleep(0)  # let each task submit its request
        scheduler.start()
        return await asyncio.gather(*tasks)

    assert asyncio.run(main()) == [" audio of 1.00 s"] * 5
    assert session.batches == [5]
    scheduler.close()


def test_cancelling_the_task_cancels_its_work() -> None:
    hold = Holder()
    session = FakeSession(slots=1, before_step=hold)

    async def main(scheduler: Scheduler) -> str:
        active = asyncio.create_task(scheduler.run(OneUnit(300.0)))
        await asyncio.to_thread(hold.reached.wait, 60)
        waiting = asyncio.create_task(scheduler.run(OneUnit(2.0)))
        queued = asyncio.create_task(scheduler.run(OneUnit(3.0)))
        await asyncio.sleep(0)
        active.cancel()
        queued.cancel()
        for task in (active, queued):
            with pytest.raises(asyncio.CancelledError):
                await task
        hold.go_on.set()
        return await waiting

    with running(session) as scheduler:
        assert asyncio.run(main(scheduler)) == " audio of 2.00 s"
        scheduler.close(drain=True)
    assert len(session.batches) < 30  # the first unit alone would have taken thirty steps


def test_cancelling_while_a_unit_is_encoded_frees_its_slot_before_a_step() -> None:
    hold = Holder()

    class Slow(FakeSession):
        def join(self, units: Sequence[Window]) -> list[Event]:
            hold()
            return super().join(units)

        def leave(self, unit: Window) -> None:
            super().leave(unit)
            left.set()

    left = Gate()
    session = Slow(slots=1)

    async def main(scheduler: Scheduler) -> None:
        task = asyncio.create_task(scheduler.run(OneUnit(300.0)))
        await asyncio.to_thread(hold.reached.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        hold.go_on.set()
        assert await asyncio.to_thread(left.wait, 60)

    with running(session) as scheduler:
        asyncio.run(main(scheduler))
        assert session.batches == []
        assert scheduler.run_blocking(OneUnit(2.0)) == " audio of 2.00 s"


def soon(seconds: float = 0.05) -> SchedulingPolicy:
    return SchedulingPolicy(deadline=Deadline(time.monotonic() + seconds, seconds, "x-request-timeout"))


@pytest.mark.parametrize("waiting", [True, False])
def test_missed_deadline_ends_the_request_and_frees_its_slot(waiting: bool) -> None:
    """Whether it waits for a slot or has one; a request without a deadline goes on."""
    hold = Holder()  # no throughput is measured while it blocks, or a slow machine would refuse at once
    session = FakeSession(
        slots=1 + (not waiting), seconds_per_step=0.001, before_step=lambda: hold() or time.sleep(0.001)
    )
    with running(session) as scheduler, ThreadPoolExecutor(2) as pool:
        patient = pool.submit(scheduler.run_blocking, OneUnit(1.0))
        assert hold.reached.wait(60)
        late = scheduler_accepts(scheduler, OneUnit(100.0), pool.submit, soon(0.5))
        hold.go_on.set()
        with pytest.raises(DeadlineMissed, match=r"within the 0\.5 s that x-request-timeout allows"):
            late.result(60)
        assert patient.result(60) == " audio of 1.00 s"
        assert asyncio.run(scheduler.run(OneUnit(0.01), soon(60.0))) == " audio of 0.01 s"
    assert session.join([OneUnit(1.0).unit]) == []  # no slot is taken


def test_full_queue_raises_overloaded_in_the_callers_thread() -> None:
    hold = Holder()
    with (
        running(FakeSession(slots=1, before_step=hold), limits=Limits(units=1)) as scheduler,
        ThreadPoolExecutor(2) as pool,
    ):
        first = pool.submit(scheduler.run_blocking, OneUnit(1.0))
        assert hold.reached.wait(60)
        second = scheduler_accepts(scheduler, OneUnit(2.0), pool.submit)
        with pytest.raises(Overloaded):
            scheduler.run_blocking(OneUnit(3.0))
        hold.go_on.set()
        assert first.result(60) == " audio of 1.00 s"
        assert second.result(60) == " audio of 2.00 s"


def scheduler_accepts(
    scheduler: Scheduler, plan: OneUnit, submit: Callable[..., Any], policy: SchedulingPolicy = DEFAULT_POLICY
) -> Any:
    """Run a plan in another thread; returns once it is in the queue."""
    entered = Gate()
    admit = scheduler.submit

    def submit_and_set(request: ScheduledRequest) -> None:
        admit(request)
        entered.set()

    scheduler.submit = submit_and_set  # type: ignore[method-assign]
    future = submit(scheduler.run_blocking, plan, policy)
    assert entered.wait(60)
    scheduler.submit = admit  # type: ignore[method-assign]
    return future


def test_closing_with_drain_finishes_admitted_requests() -> None:
    hold = Holder()
    scheduler = Scheduler([FakeSession(slots=1, before_step=hold)])
    scheduler.start()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(scheduler.run_blocking, OneUnit(1.0))
        assert hold.reached.wait(60)
        second = scheduler_accepts(scheduler, OneUnit(2.0), pool.submit)
        closing = pool.submit(scheduler.close, drain=True)
        hold.go_on.set()
        closing.result(60)
        assert first.result(60) == " audio of 1.00 s"
        assert second.result(60) == " audio of 2.00 s"
    with pytest.raises(Unavailable):
        scheduler.run_blocking(OneUnit(1.0))


def test_closing_without_drain_fails_waiting_and_active_requests() -> None:
    hold = Holder()
    session = FakeSession(slots=1, before_step=hold)
    scheduler = Scheduler([session])
    scheduler.start()
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(scheduler.run_blocking, OneUnit(300.0))
        assert hold.reached.wait(60)
        second = scheduler_accepts(scheduler, OneUnit(2.0), pool.submit)
        closing = pool.submit(scheduler.close, drain=False)
        hold.go_on.set()
        closing.result(60)
        for future in (first, second):
            with pytest.raises(Unavailable):
                future.result(60)
    assert session.join([OneUnit(1.0).unit]) == []  # the slot was freed


def test_closing_before_the_start_fails_waiting_requests() -> None:
    scheduler = Scheduler([FakeSession()])
    with ThreadPoolExecutor(1) as pool:
        future = scheduler_accepts(scheduler, OneUnit(1.0), pool.submit)
        scheduler.close()
        with pytest.raises(Unavailable):
            future.result(60)


def test_engine_failure_is_raised_in_its_caller_and_the_next_request_works() -> None:
    doomed = OneUnit(1.0)
    with running(FakeSession(join_fails=lambda unit: unit is doomed.unit)) as scheduler:
        with pytest.raises(EngineFailed) as failed:
            scheduler.run_blocking(doomed)
        assert str(failed.value.__cause__) == "scripted failure of join"
        assert scheduler.run_blocking(OneUnit(2.0)) == " audio of 2.00 s"
        assert (scheduler.waiting, scheduler.in_flight) == (0, 0)


def test_plan_that_is_done_at_the_start_needs_no_worker() -> None:
    plan = OneUnit(1.0)
    plan.answer = "nothing to do"
    assert Scheduler([FakeSession()]).run_blocking(plan) == "nothing to do"


WAITS, WORKS = "ovms_wait_for_infer_req_time_us", "ovms_inference_time_us"


def test_hooks_record_how_long_a_request_waits_and_works() -> None:
    hooks, hold = RecordingHooks(), Holder()
    with (
        running(FakeSession(slots=1, before_step=hold), hooks=hooks) as scheduler,
        ThreadPoolExecutor(2) as pool,
    ):
        first = pool.submit(scheduler.run_blocking, OneUnit(1.0))
        assert hold.reached.wait(60)
        second = scheduler_accepts(scheduler, OneUnit(1.0), pool.submit)
        time.sleep(0.05)  # one works and the other waits: there is one slot
        hold.go_on.set()
        assert [answer.result(60).strip() for answer in (first, second)] == ["audio of 1.00 s"] * 2
    assert len(hooks.values(WAITS)) == len(hooks.values(WORKS)) == 2
    assert hooks.values(WAITS)[1] >= 0.045
    assert hooks.values(WORKS)[0] >= 0.045


def test_hooks_record_refusals_but_not_looks_at_full() -> None:
    hooks = RecordingHooks()
    scheduler = Scheduler([FakeSession()], limits=Limits(requests=1, seconds=0.0), hooks=hooks)
    with pytest.raises(Overloaded):
        scheduler.run_blocking(OneUnit(1.0))
    assert scheduler.full
    scheduler.close()
    assert hooks.records == [("antiphon_refused_total", 1.0, "seconds")]


def test_session_that_rests_blocks_neither_full_nor_submit() -> None:
    """`rest` can take long, and the event loop calls `full`, `permit` and `submit`."""
    hold = Holder()

    class SlowRest(FakeSession):
        def rest(self) -> None:
            super().rest()
            hold()

    session = SlowRest()
    scheduler = Scheduler([session], rest_after_s=0.01)
    scheduler.start()
    with ThreadPoolExecutor(2) as pool:
        assert hold.reached.wait(60)
        try:
            assert pool.submit(lambda: scheduler.full).result(10) is False
            answer = scheduler_accepts(scheduler, OneUnit(1.0), pool.submit)
            assert (scheduler.waiting, session.batches) == (1, [])  # no unit joins before the rest is over
        finally:
            hold.go_on.set()
        assert answer.result(60) == " audio of 1.00 s"
    scheduler.close()
    assert session.rests >= 1


def test_permit_counts_until_it_is_released() -> None:
    scheduler = Scheduler([FakeSession()], limits=Limits(requests=1))
    with scheduler.permit():
        assert scheduler.full
        with pytest.raises(Overloaded), scheduler.permit():
            pass
        with pytest.raises(Overloaded):
            scheduler.check_room()
    with pytest.raises(ZeroDivisionError), scheduler.permit():
        raise ZeroDivisionError
    assert not scheduler.full
    scheduler.close()
    assert scheduler.full
    with pytest.raises(Unavailable), scheduler.permit():
        pass


@pytest.mark.parametrize("started", [True, False])
def test_cancelled_request_records_its_work_if_it_had_a_slot(started: bool) -> None:
    hooks = RecordingHooks()
    inside, go_on = Gate(), Gate()

    def hold() -> None:
        inside.set()
        assert go_on.wait(30)

    async def cancel() -> None:
        task = asyncio.create_task(scheduler.run(OneUnit(1.0)))
        if started:
            await asyncio.to_thread(inside.wait, 30)
        else:
            await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    scheduler = Scheduler([FakeSession(before_step=hold)], hooks=hooks)
    if started:
        scheduler.start()
    asyncio.run(cancel())
    go_on.set()
    scheduler.close(drain=False)
    assert len(hooks.values(WAITS)) == len(hooks.values(WORKS)) == int(started)


def test_worker_threads_end_before_the_process_does() -> None:
    """A thread inside OpenVINO at interpreter exit aborts the process; here such a thread would be listed as alive."""
    script = (
        "import atexit, threading\n"
        "atexit.register(lambda: print([thread.name for thread in threading.enumerate()]))\n"  # the last to be called
        "from antiphon.testing.fake import FakeSession\n"
        "from antiphon.scheduling.scheduler import Scheduler\n"
        "for name in ('one', 'two'):\n"
        "    Scheduler([FakeSession(name)]).start()\n"
        "print([thread.name for thread in threading.enumerate()])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["['MainThread', 'antiphon-one', 'antiphon-two']", "['MainThread']"]
