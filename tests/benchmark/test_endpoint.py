"""Endpoint over real HTTP: status of responses, errors and timeouts, and the timing of speech."""

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
from antiphon.benchmark.load_generator import Response
from antiphon.errors import ConfigError
from antiphon.testing.fake import FakeSession, FakeVoice
from tests.server.conftest import served

SECOND = np.full(16_000, 0.1, np.float32)
CLIP = Clip("clip.wav", to_wav(SECOND), SECOND)


def ask(endpoint: Endpoint, text: str = "") -> Response:
    async def once() -> Response:
        try:
            return await (endpoint.speak(text) if text else endpoint.transcribe(CLIP))
        finally:
            await endpoint.close()

    return asyncio.run(once())


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/", "/v3"])
def test_transcribe(path: str) -> None:
    with served(FakeSession(), max_waiting=10, loaded=True) as server:
        assert ask(Endpoint(server.url + path, "fake")) == Response("200", "audio of 1.00 s", 1.0)


def test_speak_reports_first_audio_and_duration() -> None:
    """The first half second arrives before a pause, the rest after it."""
    voice = FakeVoice(before_step=lambda: time.sleep(0.15))
    with served(voice, max_waiting=10, loaded=True) as server:
        began = time.perf_counter()
        answer = ask(Endpoint(server.url, "fake-voice", voice="loud"), "x" * 100)
        ended = time.perf_counter()
    assert (answer.status, answer.seconds) == ("200", 1.0)
    assert answer.first_audio is not None
    assert began < answer.first_audio < ended - 0.1
    assert [sentence.voice for sentence in voice.joined] == ["loud"]


@pytest.mark.parametrize("text", ["", "Hello."])
def test_error_status_and_message_of_the_server_are_kept(text: str) -> None:
    with served(FakeSession(), FakeVoice(), max_waiting=10, loaded=True) as server:
        answer = ask(Endpoint(server.url, "nonsense"), text)
    assert answer.status == "404"
    assert "'nonsense' is not served here" in answer.text


def test_api_key_is_sent_and_a_wrong_one_is_401(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("secret")
    with served(FakeSession(), max_waiting=10, loaded=True, api_key_file=key) as server:
        assert ask(Endpoint(server.url, "fake")).status == "401"
        assert ask(Endpoint(server.url, "fake", api_key="secret")).status == "200"


def test_unreachable_server_is_no_answer() -> None:
    assert ask(Endpoint("http://127.0.0.1:9", "fake")).status == NO_ANSWER
    assert ask(Endpoint("http://127.0.0.1:9", "fake"), "Hello.").status == NO_ANSWER


def test_timeout_is_timed_out() -> None:
    release = threading.Event()
    with served(FakeSession(before_step=lambda: release.wait(10)), max_waiting=10, loaded=True) as server:
        try:
            assert ask(Endpoint(server.url, "fake", timeout=0.1)).status == TIMED_OUT
        finally:
            release.set()


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", "http://x:port"])
def test_invalid_url_is_a_config_error(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Endpoint(url, "fake")
    assert refused.value.setting == "url"
    assert refused.value.message.startswith(url)


@pytest.mark.parametrize("samples", [16_000, None])
def test_wav_duration(samples: int | None) -> None:
    encoder = Encoder("wav", 16_000, samples=samples)
    assert wav_seconds(encoder.encode(SECOND) + encoder.finish()) == 1.0


@pytest.mark.parametrize("sound", [b"", b"ID3 something", b"RIFF\0\0\0\0WAVE", b"RIFF\0\0\0\0WAVEdata\0\0\0\0"])
def test_wav_duration_of_other_bytes_is_none(sound: bytes) -> None:
    assert wav_seconds(sound) is None
