"""The speech route, called by the OpenAI SDK and by plain clients. The fake voice makes 10 ms of audio per character."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import threading
import time
import wave
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import openai
import pytest

from antiphon.synthesis.voices import OPENAI_VOICES
from antiphon.testing.fake import FakeSession, FakeVoice
from tests.support.http_helpers import Hold, calling, error_of, wait_until

TEXT = "This is a sentence of fifty characters, and it is."
SECONDS = len(TEXT) * 0.01
LONG = json.dumps({"input": TEXT, "response_format": "pcm"}).encode()  # with a voice of many chunks


def sdk(server: Any, version: str = "v1") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/{version}", api_key="any", max_retries=0)


def post(server: Any, path: str = "/v1/audio/speech", **fields: Any) -> Any:
    return server.client.post(path, json={"input": TEXT, **fields})


def decoded(data: bytes) -> tuple[str, int, np.ndarray]:
    """Container, rate and mono samples as FFmpeg reads them."""
    with av.open(io.BytesIO(data)) as container:
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        rate = container.streams.audio[0].rate
        return container.format.name, rate, np.concatenate(frames, axis=1).ravel()


def level_of(data: bytes) -> float:
    """How loud a 16-bit wav is, 0 to 1: the fake says its voice with it."""
    with wave.open(io.BytesIO(data)) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), np.int16)
    return round(float(np.abs(samples[len(samples) // 3 : len(samples) // 2]).mean()) / 32768, 2)


def test_script_of_the_ovms_documentation(server: Any, tmp_path: Path) -> None:
    file = tmp_path / "speech.wav"
    with (
        sdk(server, "v3") as client,
        client.audio.speech.with_streaming_response.create(model="fake-voice", voice="unused", input=TEXT) as response,
    ):
        response.stream_to_file(file)
    with wave.open(str(file)) as sound:
        assert (sound.getnchannels(), sound.getsampwidth()) == (1, 2)
        assert sound.getnframes() / sound.getframerate() == pytest.approx(SECONDS, abs=0.01)
    assert level_of(file.read_bytes()) == 0.25


@pytest.mark.parametrize(
    ("wanted", "container", "media_type"),
    [
        ("mp3", "mp3", "audio/mpeg"),
        ("opus", "ogg", "audio/ogg"),
        ("aac", "aac", "audio/aac"),
        ("flac", "flac", "audio/flac"),
        ("wav", "wav", "audio/wav"),
    ],
)
def test_every_format_has_the_duration_of_the_sentence(
    server: Any, wanted: str, container: str, media_type: str
) -> None:
    with sdk(server) as client:
        answer = client.audio.speech.create(
            model="tts-1",
            voice="alloy",
            input=TEXT,
            response_format=wanted,  # type: ignore[arg-type]
        )
    assert answer.response.headers["content-type"] == media_type
    name, rate, samples = decoded(answer.content)
    assert name == container
    assert len(samples) / rate == pytest.approx(SECONDS, abs=2 * 1152 / rate)  # a frame before and a frame after


def test_pcm_is_24_khz_whatever_the_voice(server: Any) -> None:
    answer = post(server, response_format="pcm")
    assert answer.headers["content-type"].startswith("audio/pcm")
    assert len(answer.content) == pytest.approx(SECONDS * 24_000 * 2, abs=100)


def test_default_format_is_mp3_under_v1_and_wav_under_v3(server: Any) -> None:
    assert post(server).headers["content-type"] == "audio/mpeg"
    assert post(server, "/v3/audio/speech").headers["content-type"] == "audio/wav"
    assert post(server, "/v3/audio/speech", response_format="").headers["content-type"] == "audio/wav"


@pytest.mark.parametrize(
    ("voice", "level"),
    [
        ("plain", 0.25),
        ("loud", 0.5),
        ("unused", 0.25),
        ("", 0.25),
        (None, 0.25),
        ({"id": "loud"}, 0.5),
        *((name, (0.25, 0.5)[index % 2]) for index, name in enumerate(OPENAI_VOICES)),
    ],
)
def test_voice_field_selects_the_voice(server: Any, voice: Any, level: float) -> None:
    assert level_of(post(server, "/v3/audio/speech", voice=voice).content) == level


@pytest.mark.parametrize("speed", [0.25, 0.5, "2.0", 4])
def test_speed_changes_the_duration(server: Any, speed: Any) -> None:
    _, rate, samples = decoded(post(server, "/v3/audio/speech", speed=speed).content)
    assert len(samples) / rate == pytest.approx(SECONDS / float(speed), rel=0.05)


@pytest.mark.parametrize("model", ["", "fake-voice", "tts-1", "tts-1-hd", "gpt-4o-mini-tts"])
def test_model_aliases_are_200(server: Any, model: str) -> None:
    assert post(server, model=model).status_code == 200


def test_unknown_fields_are_ignored(server: Any) -> None:
    extra = {"instructions": "cheerfully", "lang_code": "a", "volume_multiplier": 2, "stream": True, "seed": None}
    assert post(server, **extra).status_code == 200
    body = json.dumps({"input": TEXT, "model": "tts-1"})
    assert server.client.post("/v1/audio/speech", content=body).status_code == 200  # without a Content-Type


@pytest.mark.parametrize(
    ("fields", "param", "excerpt"),
    [
        ({"input": ""}, "input", "empty"),
        ({"input": " \n"}, "input", "empty"),
        ({"input": None}, "input", "input is missing."),
        ({"input": 7}, "input", "string"),
        ({"input": "x" * 100_000}, "input", "20000"),
        ({"voice": "bob"}, "voice", "plain, loud"),
        ({"voice": 5}, "voice", ""),
        ({"voice": {"name": "plain"}}, "voice", "id"),
        ({"speed": 9}, "speed", "0.25 to 4"),
        ({"speed": 0.1}, "speed", "0.25 to 4"),
        ({"speed": "fast"}, "speed", "number"),
        ({"response_format": "midi"}, "response_format", "mp3, opus, aac, flac, wav, pcm"),
        ({"stream_format": "morse"}, "stream_format", "audio, sse"),
        ({"language": "klingon"}, "language", "en"),
        ({"seed": -1}, "seed", "0"),
        ({"model": "fake"}, "model", "cannot speak"),
        ({"model": "whisper-1"}, "model", "cannot speak"),
    ],
)
def test_invalid_field_is_400_and_named(server: Any, fields: dict[str, Any], param: str, excerpt: str) -> None:
    assert excerpt in error_of(post(server, **fields), 400, param=param)["message"]


def test_speed_outside_the_limits_of_the_model_is_400(start_server: Any) -> None:
    server = start_server(FakeVoice(info=replace(FakeVoice().info, speeds=(0.5, 2.0))))
    assert "0.5 to 2" in error_of(post(server, speed=3), 400, param="speed")["message"]
    assert post(server, speed=2).status_code == 200


def test_unknown_model_is_404(server: Any) -> None:
    error = error_of(post(server, model="unknown"), 404, param="model")
    assert error["code"] == "model_not_found"
    assert "fake-voice" in error["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"input=hello", b"\xff"])
def test_body_that_is_not_a_json_object_is_400(server: Any, body: bytes) -> None:
    assert error_of(server.client.post("/v1/audio/speech", content=body), 400, param=None)["code"] == "invalid_json"


def test_server_without_a_speech_model_is_400(start_server: Any) -> None:
    error = error_of(post(start_server(FakeSession())), 400, param="model")
    assert "speak" in error["message"]


def test_audio_is_streamed_before_the_sentence_is_finished(start_server: Any) -> None:
    steps: list[float] = []
    go_on = threading.Event()

    def hold() -> None:
        steps.append(time.monotonic())
        if len(steps) == 2:
            assert go_on.wait(60)

    server = start_server(FakeVoice(before_step=hold))
    with server.client.stream("POST", "/v3/audio/speech", json={"input": TEXT}) as response:
        pieces = response.iter_raw()
        first = next(pieces)
        go_on.set()
        data = first + b"".join(pieces)
    assert first[:4] == b"RIFF"
    assert first[4:8] == b"\xff\xff\xff\xff"  # the length is not known yet
    _, rate, samples = decoded(data)
    assert len(samples) / rate == pytest.approx(SECONDS, abs=0.01)


def test_short_audio_has_true_sizes_in_its_header(server: Any) -> None:
    data = post(server, "/v3/audio/speech").content
    assert int.from_bytes(data[4:8], "little") == len(data) - 8


def test_concurrent_requests_of_several_sentences(server: Any) -> None:
    texts = [f"{'word ' * count}end. " * 3 for count in range(1, 9)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda text: post(server, "/v3/audio/speech", input=text), texts))
    for text, answer in zip(texts, answers, strict=True):
        _, rate, samples = decoded(answer.content)
        seconds = len(text.replace(". ", ".")) * 0.01 + 2 * 0.2
        assert len(samples) / rate == pytest.approx(seconds, abs=0.01)


def test_server_sent_events(server: Any) -> None:
    with server.client.stream("POST", "/v1/audio/speech", json={"input": TEXT, "stream_format": "sse"}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        body = response.read().decode()
    assert body.endswith("\n\n")
    events = [json.loads(block.removeprefix("data: ")) for block in body.strip().split("\n\n")]
    assert [event["type"] for event in events[:-1]] == ["speech.audio.delta"] * (len(events) - 1)
    assert events[-1]["type"] == "speech.audio.done"
    usage = events[-1]["usage"]
    assert usage == {"input_tokens": 50, "output_tokens": 10, "total_tokens": 60}
    sound = b"".join(base64.b64decode(event["audio"]) for event in events[:-1])
    name, rate, samples = decoded(sound)
    assert name == "mp3"
    assert len(samples) / rate == pytest.approx(SECONDS, abs=2 * 1152 / rate)


def test_usage_counts_the_audio_before_speed(server: Any) -> None:
    body = post(server, speed=2, stream_format="sse", response_format="wav").text
    usage = json.loads(body.strip().split("\n\n")[-1].removeprefix("data: "))["usage"]
    assert usage == {"input_tokens": 50, "output_tokens": 10, "total_tokens": 60}


def test_error_before_the_first_byte_is_500(start_server: Any) -> None:
    failing = [True]
    server = start_server(FakeVoice(step_fails=lambda _unit: failing[0]))
    assert error_of(post(server), 500, param=None)["code"] == "engine_failed"
    failing[0] = False
    assert post(server).status_code == 200


def test_error_in_a_stream_is_an_sse_event_or_cuts_the_body_off(start_server: Any) -> None:
    steps: list[int] = []

    def slow() -> None:
        steps.append(1)
        time.sleep(0.1)  # so that the first chunk is on its way before the second step fails

    server = start_server(FakeVoice(before_step=slow, step_fails=lambda _unit: len(steps) % 2 == 0))
    with sdk(server) as client, pytest.raises(openai.APIConnectionError):
        client.audio.speech.create(model="tts-1", voice="alloy", input=TEXT, response_format="wav")
    body = post(server, stream_format="sse", response_format="wav").text
    error = json.loads(body.strip().split("\n\n")[-1].removeprefix("data: "))["error"]
    assert (error["type"], error["code"]) == ("server_error", "engine_failed")


def test_full_queue_is_429(start_server: Any) -> None:
    hold = Hold()
    server = start_server(FakeVoice(slots=1, before_step=hold), max_waiting=1)
    with ThreadPoolExecutor(2) as pool:
        try:
            waiting = [pool.submit(post, server)]
            assert hold.reached.wait(60)
            waiting.append(pool.submit(post, server))
            wait_until(lambda: server.models.loads()[0].waiting)
            response = post(server)
            error_of(response, 429, param=None)
            assert int(response.headers["retry-after-ms"]) >= 1
        finally:
            hold.go_on.set()
        assert [each.result().status_code for each in waiting] == [200, 200]


@pytest.mark.parametrize("after_first_byte", [False, True])
def test_disconnect_frees_the_slot(start_server: Any, after_first_byte: bool) -> None:
    hold = Hold(at=1 + after_first_byte)
    voice = FakeVoice(slots=1, chunks=1000, before_step=hold)
    server = start_server(voice)
    with calling(server, "/v1/audio/speech", LONG) as connection:
        assert hold.reached.wait(60)
        if after_first_byte:
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    time.sleep(0.3)  # the server notices the disconnect
    hold.go_on.set()
    wait_until(lambda: not server.models.loads()[0].in_flight)
    assert hold.steps < 500
    assert [unit.text for unit in voice.left] == [TEXT]


def test_async_sdk_streaming(server: Any) -> None:
    async def listen() -> bytes:
        async with (
            openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client,
            client.audio.speech.with_streaming_response.create(
                model="tts-1", voice="nova", input=TEXT, response_format="flac"
            ) as response,
        ):
            return b"".join([piece async for piece in response.iter_bytes()])

    name, rate, samples = decoded(asyncio.run(listen()))
    assert (name, len(samples) / rate) == ("flac", pytest.approx(SECONDS, abs=0.01))
