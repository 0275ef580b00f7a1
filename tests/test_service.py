"""Admission, and whole requests on the fake model, many at once."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event as Gate
from typing import Any

import numpy as np
import pytest

from antiphon.errors import (
    DeadlineMissed,
    EngineFailed,
    InvalidAudio,
    InvalidParameter,
    ModelNotFound,
    Overloaded,
    RequestError,
    Unavailable,
)
from antiphon.scheduling.policy import Deadline, SchedulingPolicy
from antiphon.scheduling.queue import Limits
from antiphon.service import SpeakRequest, SpeechService, TranscribeRequest
from antiphon.telemetry import Telemetry
from antiphon.testing.fake import FAKE_INFO, FakeSession, FakeVoice
from antiphon.types.audio import Samples
from antiphon.types.options import SpeakOptions, TranscribeOptions, VadOptions
from antiphon.types.results import Piece, WindowResult
from tests.support.service import serving, speak, speak_async, transcribe, transcribe_async
from tests.support.speech_map import SOUND, SPEECH, Map, MapDetectors

PLAIN = TranscribeOptions()
LOUD = TranscribeOptions(vad=VadOptions("energy"))  # VAD would drop long noise


def speech(seconds: float) -> Samples:
    return (np.random.default_rng(0).standard_normal(round(seconds * 16_000)) * 0.1).astype(np.float32)


def test_named_model_runs_the_request() -> None:
    slow, quick = FakeSession("fake"), FakeSession("quick")
    with serving(slow, quick) as service:
        assert transcribe(service, speech(1.5), PLAIN, "quick").text == "audio of 1.50 s"
    assert (slow.batches, quick.batches) == ([], [1])


def test_concurrent_threads_get_their_own_transcripts() -> None:
    session = FakeSession(slots=8)
    lengths = [0.5 + 0.5 * number for number in range(40)]
    with serving(session) as service, ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda length: transcribe(service, speech(length), PLAIN), lengths))
        assert [answer.text for answer in answers] == [f"audio of {length:.2f} s" for length in lengths]
        assert [(load.waiting, load.in_flight, load.slots) for load in service.models.loads()] == [(0, 0, 8)]
    assert max(session.batches) > 1


def test_concurrent_tasks_with_long_and_short_files() -> None:
    lengths = [95.0, 1.0, 40.0, 2.0, 65.0]

    async def main(service: SpeechService) -> list[float]:
        outcomes = await asyncio.gather(*(transcribe_async(service, speech(length), LOUD) for length in lengths))
        assert {transcript.language for transcript in outcomes} == {"en"}
        return [transcript.segments[-1].end for transcript in outcomes]

    with serving(FakeSession(slots=4)) as service:
        assert asyncio.run(main(service)) == lengths


def test_hallucinations_without_voice_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a file that was scanned by VAD; the model hallucinates words in its music."""
    file = Map([(SPEECH, 50), (SOUND, 40), (SPEECH, 50)])
    pieces = (Piece(0.0, 8.0, " she told me a story" * 2, (1,)), Piece(9.0, 13.0, " thank you", (2,)))
    session = FakeSession(script=lambda _unit: WindowResult("en", pieces, (1, 2), 30.0, -0.3, 0.0, 0.0))
    telemetry = Telemetry()
    for mode, counted in (("always", 1.0), ("energy", 1.0)):
        with serving(session, hooks=telemetry.model) as service:
            monkeypatch.setattr(service, "_detectors", MapDetectors())
            options = TranscribeOptions(language="en", timestamps=True, vad=VadOptions(mode))  # type: ignore[arg-type]
            outcomes = transcribe(service, file, options)
        assert ("thank you" in outcomes.text) == (mode == "energy")
        assert f'antiphon_segments_dropped_total{{name="fake"}} {counted}' in telemetry.render([])


def test_progress_is_reported_to_the_end() -> None:
    progress_calls: list[tuple[float, float]] = []
    with serving(FakeSession()) as service:
        transcribe(service, speech(70.0), LOUD, progress=lambda done, total: progress_calls.append((done, total)))
    assert [done for done, _total in progress_calls] == [30.0, 60.0, 70.0]


def test_failing_window_fails_only_its_request() -> None:
    session = FakeSession(join_fails=lambda unit: unit.start > 0)
    with serving(session) as service:
        with pytest.raises(EngineFailed):
            transcribe(service, speech(70.0), LOUD)
        assert transcribe(service, speech(1.0), PLAIN).text == "audio of 1.00 s"


