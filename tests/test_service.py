"""The door: names, whole requests on the fake, and many callers at once."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event as Gate

import numpy as np
import pytest

from antiphon.errors import (
    DeadlineMissed,
    EngineFailed,
    InvalidAudio,
    InvalidParameter,
    ModelNotFound,
    Overloaded,
    Unavailable,
)
from antiphon.models.session import AnySession
from antiphon.scheduling.policy import Deadline, SchedulingPolicy
from antiphon.service import SPEECH_ALIASES, TRANSCRIPTION_ALIASES, SpeechService
from antiphon.telemetry import Telemetry
from antiphon.testing.fake import FakeSession, FakeVoice
from antiphon.types.audio import Samples
from antiphon.types.options import SpeakOptions, TranscribeOptions, VadOptions
from antiphon.types.results import Piece, WindowResult
from tests.support.speech_map import SOUND, SPEECH, Knowing, Map

PLAIN = TranscribeOptions()
LOUD = TranscribeOptions(vad=VadOptions("energy"))  # long noise is no speech otherwise


def speech(seconds: float) -> Samples:
    return (np.random.default_rng(0).standard_normal(round(seconds * 16_000)) * 0.1).astype(np.float32)


@contextmanager
def serving(*sessions: AnySession) -> Iterator[SpeechService]:
    service = SpeechService()
    for session in sessions:
        service.load(session)
    try:
        yield service
    finally:
        service.close(drain=False)


@contextmanager
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


def test_names() -> None:
    with serving(FakeSession("fake"), FakeSession("alpha"), FakeSession("whisper-1")) as service:
        assert [info.name for info in service.info()] == ["fake", "alpha", "whisper-1"]
        assert service.resolve("alpha").name == "alpha"
        assert service.resolve("whisper-1").name == "whisper-1"  # a model that really has this name
        for name in (None, "", *TRANSCRIPTION_ALIASES - {"whisper-1"}):
            assert service.resolve(name).name == "fake"
        with pytest.raises(ModelNotFound, match="fake, alpha"):
            service.resolve("whisper-2")
        with pytest.raises(ValueError, match="already"):
            service.load(FakeSession("alpha"))


def test_each_job_has_a_default_of_its_own() -> None:
    with serving(FakeVoice(), FakeSession()) as service:
        assert {service.resolve(name).name for name in (None, *TRANSCRIPTION_ALIASES)} == {"fake"}
        assert {service.resolve(name, "speak").name for name in (None, *SPEECH_ALIASES)} == {"fake-voice"}
        assert service.resolve("tts-1").name == "fake-voice"
        with pytest.raises(InvalidParameter, match="fake-voice' cannot transcribe"):
            service.transcribe_blocking(speech(1.0), "tts-1", PLAIN)
        with pytest.raises(InvalidParameter, match="fake' cannot speak"):
            service.speak_blocking("hello", "whisper-1", SpeakOptions())
    with serving(FakeSession()) as service, pytest.raises(InvalidParameter, match="Served: fake"):
        service.resolve(None, "speak")


def test_before_anything_is_loaded() -> None:
    with pytest.raises(Unavailable):
        SpeechService().resolve(None)
    with pytest.raises(ModelNotFound, match="Served: none"):
        SpeechService().resolve("x")


def test_a_model_that_leaves_finishes_what_it_was_asked() -> None:
    reached, go_on = Gate(), Gate()

    def hold() -> None:
        reached.set()
        assert go_on.wait(60)

    with serving(FakeSession("stays"), FakeSession("leaves", slots=1, before_step=hold)) as service, pool() as threads:
        asked = [threads.submit(service.transcribe_blocking, speech(1.0), "leaves", PLAIN) for _ in range(3)]
        assert reached.wait(60)
        while sum(load.waiting + load.in_flight for load in service.loads()) < 3:
            time.sleep(0.001)
        drain = service.withdraw("leaves")
        with pytest.raises(ModelNotFound, match="Served: stays"):
            service.transcribe_blocking(speech(1.0), "leaves", PLAIN)
        assert [info.name for info in service.info()] == ["stays"]
        drained = threads.submit(drain)
        assert not drained.done()
        go_on.set()
        drained.result(60)
        assert [answer.result(60).text for answer in asked] == ["audio of 1.00 s"] * 3
        service.load(FakeSession("leaves"))
        assert service.transcribe_blocking(speech(2.0), "leaves", PLAIN).text == "audio of 2.00 s"


def test_a_model_that_has_left_is_forgotten() -> None:
    session = FakeSession("leaves")
    gone = weakref.ref(session)
    with serving(FakeSession("stays")) as service:
        service.load(session)
        service.transcribe_blocking(speech(1.0), "leaves", PLAIN)
        service.withdraw("leaves")()
        del session
        gc.collect()
        assert gone() is None


def test_a_model_that_is_replaced_loses_nobody() -> None:
    reached, go_on = Gate(), Gate()

    def hold() -> None:
        reached.set()
        assert go_on.wait(60)

    new = FakeSession("fake")
    with serving(FakeSession("fake", before_step=hold), FakeSession("other")) as service, pool() as threads:
        asked = threads.submit(service.transcribe_blocking, speech(1.0), "fake", PLAIN)
        assert reached.wait(60)
        drain = service.replace(new)
        assert service.transcribe_blocking(speech(2.0), None, PLAIN).text == "audio of 2.00 s"  # still the default
        assert new.batches
        assert not asked.done()
        go_on.set()
        assert asked.result(60).text == "audio of 1.00 s"
        drain()


def test_closing_waits_for_a_model_that_leaves() -> None:
    reached, go_on = Gate(), Gate()

    def hold() -> None:
        reached.set()
        assert go_on.wait(60)

    with serving(FakeSession("leaves", before_step=hold)) as service, pool() as threads:
        asked = threads.submit(service.transcribe_blocking, speech(1.0), "leaves", PLAIN)
        assert reached.wait(60)
        service.withdraw("leaves")
        closed = threads.submit(service.close)
        assert not closed.done()
        go_on.set()
        closed.result(60)
        assert asked.result(60).text == "audio of 1.00 s"
        with pytest.raises(Unavailable, match="shutting down"):
            service.load(FakeSession("late"))


def test_each_model_answers_for_itself() -> None:
    slow, quick = FakeSession("fake"), FakeSession("quick")
    with serving(slow, quick) as service:
        assert service.transcribe_blocking(speech(1.5), "quick", PLAIN).text == "audio of 1.50 s"
    assert (slow.batches, quick.batches) == ([], [1])


def test_many_threads_each_get_their_own_answer() -> None:
    session = FakeSession(slots=8)
    lengths = [0.5 + 0.5 * number for number in range(40)]
    with serving(session) as service, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda length: service.transcribe_blocking(speech(length), None, PLAIN), lengths))
        assert [answer.text for answer in answers] == [f"audio of {length:.2f} s" for length in lengths]
        assert [(load.waiting, load.in_flight, load.slots) for load in service.loads()] == [(0, 0, 8)]
    assert max(session.batches) > 1


def test_many_tasks_with_long_and_short_files() -> None:
    lengths = [95.0, 1.0, 40.0, 2.0, 65.0]

    async def main(service: SpeechService) -> list[float]:
        heard = await asyncio.gather(*(service.transcribe(speech(length), None, LOUD) for length in lengths))
        assert {transcript.language for transcript in heard} == {"en"}
        return [transcript.segments[-1].end for transcript in heard]

    with serving(FakeSession(slots=4)) as service:
        assert asyncio.run(main(service)) == lengths


def test_what_nobody_said_is_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file that was searched for a voice; a model makes words of the music in it."""
    file = Map([(SPEECH, 50), (SOUND, 40), (SPEECH, 50)])
    pieces = (Piece(0.0, 8.0, " she told me a story" * 2, (1,)), Piece(9.0, 13.0, " thank you", (2,)))
    session = FakeSession(script=lambda _unit: WindowResult("en", pieces, (1, 2), 30.0, -0.3, 0.0, 0.0))
    telemetry = Telemetry()
    for mode, counted in (("always", 1.0), ("energy", 1.0)):
        with serving(session) as service:
            monkeypatch.setattr(service, "_detectors", Knowing())
            service.observe(telemetry.model)
            options = TranscribeOptions(language="en", timestamps=True, vad=VadOptions(mode))  # type: ignore[arg-type]
            heard = service.transcribe_blocking(file, None, options)
        assert ("thank you" in heard.text) == (mode == "energy")
        assert f'antiphon_segments_dropped_total{{name="fake"}} {counted}' in telemetry.render([])


