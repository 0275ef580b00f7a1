"""Admission before decoding, 429, a failing model, and clients that disconnect."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from antiphon.audio.decode_in_helper import decode_in_helper
from antiphon.errors import Overloaded
from antiphon.isolation.pool import Helper
from antiphon.server.requests import upload
from antiphon.testing.fake import FakeSession
from tests.support.http_helpers import error_of
from tests.support.in_process import Answer, InProcess, in_process
from tests.support.sounds import make_audio
from tests.support.transcription_client import WAV, hang_up_when, post


def test_file_is_decoded_only_once_a_permit_is_held(start_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decoding, go_on = threading.Event(), threading.Event()
    calls: list[int] = []

    def slow(helper: Helper, file: Any, **limits: Any) -> Any:
        calls.append(1)
        decoding.set()
        assert go_on.wait(60)
        return decode_in_helper(helper, file, **limits)

    monkeypatch.setattr(upload, "decode_in_helper", slow)
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


@pytest.mark.parametrize(
    ("fields", "status"), [({"model": "nobody-serves-this"}, 404), ({"language": "klingon"}, 400)], ids=str
)
@pytest.mark.parametrize("route", ["transcriptions", "translations"])
def test_forty_requests_for_an_unknown_model_or_language_decode_nothing(
    monkeypatch: pytest.MonkeyPatch, fields: dict[str, str], status: int, route: str
) -> None:
    """At once, in every response format, beside a clip: they take neither permits nor decoders."""

    async def count(_decoders: upload.Decoders, _file: Any, *, max_seconds: float) -> Any:
        decoded.append(max_seconds)
        return np.zeros(16_000, np.float32)

    def ask(app: InProcess, fields: dict[str, str]) -> Coroutine[Any, Any, Answer]:
        request = httpx.Request("POST", "http://x", data=fields, files={"file": ("a", WAV)})
        return app.answer(f"/v1/audio/{route}", [request.read()], content_type=request.headers["content-type"])

    async def ask_all(app: InProcess) -> list[Answer]:
        formats = ["json", "text", "srt", "verbose_json", "vtt"] * 8
        refused = [ask(app, {**fields, "response_format": each}) for each in formats]
        return await asyncio.gather(*refused, ask(app, {}))

    decoded: list[float] = []
    monkeypatch.setattr(upload.Decoders, "decode", count)
    with in_process(FakeSession("fake"), max_queued_requests=1) as app:
        *refused, clip = app.runner.run(ask_all(app))
    assert [(answer.status, answer.error["param"]) for answer in refused] == [(status, next(iter(fields)))] * 40
    assert clip.status == 200
    assert len(decoded) == 1


def test_reload_while_decoding_keeps_the_request_on_its_model(
    start_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = FakeSession("fake"), FakeSession("fake")
    server = start_server(old, max_queued_requests=1)

    def reload(helper: Helper, file: Any, **limits: Any) -> Any:
        server.models.replace(new)
        return decode_in_helper(helper, file, **limits)

    monkeypatch.setattr(upload, "decode_in_helper", reload)
    assert post(server).json()["text"] == "audio of 2.50 s"
    assert (old.batches, new.batches) == ([1], [])


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


def test_disconnect_cancels_decoding(start_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    decoding, ended = threading.Event(), threading.Event()
    named: list[str] = []

    def endless(helper: Helper, _file: Any, **_: Any) -> None:
        named.append(threading.current_thread().name)
        decoding.set()
        try:
            helper.receive()
        finally:
            ended.set()

    server = start_server()
    with monkeypatch.context() as patched:
        patched.setattr(upload, "decode_in_helper", endless)
        hang_up_when(decoding, server, WAV)
        assert ended.wait(10), "the upload of a disconnected client is still being decoded"
    assert named[0].startswith("antiphon-decode")
    assert post(server).status_code == 200


def test_long_uploads_do_not_delay_the_decoding_of_a_short_one(
    start_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    entered: list[str] = []

    def slow(helper: Helper, file: Any, *, max_seconds: float, short: bool) -> Any:
        if not short:
            entered.append(threading.current_thread().name)
            go_on.wait(60)
        return decode_in_helper(helper, file, max_seconds=max_seconds, short=short)

    monkeypatch.setattr(upload, "decode_in_helper", slow)
    server = start_server()
    long = make_audio(60.1, codec="pcm_mulaw", rate=1_000)
    assert len(long) < len(WAV)  # the size does not matter
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