def test_cancelling_a_request_frees_its_slots() -> None:
    reached, go_on = Gate(), Gate()

    def hold() -> None:
        reached.set()
        assert go_on.wait(60)

    session = FakeSession(slots=1, before_step=hold)

    async def main(service: SpeechService) -> str:
        left = asyncio.create_task(transcribe_async(service, speech(600.0), LOUD))
        await asyncio.to_thread(reached.wait, 60)
        left.cancel()
        with pytest.raises(asyncio.CancelledError):
            await left
        go_on.set()
        return (await transcribe_async(service, speech(2.0), PLAIN)).text

    with serving(session) as service:
        assert asyncio.run(main(service)) == "audio of 2.00 s"
    assert len(session.batches) <= 2


def test_invalid_requests_never_reach_the_model() -> None:
    session = FakeSession()
    with serving(session) as service:
        with pytest.raises(InvalidAudio, match="no samples"):
            transcribe(service, speech(0.0), PLAIN)
        with pytest.raises(InvalidParameter):
            transcribe(service, speech(1.0), TranscribeOptions(language="xx"))
        with pytest.raises(ModelNotFound):
            asyncio.run(transcribe_async(service, speech(1.0), PLAIN, "unknown"))
    assert session.batches == []


def test_permits_are_counted_per_model() -> None:
    sessions = (FakeSession("first"), FakeSession("second"), FakeVoice("voice"))
    with serving(*sessions, limits=Limits(requests=1)) as service:
        with service.admit(TranscribeRequest("first", PLAIN)):
            service.models.check_room("transcribe")  # "second" has room, and the request may name it
            with pytest.raises(Overloaded, match="1 requests"), service.admit(TranscribeRequest("whisper-1", PLAIN)):
                pass
            with service.admit(TranscribeRequest("second", PLAIN)):
                with pytest.raises(Overloaded):
                    service.models.check_room("transcribe")
                service.models.check_room("speak")
        with service.admit(TranscribeRequest("first", replace(PLAIN, task="translate"))):
            pass


REFUSED = [
    (TranscribeRequest("unknown", PLAIN), ModelNotFound, "model"),
    (TranscribeRequest("voice", PLAIN), InvalidParameter, "model"),
    (TranscribeRequest("ears", replace(PLAIN, language="xx")), InvalidParameter, "language"),
    (TranscribeRequest("ears", replace(PLAIN, temperature=2.0)), InvalidParameter, "temperature"),
    (TranscribeRequest("ears", replace(PLAIN, words=True)), InvalidParameter, "timestamp_granularities"),
    (TranscribeRequest("ears", replace(PLAIN, task="translate")), InvalidParameter, "model"),
    (SpeakRequest("unknown", "Hello.", SpeakOptions()), ModelNotFound, "model"),
    (SpeakRequest("ears", "Hello.", SpeakOptions()), InvalidParameter, "model"),
    (SpeakRequest("voice", "Hello.", SpeakOptions(voice="bob")), InvalidParameter, "voice"),
    (SpeakRequest("voice", "Hello.", SpeakOptions(speed=9.0)), InvalidParameter, "speed"),
    (SpeakRequest("voice", "Hello.", SpeakOptions(speed=float("nan"))), InvalidParameter, "speed"),
    (SpeakRequest("voice", "Hello.", SpeakOptions(seed=-1)), InvalidParameter, "seed"),
    (SpeakRequest("voice", "x" * 20_001, SpeakOptions()), InvalidParameter, "input"),
]


@pytest.mark.parametrize(("request_", "error", "param"), REFUSED)
def test_admission_refuses_what_the_model_cannot_do(request_: Any, error: type[RequestError], param: str) -> None:
    """Before any sample exists, and without a permit: the next request finds the one place free."""
    info = replace(FAKE_INFO, no_word_times_reason="start the server with word timestamps", tasks=("transcribe",))
    with serving(FakeSession("ears", info=info), FakeVoice("voice"), limits=Limits(requests=1)) as service:
        with pytest.raises(error) as caught, service.admit(request_):
            pass
        assert caught.value.param == param
        with (
            service.admit(TranscribeRequest("ears", PLAIN)),
            service.admit(SpeakRequest("voice", "Hi.", SpeakOptions())),
        ):
            pass


def test_reload_during_a_request_keeps_permit_and_work_on_one_scheduler() -> None:
    old, new = FakeSession("fake"), FakeSession("fake")
    names: list[str] = []
    with serving(old, limits=Limits(requests=1)) as service:
        request = TranscribeRequest("fake", PLAIN)
        with service.admit(request, on_model=lambda info: names.append(info.name)) as admitted:
            service.models.replace(new)
            with service.admit(request):  # the new scheduler has its own limit
                assert admitted.transcribe_blocking(speech(1.0)).text == "audio of 1.00 s"
        assert (old.batches, new.batches, names) == ([1], [], ["fake"])


