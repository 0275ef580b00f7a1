"""An endpoint over real HTTP: answers, refusals and silence each become a status, and sound is timed and measured."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from antiphon.audio.encode import Encoder
from antiphon.benchmark.clips import Clip, to_wav
from antiphon.benchmark.endpoint import NO_ANSWER, TIMED_OUT, Endpoint, wav_seconds
from antiphon.benchmark.load_generator import Answer
from antiphon.errors import ConfigError
from antiphon.testing.fake import FakeSession, FakeVoice
from tests.server.conftest import served

SECOND = np.full(16_000, 0.1, np.float32)
CLIP = Clip("clip.wav", to_wav(SECOND), SECOND)


def ask(endpoint: Endpoint, text: str = "") -> Answer:
    async def once() -> Answer:
        try:
            return await (endpoint.speak(text) if text else endpoint.transcribe(CLIP))
        finally:
            await endpoint.close()

    return asyncio.run(once())


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/v3"])
def test_a_transcript(path: str) -> None:
    with served(FakeSession(), max_waiting=10, loaded=True) as server:
        assert ask(Endpoint(server.url + path, "fake")) == Answer("200", "audio of 1.00 s", 1.0)


def test_speech_is_timed_and_measured() -> None:
    """The first half of a second comes before a pause, the second after it."""
    voice = FakeVoice(before_step=lambda: time.sleep(0.15))
    with served(voice, max_waiting=10, loaded=True) as server:
        began = time.perf_counter()
        answer = ask(Endpoint(server.url, "fake-voice", voice="loud"), "x" * 100)
        ended = time.perf_counter()
    assert (answer.status, answer.seconds) == ("200", 1.0)
    assert answer.first is not None
    assert began < answer.first < ended - 0.1
    assert [sentence.voice for sentence in voice.joined] == ["loud"]


@pytest.mark.parametrize("text", ["", "Hello."])
def test_what_the_server_refuses_is_told(text: str) -> None:
    with served(FakeSession(), FakeVoice(), max_waiting=10, loaded=True) as server:
        answer = ask(Endpoint(server.url, "nonsense"), text)
    assert answer.status == "404"
    assert "'nonsense' is not served here" in answer.text


def test_a_key_is_sent(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret")
    with served(FakeSession(), max_waiting=10, loaded=True, api_key_file=key) as server:
        assert ask(Endpoint(server.url, "fake")).status == "401"
        assert ask(Endpoint(server.url, "fake", api_key="secret")).status == "200"


def test_nobody_there() -> None:
    assert ask(Endpoint("http://127.0.0.1:9", "fake")).status == NO_ANSWER
    assert ask(Endpoint("http://127.0.0.1:9", "fake"), "Hello.").status == NO_ANSWER


def test_too_late() -> None:
    release = threading.Event()
    with served(FakeSession(before_step=lambda: release.wait(10)), max_waiting=10, loaded=True) as server:
        try:
            assert ask(Endpoint(server.url, "fake", timeout=0.1)).status == TIMED_OUT
        finally:
            release.set()


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", "http://x:port"])
def test_what_is_no_address_is_told(url: str) -> None:
    with pytest.raises(ConfigError, match="--url"):
        Endpoint(url, "fake")


@pytest.mark.parametrize("samples", [16_000, None])
def test_how_long_a_wav_is(samples: int | None) -> None:
    encoder = Encoder("wav", 16_000, samples=samples)
    assert wav_seconds(encoder.encode(SECOND) + encoder.finish()) == 1.0


@pytest.mark.parametrize("sound", [b"", b"ID3 something", b"RIFF\0\0\0\0WAVE", b"RIFF\0\0\0\0WAVEdata\0\0\0\0"])
def test_what_is_no_wav_has_no_length(sound: bytes) -> None:
    assert wav_seconds(sound) is None
