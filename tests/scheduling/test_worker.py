"""The loop on the test's own thread: what is taken, who is told, and that a failure takes only its members."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Condition, Thread

import numpy as np
import pytest

from antiphon.errors import DeadlineMissed, EngineFailed
from antiphon.scheduling.hooks import NullObserver
from antiphon.scheduling.policy import Deadline, SchedulingPolicy
from antiphon.scheduling.queue import Queue
from antiphon.scheduling.request import Job
from antiphon.scheduling.worker import Worker
from antiphon.testing.fake import FakeSession
from antiphon.types.events import Event, Failed, Finished, LanguageDetected, Window
from antiphon.types.options import TranscribeOptions


def make_unit(seconds: float = 1.0, language: str | None = "en") -> Window:
    samples = np.zeros(round(seconds * 16_000), np.float32)
    return Window(request=0, samples=samples, start=0, timestamps=False, options=TranscribeOptions(language=language))


class Listener:
    """A job that books its events and asks for one list of further units per event."""

    def __init__(self, *following: Sequence[Window]) -> None:
        self.events: list[Event] = []
        self.reasons: list[Exception] = []
        self._following = iter(following)
        self.job = Job(on_event=self._receive, on_end=self.reasons.append)

    def _receive(self, event: Event) -> Sequence[Window]:
        self.events.append(event)
        return next(self._following, ())


class Diary(NullObserver):
    """An observer that writes down what it is told of units; that times are told too is enough."""

    def __init__(self) -> None:
        self.told: list[str | tuple[str, object]] = []

    def joined(self, seconds: float) -> None:
        assert seconds >= 0
        self.told.append("joined")

    def stepped(self, units: int, seconds: float) -> None:
        assert seconds >= 0
        self.told.append(("stepped", units))

    def ended(self, *, failed: bool) -> None:
        self.told.append(("ended", "failed" if failed else "done"))


def run_dry(session: FakeSession, queue: Queue, *, joins_per_step: int = 1, observer: Diary | None = None) -> None:
    """Run the loop until the queue is idle."""
    worker = Worker(session, queue, Condition(), joins_per_step=joins_per_step)
    worker.observer = observer or worker.observer
    worker.stopping = "drained"
    worker.run()
    assert queue.idle


def test_units_are_decoded_together_and_each_told_once() -> None:
    queue = Queue()
    listeners = [Listener() for _ in range(3)]
    units = [make_unit(seconds) for seconds in (1.0, 2.0, 3.0)]
    for listener, unit in zip(listeners, units, strict=True):
        queue.admit(listener.job, [unit], now=0.0)
    session = FakeSession(slots=4)

    run_dry(session, queue, joins_per_step=3)

    assert session.batches == [3]
    for listener, unit, text in zip(listeners, units, ("1.00", "2.00", "3.00"), strict=True):
        (event,) = listener.events
        assert isinstance(event, Finished)
        assert event.unit is unit
        assert event.result.pieces[0].text == f" audio of {text} s"


def test_joins_are_rationed_even_when_nobody_decodes() -> None:
    """A newcomer must not wait for the encodes of a whole long file."""
    queue = Queue()
    queue.admit(Listener().job, [make_unit(30.0) for _ in range(3)], now=0.0)
    session = FakeSession(slots=4)
    run_dry(session, queue)
    assert session.batches == [1, 2, 3, 2, 1]  # three steps each, one joining a step


def test_a_job_with_its_answer_gives_up_the_rest() -> None:
    queue = Queue()
    left: list[Window] = []
    finished: list[bool] = []

    def receive(_event: Event) -> Sequence[Window]:
        finished.append(True)
        return ()

    job = Job(receive, lambda _reason: None, finished=lambda: bool(finished))
    units = [make_unit(), make_unit(30.0)]
    queue.admit(job, units, now=0.0)
    session = FakeSession(slots=4)
    leave = session.leave
    session.leave = lambda unit: (left.append(unit), leave(unit))[1]  # type: ignore[method-assign]
    run_dry(session, queue, joins_per_step=2)
    assert left == [units[1]]  # the unit that ended needs no leaving
    assert queue.in_flight == 0


def test_joins_are_rationed_while_others_decode() -> None:
    queue = Queue()
    listener = Listener()
    queue.admit(listener.job, [make_unit(30.0)], now=0.0)
    late = [Listener() for _ in range(3)]

    def arrive() -> None:
        for listener in late:
            if not arrived:
                queue.admit(listener.job, [make_unit(30.0)], now=0.0)
        arrived.append(True)

    arrived: list[bool] = []
    session = FakeSession(slots=4, before_step=arrive)
    run_dry(session, queue)

    assert session.batches == [1, 2, 3, 3, 2, 1]  # three steps each, one joining a step


def test_a_session_rests_once_after_a_while_without_work_and_not_before() -> None:
    queue, changed, session = Queue(), Condition(), FakeSession()
    worker = Worker(session, queue, changed, rest_after=0.01)
    thread = Thread(target=worker.run)
    thread.start()
    for work in range(1, 3):
        wait_until(lambda work=work: session.rests == work)  # type: ignore[misc]
        time.sleep(0.05)
        assert session.rests == work  # who rests needs no telling
        with changed:
            queue.admit(Listener().job, [make_unit()], now=0.0)
            changed.notify()
    wait_until(lambda: session.rests == 3)
    with changed:
        worker.stopping = "now"
        changed.notify()
    thread.join()


def test_nobody_rests_while_a_twin_works_and_both_do_after_it() -> None:
    """They share graphs, of which OpenVINO gives nothing back while one of them runs."""
    queue, changed, session = Queue(lanes=2), Condition(), FakeSession()
    worker = Worker(session, queue, changed, rest_after=0.01)
    unit = make_unit()
    queue.admit(Listener().job, [unit], now=0.0)
    queue.take(1, lane=1)
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


def test_where_joining_takes_long_a_short_request_is_decoded_before_more_join() -> None:
    """A clip of three steps beside a file: while it is in flight, nothing of the file joins."""
    joined: list[str] = []

    def count(unit: Window) -> bool:
        joined.append("clip" if unit is clip else "file")
        time.sleep(0.03)
        return False

    def arrive() -> None:
        steps.append(len(joined))
        if len(steps) == 1:
            queue.admit(replace(Listener().job, seconds=3.0), [clip], now=0.0)

    steps: list[int] = []
    queue, clip = Queue(), make_unit(30.0)
    queue.admit(replace(Listener().job, seconds=300.0), [make_unit(30.0) for _ in range(6)], now=0.0)
    run_dry(FakeSession(slots=8, join_fails=count, before_step=arrive), queue)
    assert joined == ["file", "clip", *["file"] * 5]
    assert steps[:5] == [1, 2, 2, 2, 3]  # how many had joined before each step


def test_a_file_leaves_slots_to_newcomers() -> None:
    """Windows of 30 steps, all of them far from their end when somebody comes."""
    queue, joined, clip = Queue(), [], make_unit()
    queue.admit(Listener().job, [make_unit(30.0) for _ in range(20)], now=0.0)

    def arrive() -> None:
        if len(session.batches) == 12:
            queue.admit(Listener().job, [clip], now=0.0)
        joined.append(clip in queue.flying(0))

    session = FakeSession(slots=8, seconds_per_step=1.0, before_step=arrive)
    run_dry(session, queue)
    assert max(session.batches[:12]) == 7
    assert joined[12:14] == [False, True]


def test_nobody_rests_between_two_windows() -> None:
    queue, session = Queue(), FakeSession()
    queue.admit(Listener().job, [make_unit() for _ in range(5)], now=0.0)
    run_dry(session, queue)
    assert session.rests == 0


def wait_until(told: Callable[[], bool], seconds: float = 10.0) -> None:
    limit = time.monotonic() + seconds
    while not told():
        assert time.monotonic() < limit
        time.sleep(0.005)


def test_language_is_told_before_the_result() -> None:
    queue = Queue()
    listener = Listener()
    queue.admit(listener.job, [make_unit(language=None)], now=0.0)
    run_dry(FakeSession(), queue)
    assert [type(event) for event in listener.events] == [LanguageDetected, Finished]


def test_units_asked_for_by_an_event_are_decoded() -> None:
    queue = Queue()
    more = [make_unit(2.0), make_unit(3.0)]
    listener = Listener(more)
    queue.admit(listener.job, [make_unit(1.0)], now=0.0)
    run_dry(FakeSession(), queue)
    assert [event.unit for event in listener.events][1:] == more


@pytest.mark.parametrize("where", ["join", "step"])
def test_a_failure_ends_only_its_members(where: str, caplog: pytest.LogCaptureFixture) -> None:
    queue = Queue()
    doomed, spared = Listener(), Listener()
    bad, good = make_unit(), make_unit()
    queue.admit(doomed.job, [bad], now=0.0)

    session = FakeSession(
        slots=1,
        join_fails=lambda unit: where == "join" and unit is bad,
        step_fails=lambda unit: where == "step" and unit is bad,
    )
    queue.admit(spared.job, [good], now=0.0)

    with caplog.at_level(logging.ERROR):
        run_dry(session, queue)

    (event,) = doomed.events
    assert isinstance(event, Failed)
    assert isinstance(event.error, EngineFailed)
    assert isinstance(event.error.__cause__, RuntimeError)
    assert isinstance(spared.events[0], Finished)
    assert "Traceback" in caplog.text


def test_a_failed_step_gives_every_slot_back() -> None:
    queue = Queue()
    victims = [Listener() for _ in range(3)]
    units = [make_unit() for _ in victims]
    for victim, unit in zip(victims, units, strict=True):
        queue.admit(victim.job, [unit], now=0.0)
    after = Listener()
    failures = iter([True])
    session = FakeSession(slots=3, step_fails=lambda _unit: next(failures, False))
    queue.admit(after.job, [make_unit()], now=0.0)

    run_dry(session, queue, joins_per_step=3)

    errors = [event.error for victim in victims for event in victim.events if isinstance(event, Failed)]
    assert len({id(error) for error in errors}) == 3  # each caller raises an object of its own
    assert isinstance(after.events[0], Finished)
    assert session.batches == [1]


def test_a_listener_that_fails_takes_only_its_own_job() -> None:
    queue = Queue()
    reasons: list[Exception] = []

    def broken(_event: Event) -> Sequence[Window]:
        raise KeyError("broken")

    queue.admit(Job(on_event=broken, on_end=reasons.append), [make_unit(), make_unit()], now=0.0)
    other = Listener()
    queue.admit(other.job, [make_unit()], now=0.0)
    run_dry(FakeSession(), queue)
    assert [type(reason) for reason in reasons] == [KeyError]
    assert isinstance(other.events[0], Finished)


def test_a_job_that_runs_out_of_work_is_told() -> None:
    queue = Queue()
    listener = Listener()
    queue.admit(listener.job, [make_unit()], now=0.0)
    run_dry(FakeSession(), queue)
    assert [type(reason) for reason in listener.reasons] == [EngineFailed]


def test_a_cancelled_unit_leaves_and_hears_nothing() -> None:
    queue = Queue()
    listener, other = Listener(), Listener()
    queue.admit(listener.job, [make_unit(30.0), make_unit(30.0)], now=0.0)
    queue.admit(other.job, [make_unit(30.0)], now=0.0)

    def cancel() -> None:
        queue.cancel(listener.job)

    session = FakeSession(slots=4, before_step=cancel)
    run_dry(session, queue, joins_per_step=3)
    assert listener.events == []
    assert isinstance(other.events[0], Finished)
    assert session.batches == [3, 1, 1]


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_a_late_unit_leaves_at_the_next_turn(steps: int) -> None:
    queue = Queue()
    late, other = Listener(), Listener()
    late.job = replace(late.job, terms=SchedulingPolicy(deadline=Deadline(10.0, 10.0, "x-request-timeout")))
    queue.admit(late.job, [make_unit(100.0), make_unit(100.0)], now=0.0)
    queue.admit(other.job, [make_unit(50.0)], now=0.0)
    session = FakeSession(slots=2)
    now = [0.0]
    worker = Worker(session, queue, Condition(), clock=lambda: now[0])
    for _ in range(steps):
        worker.turn()
    now[0] = 10.0
    worker.turn()
    assert [type(reason) for reason in late.reasons] == [DeadlineMissed]
    assert queue.jobs == (other.job,)
    assert session.batches[-1] == 1
    worker.stopping = "drained"
    worker.run()
    assert isinstance(other.events[0], Finished)
    assert late.events == []


def test_a_worker_must_be_allowed_to_join() -> None:
    with pytest.raises(ValueError, match="joins_per_step"):
        Worker(FakeSession(), Queue(), Condition(), joins_per_step=0)


def test_an_observer_is_told_of_joins_steps_and_ends() -> None:
    queue = Queue()
    listener = Listener()
    queue.admit(listener.job, [make_unit(language=None), make_unit(20.0)], now=0.0)
    diary = Diary()
    run_dry(FakeSession(slots=4), queue, joins_per_step=2, observer=diary)
    assert diary.told == ["joined", ("stepped", 2), ("ended", "done"), ("stepped", 1), ("ended", "done")]


def test_an_observer_is_told_of_failures_and_not_of_what_nobody_wants() -> None:
    queue = Queue()
    bad, cancelled = Listener(), Listener()
    first, second = make_unit(), make_unit()
    queue.admit(bad.job, [first], now=0.0)
    queue.admit(cancelled.job, [second], now=0.0)

    def cancel() -> None:
        queue.cancel(cancelled.job)

    diary = Diary()
    session = FakeSession(slots=4, before_step=cancel, step_fails=lambda unit: unit is first)
    run_dry(session, queue, joins_per_step=2, observer=diary)
    assert diary.told == ["joined", ("ended", "failed")]
    diary = Diary()
    queue.admit(Listener().job, [first], now=0.0)
    run_dry(FakeSession(join_fails=lambda unit: unit is first), queue, observer=diary)
    assert diary.told == [("ended", "failed")]


def test_a_job_is_told_when_its_units_get_slots() -> None:
    queue = Queue()
    taken: list[int] = []
    units = [make_unit(30.0), make_unit(30.0)]
    queue.admit(
        Job(lambda _event: (), lambda _reason: None, on_take=lambda: taken.append(queue.in_flight)), units, now=0.0
    )
    run_dry(FakeSession(slots=4), queue)
    assert taken == [1, 2]