def test_one_lookup_per_request(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(FakeSession(), FakeVoice()) as service:
        lookups: list[str | None] = []
        find = service.models._find
        monkeypatch.setattr(service.models, "_find", lambda name, task: (lookups.append(name), find(name, task))[1])
        transcribe(service, speech(1.0), PLAIN, "fake")
        speak(service, "Hello.", SpeakOptions(), "fake-voice")
        asyncio.run(transcribe_async(service, speech(1.0), PLAIN, "whisper-1"))
        assert lookups == ["fake", "fake-voice", "whisper-1"]


@pytest.mark.parametrize("speed", [0.5, 2.0])
def test_speed_changes_the_duration(speed: float) -> None:
    text = "This is a sentence of fifty characters, and it is."

    async def seconds(service: SpeechService) -> float:
        pieces = [piece async for piece in speak_async(service, text, SpeakOptions(speed=speed))]
        assert all(map(len, pieces))
        return sum(map(len, pieces)) / FakeVoice().info.sample_rate

    with serving(FakeVoice()) as service:
        whole = speak(service, text, SpeakOptions(speed=speed))
        assert len(whole) / FakeVoice().info.sample_rate == pytest.approx(0.5 / speed, abs=1e-3)
        assert asyncio.run(seconds(service)) == pytest.approx(0.5 / speed, abs=1e-3)


def test_speech_holds_its_permit_until_the_iterator_is_closed() -> None:
    voice = FakeVoice(chunks=50, before_step=lambda: time.sleep(0.001))

    async def main(service: SpeechService) -> None:
        speaking = speak_async(service, "It goes on and on.", SpeakOptions())
        await anext(speaking)
        with pytest.raises(Overloaded):
            await anext(speak_async(service, "One.", SpeakOptions()))
        await speaking.aclose()
        assert [len(each) async for each in speak_async(service, "One.", SpeakOptions())]

    with serving(voice, limits=Limits(requests=1)) as service:
        asyncio.run(main(service))


def test_deadline_reaches_the_scheduler() -> None:
    late = SchedulingPolicy(deadline=Deadline(time.monotonic(), 0.5, "x-request-timeout"))

    async def main(service: SpeechService) -> None:
        with pytest.raises(DeadlineMissed):
            await transcribe_async(service, speech(1.0), PLAIN, policy=late)
        with pytest.raises(DeadlineMissed):
            await anext(speak_async(service, "One.", SpeakOptions(), late))

    with serving(FakeSession(), FakeVoice()) as service:
        asyncio.run(main(service))


def test_request_after_close_is_unavailable() -> None:
    with serving(FakeSession()) as service:
        service.models.close(drain=True)
        with pytest.raises(Unavailable):
            transcribe(service, speech(1.0), PLAIN)


def test_concurrent_texts_keep_their_sentence_order() -> None:
    texts = [f"{'So ' * count}it is. Then it is {'not ' * count}so." for count in range(12)]

    async def listen(service: SpeechService, text: str) -> list[float]:
        return [float(samples.sum()) async for samples in speak_async(service, text, SpeakOptions())]

    async def main(service: SpeechService) -> list[list[float]]:
        return await asyncio.gather(*(listen(service, text) for text in texts))

    with serving(FakeVoice(slots=3)) as service:
        outcomes = asyncio.run(main(service))
        wholes = [float(speak(service, text, SpeakOptions()).sum()) for text in texts]
    assert [sum(pieces) for pieces in outcomes] == wholes
    assert all(len(pieces) == 5 for pieces in outcomes)  # two chunks a sentence, and the pause


def test_closing_the_audio_iterator_frees_the_slot() -> None:
    steps: list[int] = []
    go_on = Gate()

    def hold() -> None:
        steps.append(1)
        if len(steps) == 2:
            assert go_on.wait(60)

    voice = FakeVoice(slots=1, chunks=50, before_step=hold)

    async def main(service: SpeechService) -> None:
        speaking = speak_async(service, "It goes on and on.", SpeakOptions())
        await anext(speaking)
        await speaking.aclose()
        go_on.set()

    with serving(voice) as service:
        asyncio.run(main(service))
        assert speak(service, "One.", SpeakOptions()).any()
        assert [unit.text for unit in voice.left] == ["It goes on and on."]


def test_failing_voice_raises_engine_failed() -> None:
    with serving(FakeVoice(step_fails=lambda _unit: True)) as service:
        with pytest.raises(EngineFailed):
            speak(service, "hello", SpeakOptions())

        async def main() -> None:
            with pytest.raises(EngineFailed):
                async for _ in speak_async(service, "hello", SpeakOptions()):
                    pass

        asyncio.run(main())
