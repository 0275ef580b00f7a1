"""The transcription and translation routes, called by the OpenAI SDK and by plain clients: formats and timestamps."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import openai
import pytest

from antiphon.testing.fake import FAKE_INFO, FakeSession
from tests.support.http_helpers import error_of
from tests.support.sounds import make_audio
from tests.support.transcription_client import MP3, WAV, post, sdk


def test_sdk_transcription(server: Any) -> None:
    with sdk(server) as client:
        answer = client.audio.transcriptions.create(model="fake", file=("talk.wav", WAV))
    assert answer.text == "audio of 2.50 s"
    assert answer.usage is not None
    assert answer.usage.type == "duration"
    assert answer.usage.seconds == 3


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_sdk_translation(server: Any) -> None:
    with sdk(server) as client:
        answer = client.audio.translations.create(model="whisper-1", file=("talk.mp3", MP3))
    assert answer.text.startswith("audio of 2.5")


def test_sdk_text_format(server: Any) -> None:
    with sdk(server) as client:
        answer = client.audio.transcriptions.create(model="fake", file=("talk.wav", WAV), response_format="text")
    assert answer == "audio of 2.50 s\n"


def test_async_sdk_concurrent_requests(server: Any) -> None:
    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v3", api_key="any", max_retries=0) as client:
            calls = [
                client.audio.transcriptions.create(model="fake", file=("a.wav", make_audio(seconds)))
                for seconds in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
            ]
            return [answer.text for answer in await asyncio.gather(*calls)]

    assert asyncio.run(ask()) == [f"audio of {seconds:.2f} s" for seconds in (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)]


def test_sdk_raises_not_found_and_bad_request(server: Any) -> None:
    with sdk(server) as client:
        with pytest.raises(openai.NotFoundError) as unknown:
            client.audio.transcriptions.create(model="unknown", file=("talk.wav", WAV))
        with pytest.raises(openai.BadRequestError) as junk:
            client.audio.transcriptions.create(model="fake", file=("talk.wav", b"not audio"))
    assert unknown.value.code == "model_not_found"
    assert "fake" in unknown.value.message
    assert unknown.value.request_id
    assert junk.value.code == "invalid_audio"
    assert junk.value.param == "file"


@pytest.mark.parametrize("prefix", ["/v1", "/v3", "", "//v1/", "/v1//"])
@pytest.mark.parametrize("task", ["transcriptions", "translations"])
def test_path_prefixes_and_extra_slashes(server: Any, prefix: str, task: str) -> None:
    response = server.client.post(f"{server.url}{prefix}/audio/{task}", files={"file": ("a.wav", WAV)})
    assert response.json() == {"text": "audio of 2.50 s", "usage": {"type": "duration", "seconds": 3}}


@pytest.mark.parametrize("name", ["fake", "", "whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe"])
def test_aliases_mean_the_default_model(server: Any, name: str) -> None:
    assert post(server, {"model": name}).json()["text"] == "audio of 2.50 s"


def test_text_format_is_plain_text(server: Any) -> None:
    response = post(server, {"response_format": "text"})
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.text == "audio of 2.50 s\n"


def test_sdk_segment_timestamps(server: Any) -> None:
    with sdk(server) as client:
        answer = client.audio.transcriptions.create(
            model="whisper-1",
            file=("talk.wav", WAV),
            response_format="verbose_json",
            timestamp_granularities=["segment"],
        )
    assert (answer.language, answer.duration, answer.text) == ("english", 2.5, "audio of 2.50 s")
    (segment,) = answer.segments or []
    assert (segment.id, segment.seek, segment.start, segment.end) == (0, 0, 0.0, 2.5)
    assert segment.text == " audio of 2.50 s"
    assert segment.avg_logprob == -0.1


def test_verbose_json_has_exactly_the_documented_fields(server: Any) -> None:
    answer = post(server, {"response_format": "verbose_json", "language": "es"}).json()
    assert set(answer) == {"task", "language", "duration", "text", "segments", "usage"}
    assert (answer["task"], answer["language"]) == ("transcribe", "spanish")
    assert set(answer["segments"][0]) == {
        *("id", "seek", "start", "end", "text", "tokens", "temperature"),
        *("avg_logprob", "compression_ratio", "no_speech_prob"),
    }


def test_translation_language_is_english(server: Any) -> None:
    answer = post(server, {"response_format": "verbose_json", "language": "es"}, path="/v1/audio/translations").json()
    assert (answer["task"], answer["language"]) == ("translate", "english")


@pytest.mark.parametrize("value", ["segment", '["segment"]'])
@pytest.mark.parametrize("name", ["timestamp_granularities[]", "timestamp_granularities"])
def test_json_has_segment_times_if_requested(server: Any, name: str, value: str) -> None:
    answer = post(server, {name: value}).json()
    assert answer["segments"] == [{"text": " audio of 2.50 s", "start": 0.0, "end": 2.5}]


@pytest.mark.parametrize("granularities", [["word"], ["segment", "word"]])
def test_sdk_word_timestamps(server: Any, granularities: Any) -> None:
    with sdk(server) as client:
        answer = client.audio.transcriptions.create(
            model="whisper-1",
            file=("talk.wav", WAV),
            response_format="verbose_json",
            timestamp_granularities=granularities,
        )
    assert [(word.word, word.start, word.end) for word in answer.words or []] == [
        ("audio", 0.0, 0.625),
        ("of", 0.625, 1.25),
        ("2.50", 1.25, 1.875),
        ("s", 1.875, 2.5),
    ]
    assert answer.text == "audio of 2.50 s"
    assert bool(answer.segments) == ("segment" in granularities)


@pytest.mark.parametrize(
    ("granularities", "there"),
    [
        ("", {"segments"}),
        ("segment", {"segments"}),
        ("word", {"words"}),
        ("word,segment", {"words", "segments"}),
        ('["segment", "word"]', {"words", "segments"}),
    ],
)
@pytest.mark.parametrize("task", ["transcriptions", "translations"])
def test_verbose_json_has_the_requested_granularities(
    server: Any, task: str, granularities: str, there: set[str]
) -> None:
    fields = {"response_format": "verbose_json", "timestamp_granularities[]": granularities}
    answer = post(server, fields, path=f"/v1/audio/{task}").json()
    assert set(answer) == {"task", "language", "duration", "text", "usage"} | there
    for word in answer.get("words", []):
        assert set(word) == {"word", "start", "end"}


@pytest.mark.parametrize(("granularities", "there"), [("word", {"words"}), ("word,segment", {"words", "segments"})])
def test_json_has_word_timestamps_if_requested_as_in_ovms(server: Any, granularities: str, there: set[str]) -> None:
    answer = post(server, {"timestamp_granularities[]": granularities}).json()
    assert set(answer) == {"text", "usage"} | there
    assert answer["words"][0] == {"word": "audio", "start": 0.0, "end": 0.625}


@pytest.mark.parametrize("wanted", ["text", "srt", "vtt"])
def test_word_timestamps_need_a_json_format(server: Any, wanted: str) -> None:
    fields = {"response_format": wanted, "timestamp_granularities[]": "word"}
    assert "verbose_json" in error_of(post(server, fields), 400, param="timestamp_granularities")["message"]


def test_unsupported_word_timestamps_are_400_with_the_fix(start_server: Any) -> None:
    info = replace(FAKE_INFO, no_word_times_reason="the server must be started with enable_word_timestamps")
    server = start_server(FakeSession("fake", info=info))
    fields = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
    error = error_of(post(server, fields), 400, param="timestamp_granularities")
    assert "enable_word_timestamps" in error["message"]
    assert post(server, {"response_format": "verbose_json"}).status_code == 200


@pytest.mark.parametrize(("wanted", "kind"), [("srt", "application/x-subrip"), ("vtt", "text/vtt")])
def test_sdk_srt_and_vtt(server: Any, wanted: Any, kind: str) -> None:
    with sdk(server) as client:
        answer = client.audio.transcriptions.create(model="fake", file=("talk.wav", WAV), response_format=wanted)
    assert "audio of 2.50 s" in str(answer)
    assert post(server, {"response_format": wanted}).headers["content-type"] == f"{kind}; charset=utf-8"
