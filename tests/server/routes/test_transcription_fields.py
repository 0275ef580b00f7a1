"""Form fields and uploads of the transcription routes: what is accepted, and 400, 404 and 413 for the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from antiphon.audio.decode_in_helper import decode_in_helper
from antiphon.isolation.pool import Helper
from antiphon.server.requests import upload
from antiphon.testing.fake import FAKE_INFO, FakeSession
from antiphon.types.events import Window
from tests.support.http_helpers import error_of
from tests.support.sounds import make_audio
from tests.support.transcription_client import MP3, WAV, post


@pytest.mark.parametrize(
    "fields",
    [
        {"language": "", "prompt": "", "model": "", "temperature": "", "response_format": "", "stream": ""},
        {"language": "en", "temperature": "0"},
        {"language": "EN", "temperature": "0.00"},
        {"language": "en-US"},
        {"language": "english"},
        {"temperature": "1"},
        {"stream": "false"},
        {"prompt": "words " * 180},
        {"vad_filter": "false", "hotwords": "x", "user": "y", "format": "z"},
        {"timestamp_granularities[]": "segment", "include[]": "logprobs"},
        {"chunking_strategy": ""},
        {"response_format[]": "json", "model[]": "fake"},
    ],
    ids=str,
)
def test_fields_as_clients_send_them_are_accepted(server: Any, fields: dict[str, str]) -> None:
    assert post(server, fields).json()["text"] == "audio of 2.50 s"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"language": "klingon"}, "language"),
        ({"temperature": "7"}, "temperature"),
        ({"temperature": "-0.1"}, "temperature"),
        ({"temperature": "abc"}, "temperature"),
        ({"temperature": "nan"}, "temperature"),
        ({"temperature": "inf"}, "temperature"),
        ({"response_format": "docx"}, "response_format"),
        ({"timestamp_granularities[]": "word", "response_format": "text"}, "timestamp_granularities"),
        ({"timestamp_granularities": "syllable"}, "timestamp_granularities"),
        ({"stream": "true"}, "stream"),
        ({"stream": "maybe"}, "stream"),
    ],
    ids=str,
)
def test_invalid_fields_are_400(server: Any, fields: dict[str, str], param: str) -> None:
    error_of(post(server, fields), 400, param=param)
    assert post(server).status_code == 200


def test_unknown_response_format_is_400_with_the_valid_ones(server: Any) -> None:
    assert (
        "json, text, srt, verbose_json, vtt"
        in error_of(post(server, {"response_format": "docx"}), 400, param="response_format")["message"]
    )


@pytest.mark.parametrize(
    "file",
    [b"", b"not audio at all " * 100, bytes(10_000), make_audio(0.0), MP3[: len(MP3) // 2], WAV[:-100], WAV[:30]],
    ids=["empty", "text", "zeros", "no samples", "truncated mp3", "truncated wav", "a header"],
)
def test_invalid_audio_is_400(server: Any, file: bytes) -> None:
    assert error_of(post(server, file=file), 400, param="file")["code"] == "invalid_audio"
    assert post(server).status_code == 200


def test_missing_file_is_400(server: Any) -> None:
    url = "/v1/audio/transcriptions"
    form = server.client.post(url, data={"model": "fake"}, files={"other": ("a.wav", WAV)})
    for response in (
        form,
        server.client.post(url),
        server.client.post(url, data={"model": "fake"}),
        server.client.post(url, files={"file": (None, b"plain text")}),
    ):
        error_of(response, 400, param="file")


def test_unreadable_form_is_400(server: Any) -> None:
    response = server.client.post(
        "/v1/audio/transcriptions", content=b"--x", headers={"content-type": "multipart/form-data"}
    )
    error_of(response, 400, param=None)


def test_unknown_model_is_404_with_the_valid_names_before_decoding(server: Any) -> None:
    for file in (b"junk", WAV):
        error = error_of(post(server, {"model": "unknown"}, file=file), 404, param="model")
        assert error["code"] == "model_not_found"
        assert "Served: fake, fake-voice." in error["message"]


@pytest.mark.parametrize(
    ("fields", "task", "status", "param"),
    [
        ({"model": "nosuch"}, "transcriptions", 404, "model"),
        ({"model": "nosuch"}, "translations", 404, "model"),
        ({"language": "xx"}, "transcriptions", 400, "language"),
        ({"language": "xx", "model": "whisper-1"}, "transcriptions", 400, "language"),
        ({"temperature": "1.5"}, "transcriptions", 400, "temperature"),
        ({"timestamp_granularities[]": "word"}, "transcriptions", 400, "timestamp_granularities"),
        ({"model": "fake"}, "translations", 400, "model"),
        ({}, "translations", 400, "model"),
    ],
    ids=str,
)
def test_unsupported_request_is_refused_before_decoding(
    start_server: Any, monkeypatch: pytest.MonkeyPatch, fields: dict[str, str], task: str, status: int, param: str
) -> None:
    """However large the upload: the decoder is not called, and no permit is held."""
    calls: list[Any] = []

    def record(helper: Helper, file: Any, **limits: Any) -> Any:
        calls.append(file)
        return decode_in_helper(helper, file, **limits)

    monkeypatch.setattr(upload, "decode_in_helper", record)
    info = replace(
        FAKE_INFO, tasks=("transcribe",), no_word_times_reason="start the server with enable_word_timestamps"
    )
    server = start_server(FakeSession("fake", info=info), max_queued_requests=1)
    error_of(post(server, fields, path=f"/v1/audio/{task}", file=WAV + bytes(5_000_000)), status, param=param)
    assert not calls
    assert post(server).status_code == 200
    assert len(calls) == 1


@pytest.mark.parametrize("task", ["transcribe", "translate"])
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {"language": None, "prompt": None, "temperature": 0.0}),
        ({"language": "", "prompt": "", "temperature": ""}, {"language": None, "prompt": None, "temperature": 0.0}),
        ({"language": "Spanish"}, {"language": "es"}),
        ({"prompt": "Antiphon, canon"}, {"prompt": "Antiphon, canon"}),
        ({"temperature": "0.25"}, {"temperature": 0.25}),
    ],
    ids=str,
)
def test_form_fields_reach_the_model(
    start_server: Any, task: str, fields: dict[str, str], expected: dict[str, Any]
) -> None:
    units: list[Window] = []
    server = start_server(FakeSession("fake", script=units.append))
    route = {"transcribe": "transcriptions", "translate": "translations"}[task]
    assert post(server, fields, path=f"/v1/audio/{route}").status_code == 200
    [unit] = units
    assert {name: getattr(unit.options, name) for name in ("task", *expected)} == {"task": task, **expected}


@pytest.mark.parametrize("language", ["klingon", "fr"])
def test_translation_in_an_unsupported_language_is_400(server: Any, language: str) -> None:
    error_of(post(server, {"language": language}, path="/v1/audio/translations"), 400, param="language")


def test_too_long_audio_is_413(start_server: Any) -> None:
    server = start_server(max_audio_seconds=1.0)
    assert error_of(post(server), 413, param="file")["code"] == "audio_too_long"
    assert post(server, file=make_audio(0.5)).status_code == 200