def test_progress_reaches_the_end() -> None:
    told: list[tuple[float, float]] = []
    with serving(FakeSession()) as service:
        service.transcribe_blocking(speech(70.0), None, LOUD, lambda done, total: told.append((done, total)))
    assert [done for done, _total in told] == [30.0, 60.0, 70.0]


def test_a_failing_window_fails_its_request_only() -> None:
    session = FakeSession(join_fails=lambda unit: unit.start > 0)
    with serving(session) as service:
        with pytest.raises(EngineFailed):
            service.transcribe_blocking(speech(70.0), None, LOUD)
        assert service.transcribe_blocking(speech(1.0), None, PLAIN).text == "audio of 1.00 s"


def test_cancelling_a_request_frees_its_slots() -> None:
    reached, go_on = Gate(), Gate()

    def hold() -> None:
        reached.set()
        assert go_on.wait(60)

    session = FakeSession(slots=1, before_step=hold)

    async def main(service: SpeechService) -> str:
        left = asyncio.create_task(service.transcribe(speech(600.0), None, LOUD))
        await asyncio.to_thread(reached.wait, 60)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        go_on.set()
        return (await service.transcribe(speech(2.0), None, PLAIN)).text

    with serving(session) as service:
        assert asyncio.run(main(service)) == "audio of 2.00 s"
    assert len(session.batches) <= 2


