"""The queue while a request is paused because its answer is not being read, and the scheduler that pauses and resumes it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Event as Gate

from antiphon.scheduling.queue import Queue
from antiphon.scheduling.scheduler import Scheduler
from antiphon.synthesis.plan import SpeakPlan
from antiphon.testing.fake import FAKE_VOICE_INFO, FakeVoice
from antiphon.types.audio import Samples
from antiphon.types.options import SpeakOptions
from tests.support.http_helpers import wait_until
from tests.support.queue_units import make_request, make_unit, make_units


def test_units_of_a_paused_request_are_not_taken_until_it_is_resumed() -> None:
    queue = Queue()
    paused, other = make_request(), make_request()
    first, second = make_units(3), make_units(2)
    queue.admit(paused, first, now=0.0)
    queue.admit(other, second, now=0.0)
    assert queue.take(1) == first[:1]

    assert not queue.set_paused(paused, True)
    assert queue.take(4) == second
    assert queue.waiting == 2
    assert not queue.finish(first[0])
    assert not queue.idle
    assert not queue.has_work(1)

    assert queue.set_paused(paused, False)
    assert not queue.set_paused(paused, False)
    assert queue.take(4) == first[1:]


def test_units_added_to_a_paused_request_wait_with_the_others() -> None:
    queue = Queue()
    request, unit, more = make_request(), make_unit(), make_unit()
    queue.admit(request, [unit], now=0.0)
    queue.take(1)
    queue.set_paused(request, True)
    queue.add(request, [more])
    assert queue.take(1) == []
    assert queue.set_paused(request, False)
    assert queue.take(1) == [more]


def test_paused_request_can_be_cancelled_and_expires() -> None:
    queue = Queue()
    request = make_request()
    queue.admit(request, make_units(2), now=0.0)
    queue.set_paused(request, True)
    assert queue.cancel(request)
    assert queue.idle
    assert not queue.set_paused(request, False)
    assert queue.take(2) == []


def make_plan(played: list[Samples], sentences: int = 20) -> SpeakPlan:
    texts = [f"Sentence {index}." for index in range(sentences)]
    return SpeakPlan(1, texts, "plain", SpeakOptions(), FAKE_VOICE_INFO.sample_rate, played.append)


def test_stalled_plan_waits_with_the_sentences_it_has_and_goes_on_when_it_is_resumed() -> None:
    played: list[Samples] = []
    voice = FakeVoice(slots=2)
    room = Gate()
    scheduler = Scheduler([voice])
    scheduler.start()
    try:
        with ThreadPoolExecutor() as pool:
            running = pool.submit(run_stalled, scheduler, make_plan(played), room)
            wait_until(lambda: voice.joined and not scheduler.in_flight)
            assert len(voice.joined) <= voice.slots
            assert scheduler.waiting == 20 - len(voice.joined)
            other: list[Samples] = []
            scheduler.run_blocking(make_plan(other))  # no other request waits for it
            assert len(other) == 20 * 2 + 19
            assert not running.done()

            room.set()
            scheduler.resume()
            running.result(30)
        assert len(played) == 20 * 2 + 19
    finally:
        scheduler.close(drain=False)


def run_stalled(scheduler: Scheduler, plan: SpeakPlan, room: Gate) -> None:
    asyncio.run(scheduler.run(plan, stalled=lambda: not room.is_set()))


def test_closing_with_drain_waits_for_a_stalled_plan() -> None:
    played: list[Samples] = []
    room = Gate()
    voice = FakeVoice(slots=2)
    scheduler = Scheduler([voice])
    scheduler.start()
    with ThreadPoolExecutor() as pool:
        running = pool.submit(run_stalled, scheduler, make_plan(played), room)
        wait_until(lambda: voice.joined and not scheduler.in_flight)
        closing = pool.submit(scheduler.close, drain=True)
        room.set()
        scheduler.resume()
        running.result(30)
        closing.result(30)
    assert len(played) == 20 * 2 + 19
