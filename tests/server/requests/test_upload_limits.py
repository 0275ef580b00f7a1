"""Uploads are counted from their first byte: places, bytes in temporary files, and 429 beyond either."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from antiphon.errors import ConfigError
from antiphon.server.requests import upload_limits
from antiphon.settings import Settings, load_settings
from antiphon.testing.fake import FakeSession
from tests.support.http_helpers import Hold, wait_until
from tests.support.in_process import Answer, Body, InProcess, in_process
from tests.support.prometheus_parse import value
from tests.support.sounds import make_audio

PATH = "/v1/audio/transcriptions"
START = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
END = b"\r\n--b--\r\n"
SMALL = START + make_audio(0.5) + END
LARGE = START + make_audio(13.0, rate=96_000) + END  # 2.5 MB
PIECE = 2**16


def pieces(body: bytes) -> list[bytes]:
    return [body[start : start + PIECE] for start in range(0, len(body), PIECE)]


async def post(app: InProcess, body: Body, **headers: str) -> Answer:
    return await app.answer(PATH, body, content_type="multipart/form-data; boundary=b", **headers)


def check_refused(answer: Answer, setting: str) -> None:
    assert (answer.status, answer.error["code"]) == (429, "overloaded")
    assert setting in answer.error["message"]
    assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == ("5", "5000")


async def settle() -> None:
    """Let every task run until it waits for something from outside."""
    for _ in range(50):
        await asyncio.sleep(0)


def test_upload_beyond_max_uploads_is_429_before_its_first_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_limits, "MAX_WAIT_S", 0.0)
    with in_process(FakeSession("fake"), max_uploads=2, metrics_enable=True) as app:

        async def scenario() -> None:
            rest = asyncio.Event()
            inside = [asyncio.create_task(post(app, [SMALL[:100], rest, SMALL[100:]])) for _ in range(2)]
            await settle()
            for _ in range(20):
                refused = await post(app, pieces(LARGE))
                check_refused(refused, "max_uploads")
                assert refused.bytes_read == 0
            rest.set()
            assert [(await each).status for each in inside] == [200, 200]
            assert (await post(app, [SMALL])).status == 200

        app.runner.run(scenario())
        metrics = app.send("/metrics", method="GET").body.decode()
    assert value(metrics, "antiphon_refused_total", name="fake", reason="uploads") == 20
    assert value(metrics, "ovms_requests_rejected", name="fake", method="Unary") == 20
    assert value(metrics, "ovms_current_requests", name="fake") == 0


def test_burst_of_uploads_waits_for_places_and_is_served() -> None:
    with in_process(FakeSession("fake"), max_uploads=1) as app:

        async def scenario() -> list[Answer]:
            return await asyncio.gather(*(post(app, pieces(SMALL)) for _ in range(30)))

        assert {answer.status for answer in app.runner.run(scenario())} == {200}


def test_upload_that_waits_for_a_place_is_504_at_its_deadline() -> None:
    with in_process(FakeSession("fake"), max_uploads=1) as app:

        async def scenario() -> None:
            rest = asyncio.Event()
            inside = asyncio.create_task(post(app, [SMALL[:100], rest, SMALL[100:]]))
            await settle()
            assert (await post(app, [SMALL], x_request_timeout="0.05")).status == 504
            rest.set()
            assert (await inside).status == 200

        app.runner.run(scenario())


@pytest.mark.parametrize("end", ["answered", "disconnected", "malformed"])
def test_bytes_beyond_max_spooled_bytes_are_429_and_small_uploads_go_on(end: str) -> None:
    with in_process(FakeSession("fake"), max_upload_bytes=3_000_000, max_spooled_bytes=3_000_000) as app:
        limits = app.app.state.upload_limits

        async def scenario() -> None:
            rest = asyncio.Event()
            last = b"\r\n--b\r\n\r\n" if end == "malformed" else LARGE[-10:]
            inside = asyncio.create_task(post(app, [*pieces(LARGE[:-10]), rest, last]))
            await asyncio.to_thread(wait_until, lambda: limits.spooled_bytes >= len(LARGE) - 10)

            announced = await post(app, pieces(LARGE), content_length=str(len(LARGE)))
            check_refused(announced, "max_spooled_bytes")
            assert announced.bytes_read == 0
            chunked = await post(app, pieces(LARGE))
            check_refused(chunked, "max_spooled_bytes")
            assert chunked.bytes_read <= 2**20 + PIECE
            assert (await post(app, [SMALL])).status == 200

            if end == "disconnected":
                inside.cancel()
                await asyncio.gather(inside, return_exceptions=True)
            else:
                rest.set()
                assert (await inside).status == (200 if end == "answered" else 400)
            assert limits.spooled_bytes == 0
            assert (await post(app, pieces(LARGE))).status == 200

        app.runner.run(scenario())


def test_request_in_the_queue_holds_no_bytes_on_disk() -> None:
    hold = Hold()
    session = FakeSession("fake", before_step=hold)
    with in_process(session, max_upload_bytes=3_000_000, max_spooled_bytes=3_000_000) as app:

        async def scenario() -> None:
            first = asyncio.create_task(post(app, pieces(LARGE)))
            try:
                assert await asyncio.to_thread(hold.reached.wait, 60)
                second = asyncio.create_task(post(app, pieces(LARGE), content_length=str(len(LARGE))))
                await settle()
            finally:
                hold.go_on.set()
            assert [(await each).status for each in (first, second)] == [200, 200]

        app.runner.run(scenario())


def test_limits_of_uploads_by_default_and_by_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    def limits_of(**settings: Any) -> tuple[int, int]:
        limits = upload_limits.UploadLimits(Settings(**settings))
        return limits.max_uploads, limits.max_bytes

    monkeypatch.setattr("os.cpu_count", lambda: 8)
    assert limits_of() == (64, 2**32)
    assert limits_of(max_upload_bytes=1_000) == (64, 4_000)
    assert limits_of(max_uploads=3, max_upload_bytes=1_000, max_spooled_bytes=1_000) == (3, 1_000)
    with pytest.raises(ConfigError, match="at least max_upload_bytes") as refused:
        load_settings({"max_spooled_bytes": 1_000_000})
    assert refused.value.setting == "max_spooled_bytes"
