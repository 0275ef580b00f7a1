"""A model in this process as a target: responses, overload (429) and engine failures (500)."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import numpy as np
import pytest

from antiphon.benchmark.clips import Clip
from antiphon.benchmark.load_generator import Response
from antiphon.benchmark.target import InProcess
from antiphon.errors import InvalidParameter
from antiphon.models.session import AnySession
from antiphon.testing.fake import FakeSession, FakeVoice

SECOND = np.full(16_000, 0.1, np.float32)
CLIP = Clip("clip.wav", b"never looked at", SECOND)


def transcribe(session: AnySession, times: int, *, language: str = "", max_waiting: int = 10) -> list[Response]:
    """Send `times` requests at once."""

    async def ask() -> list[Response]:
        target = InProcess([session], language=language, max_waiting=max_waiting)
        try:
            return await asyncio.gather(*(target.transcribe(CLIP) for _ in range(times)))
        finally:
            await target.close()

    return asyncio.run(ask())


def speak(session: AnySession, text: str) -> Response:
    async def ask() -> Response:
        target = InProcess([session], voice="loud")
        try:
            return await target.speak(text)
        finally:
            await target.close()

    return asyncio.run(ask())


def test_transcribe() -> None:
    assert transcribe(FakeSession(), 3) == [Response("200", "audio of 1.00 s", 1.0)] * 3


def test_language_of_a_clip_precedes_the_default_language() -> None:
    languages: list[str | None] = []
    session = FakeSession(script=lambda unit: languages.append(unit.options.language))

    async def ask() -> None:
        target = InProcess([session], language="en")
        await target.transcribe(CLIP)
        await target.transcribe(replace(CLIP, language="es"))
        await target.close()

    asyncio.run(ask())
    assert languages == ["en", "es"]


def test_full_queue_is_429() -> None:
    slow = FakeSession(slots=1, before_step=lambda: time.sleep(0.05))
    statuses = sorted(answer.status for answer in transcribe(slow, 6, max_waiting=2))
    assert statuses[0] == "200"
    assert statuses[-1] == "429"
    assert set(statuses) == {"200", "429"}


def test_failing_engine_is_500() -> None:
    assert {answer.status for answer in transcribe(FakeSession(step_fails=lambda _: True), 2)} == {"500"}
    assert speak(FakeVoice(step_fails=lambda _: True), "Hello.").status == "500"


def test_speak_reports_first_audio_and_duration() -> None:
    began = time.perf_counter()
    answer = speak(FakeVoice(before_step=lambda: time.sleep(0.1)), "x" * 100)
    assert (answer.status, answer.seconds) == ("200", 1.0)
    assert answer.first_audio is not None
    assert began + 0.1 <= answer.first_audio < time.perf_counter() - 0.05


def test_invalid_option_raises() -> None:
    with pytest.raises(InvalidParameter, match="klingon"):
        transcribe(FakeSession(), 1, language="klingon")
