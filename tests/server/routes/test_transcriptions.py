"""The transcription and translation routes, called by the OpenAI SDK and by plain clients."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import openai
import pytest

from antiphon.audio.decode import decode
from antiphon.errors import Cancelled, Overloaded
from antiphon.server.requests import upload as decoders
from antiphon.testing.fake import FAKE_INFO, FakeSession
from antiphon.types.events import Window
from tests.support.http_helpers import calling, error_of
from tests.support.sounds import make_audio

WAV = make_audio(2.5)
MP3 = make_audio(2.5, "mp3", "libmp3lame", rate=44_100)


def sdk(server: Any, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0, **options)


def post(
    server: Any, data: dict[str, Any] | None = None, *, path: str = "/v1/audio/transcriptions", file: bytes = WAV
) -> Any:
    return server.client.post(path, files={"file": ("a.wav", file)}, data=data or {})


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
            client.audio.transcriptions.create(model="nobody", file=("talk.wav", WAV))
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
    info = replace(FAKE_INFO, no_words="the server must be started with enable_word_timestamps")
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


def test_unknown_model_is_404_with_the_names_before_the_file_is_judged(server: Any) -> None:
    for file in (b"junk", WAV):
        error = error_of(post(server, {"model": "nobody"}, file=file), 404, param="model")
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

    def record(file: Any, **limits: Any) -> Any:
        calls.append(file)
        return decode(file, **limits)

    monkeypatch.setattr(decoders, "decode", record)
    info = replace(FAKE_INFO, tasks=("transcribe",), no_words="start the server with enable_word_timestamps")
    server = start_server(FakeSession("fake", info=info), max_queued_requests=1)
    error_of(post(server, fields, path=f"/v1/audio/{task}", file=WAV + bytes(5_000_000)), status, param=param)
    assert not calls
    assert post(server).status_code == 200
    assert len(calls) == 1


def test_the_file_is_decoded_only_once_a_permit_is_held(start_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decoding, go_on = threading.Event(), threading.Event()
    calls: list[int] = []

    def slow(file: Any, **limits: Any) -> Any:
        calls.append(1)
        decoding.set()
        assert go_on.wait(60)
        return decode(file, **limits)

    monkeypatch.setattr(decoders, "decode", slow)
    server = start_server(max_queued_requests=1)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, server)
        try:
            assert decoding.wait(60)
            with pytest.raises(Overloaded):
                server.models.check_room("transcribe")
            error_of(post(server), 429, param=None)
            assert len(calls) == 1
        finally:
            go_on.set()
        assert first.result().status_code == 200
    server.models.check_room("transcribe")


def test_reload_while_decoding_keeps_the_request_on_its_model(
    start_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = FakeSession("fake"), FakeSession("fake")
    server = start_server(old, max_queued_requests=1)

    def reload(file: Any, **limits: Any) -> Any:
        server.models.replace(new)
        return decode(file, **limits)

    monkeypatch.setattr(decoders, "decode", reload)
    assert post(server).json()["text"] == "audio of 2.50 s"
    assert (old.batches, new.batches) == ([1], [])


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
    heard: list[Window] = []
    server = start_server(FakeSession("fake", script=heard.append))
    route = {"transcribe": "transcriptions", "translate": "translations"}[task]
    assert post(server, fields, path=f"/v1/audio/{route}").status_code == 200
    [unit] = heard
    assert {name: getattr(unit.options, name) for name in ("task", *expected)} == {"task": task, **expected}


@pytest.mark.parametrize("language", ["klingon", "fr"])
def test_translation_in_an_unsupported_language_is_400(server: Any, language: str) -> None:
    error_of(post(server, {"language": language}, path="/v1/audio/translations"), 400, param="language")


def test_too_long_audio_is_413(start_server: Any) -> None:
    server = start_server(max_audio_seconds=1.0)
    assert error_of(post(server), 413, param="file")["code"] == "audio_too_long"
    assert post(server, file=make_audio(0.5)).status_code == 200


def test_full_queue_is_429_with_retry_after(start_server: Any) -> None:
    blocked, inside = threading.Event(), threading.Event()

    def wait() -> None:
        inside.set()
        blocked.wait()

    server = start_server(FakeSession("fake", slots=1, before_step=wait), max_waiting=1)
    waiting = [threading.Thread(target=post, args=(server,)) for _ in range(2)]
    try:
        waiting[0].start()
        inside.wait()
        waiting[1].start()
        while not server.models.loads()[0].waiting:
            time.sleep(0.005)
        response = post(server)
        error_of(response, 429, param=None)
        assert int(response.headers["retry-after"]) >= 1
        assert int(response.headers["retry-after-ms"]) >= 1
        error_of(post(server, file=b"junk"), 429, param=None)  # the file is not looked at
    finally:
        blocked.set()
        for thread in waiting:
            thread.join()


def test_failing_model_is_500_and_the_server_goes_on(start_server: Any) -> None:
    failing = [True]
    server = start_server(FakeSession("fake", step_fails=lambda _unit: failing[0]))
    error = error_of(post(server), 500, param=None)
    assert error["code"] == "engine_failed"
    failing[0] = False
    assert post(server).status_code == 200


def hang_up_when(event: threading.Event, server: Any, file: bytes) -> None:
    """Send a request, and disconnect when `event` is set, without reading the answer."""
    body, content_type = multipart(file)
    with calling(server, "/v1/audio/transcriptions", body, content_type=content_type):
        assert event.wait(30)


def test_disconnect_cancels_decoding(start_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decoding, ended = threading.Event(), threading.Event()
    named: list[str] = []

    def endless(_file: Any, *, cancelled: Callable[[], bool], **_: Any) -> None:
        named.append(threading.current_thread().name)
        decoding.set()
        deadline = time.monotonic() + 15  # a regression fails the test, it must not hang it
        while not cancelled():
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(0.005)
        ended.set()
        raise Cancelled("gone")

    server = start_server()
    with monkeypatch.context() as patched:
        patched.setattr(decoders, "decode", endless)
        hang_up_when(decoding, server, WAV)
        assert ended.wait(10), "the upload of a disconnected client is still being decoded"
    assert named[0].startswith("antiphon-decode")
    assert post(server).status_code == 200


def test_long_uploads_do_not_delay_the_decoding_of_a_short_one(
    start_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    entered: list[str] = []

    def slow(file: Any, **limits: Any) -> Any:
        if file.seek(0, 2) > decoders.LONG_FILE_BYTES:
            entered.append(threading.current_thread().name)
            go_on.wait(60)
        return decode(file, **limits)

    monkeypatch.setattr(decoders, "decode", slow)
    server = start_server()
    long = make_audio(23.0, rate=96_000)
    assert len(long) > decoders.LONG_FILE_BYTES
    lane = max(2, os.cpu_count() or 1)
    with ThreadPoolExecutor(4 * lane) as pool:
        waiting = [pool.submit(post, server, file=long) for _ in range(4 * lane)]
        try:
            while len(entered) < lane:
                time.sleep(0.005)
            assert post(server).json()["text"] == "audio of 2.50 s"
        finally:
            go_on.set()
        assert {each.result().status_code for each in waiting} == {200}
    assert len(set(entered)) == lane


def test_disconnect_frees_the_slot(start_server: Any) -> None:
    entered, go_on, left = threading.Event(), threading.Event(), threading.Event()

    class Session(FakeSession):
        def leave(self, unit: Any) -> None:
            super().leave(unit)
            left.set()

    def before_step() -> None:
        entered.set()
        go_on.wait(0.02)  # slow steps, until the request is cancelled

    session = Session("fake", slots=1, seconds_per_step=0.001, before_step=before_step)
    server = start_server(session)
    hang_up_when(entered, server, WAV)
    assert left.wait(30), "the work of a disconnected client was not cancelled"
    go_on.set()
    session._seconds_per_step = 10.0
    assert post(server).status_code == 200


def multipart(file: bytes) -> tuple[bytes, str]:
    head = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    return head + file + b"\r\n--xyz--\r\n", "multipart/form-data; boundary=xyz"