def test_bad_requests_never_reach_the_model() -> None:
    session = FakeSession()
    with serving(session) as service:
        with pytest.raises(InvalidAudio, match="no samples"):
            service.transcribe_blocking(speech(0.0), None, PLAIN)
        with pytest.raises(InvalidParameter):
            service.transcribe_blocking(speech(1.0), None, TranscribeOptions(language="xx"))
        with pytest.raises(ModelNotFound):
            asyncio.run(service.transcribe(speech(1.0), "nobody", PLAIN))
    assert session.batches == []


def test_each_model_has_places_of_its_own() -> None:
    service = SpeechService(max_requests=1)
    for session in (FakeSession("first"), FakeSession("second"), FakeVoice("voice")):
        service.load(session)
    with service.permit("first", "transcribe"):
        service.check_room("transcribe")  # there is the second, and nobody has said yet which one is meant
        with pytest.raises(Overloaded, match="1 requests"), service.permit("whisper-1", "transcribe"):
            pass
        with service.permit("second", "transcribe"):
            with pytest.raises(Overloaded):
                service.check_room("transcribe")
            service.check_room("speak")
        with service.permit("nobody", "transcribe"):
            pass  # the name is wrong, which is told in its turn
    with service.permit("first", "translate"):
        pass
    service.close()


def test_a_voice_counts_those_who_listen() -> None:
    service = SpeechService(max_requests=1)
    service.load(FakeVoice(chunks=50, before_step=lambda: time.sleep(0.001)))

    async def main() -> None:
        speaking = service.speak("It goes on and on.", None, SpeakOptions())
        await anext(speaking)
        with pytest.raises(Overloaded):
            await anext(service.speak("One.", None, SpeakOptions()))
        await speaking.aclose()
        assert [len(each) async for each in service.speak("One.", None, SpeakOptions())]

    asyncio.run(main())
    service.close()


def test_the_terms_reach_the_queue() -> None:
    """For files and for texts: both are too late here before they begin."""
    late = SchedulingPolicy(deadline=Deadline(time.monotonic(), 0.5, "x-request-timeout"))

    async def main(service: SpeechService) -> None:
        with pytest.raises(DeadlineMissed):
            await service.transcribe(speech(1.0), None, PLAIN, terms=late)
        with pytest.raises(DeadlineMissed):
            await anext(service.speak("One.", None, SpeakOptions(), late))

    with serving(FakeSession(), FakeVoice()) as service:
        asyncio.run(main(service))


def test_after_closing_nothing_is_taken() -> None:
    with serving(FakeSession()) as service:
        service.close(drain=True)
        with pytest.raises(Unavailable):
            service.transcribe_blocking(speech(1.0), None, PLAIN)


def test_many_texts_at_once_each_in_its_own_order() -> None:
    texts = [f"{'So ' * count}it is. Then it is {'not ' * count}so." for count in range(12)]

    async def listen(service: SpeechService, text: str) -> list[float]:
        return [float(samples.sum()) async for samples in service.speak(text, None, SpeakOptions())]

    async def main(service: SpeechService) -> list[list[float]]:
        return await asyncio.gather(*(listen(service, text) for text in texts))

    with serving(FakeVoice(slots=3)) as service:
        heard = asyncio.run(main(service))
        wholes = [float(service.speak_blocking(text, None, SpeakOptions()).sum()) for text in texts]
    assert [sum(pieces) for pieces in heard] == wholes
    assert all(len(pieces) == 5 for pieces in heard)  # two chunks a sentence, and the pause


def test_a_listener_who_stops_frees_its_slots() -> None:
    steps: list[int] = []
    go_on = Gate()

    def hold() -> None:
        steps.append(1)
        if len(steps) == 2:
            assert go_on.wait(60)

    voice = FakeVoice(slots=1, chunks=50, before_step=hold)

    async def main(service: SpeechService) -> None:
        speaking = service.speak("It goes on and on.", None, SpeakOptions())
        await anext(speaking)
        await speaking.aclose()
        go_on.set()

    with serving(voice) as service:
        asyncio.run(main(service))
        assert service.speak_blocking("One.", None, SpeakOptions()).any()
        assert [unit.text for unit in voice.left] == ["It goes on and on."]


def test_a_voice_that_fails() -> None:
    with serving(FakeVoice(step_fails=lambda _unit: True)) as service:
        with pytest.raises(EngineFailed):
            service.speak_blocking("hello", None, SpeakOptions())

        async def main() -> None:
            with pytest.raises(EngineFailed):
                async for _ in service.speak("hello", None, SpeakOptions()):
                    pass

        asyncio.run(main())
