"""Clients that disconnect at every stage of a request: all of it is cleaned up, and other requests are not affected.

That decoding, steps and the sending of sound end is tested with the routes they belong to.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest

from antiphon.testing.fake import FakeSession
from tests.support.http_helpers import Hold, calling, wait_until
from tests.support.prometheus_parse import value
from tests.support.sounds import make_audio

WAV = make_audio(0.5)
HEAD = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
TAIL = b"\r\n--xyz--\r\n"


def sending(server: Any, sent: float = 1.0) -> AbstractContextManager[object]:
    """A request with part of its file sent, whose client disconnects at the end of the block."""
    form = "multipart/form-data; boundary=xyz"
    return calling(server, "/v1/audio/transcriptions", HEAD + WAV + TAIL, content_type=form, sent=sent)


def post(server: Any) -> Any:
    return server.client.post("/v1/audio/transcriptions", files={"file": ("a.wav", WAV)})


def hung_up(server: Any) -> float:
    text = server.client.get("/metrics").text
    return value(text, "antiphon_requests_total", status="499") if 'status="499"' in text else 0.0


@pytest.mark.parametrize("sent", [0.0, 0.001, 0.9])
def test_disconnect_while_uploading(start_server: Any, sent: float) -> None:
    server = start_server(FakeSession("fake", join_fails=lambda _unit: True), metrics_enable=True)
    with sending(server, sent):
        time.sleep(0.05)
    wait_until(lambda: hung_up(server) == 1)
    assert server.models.loads()[0].requests == 0


def test_disconnect_while_waiting_for_a_slot(start_server: Any) -> None:
    hold = Hold()
    joined: list[Any] = []

    class Session(FakeSession):
        def join(self, units: Any) -> Any:
            joined.extend(units)
            return super().join(units)

    server = start_server(Session("fake", slots=1, before_step=hold))
    with ThreadPoolExecutor(1) as pool:
        try:
            first = pool.submit(post, server)
            assert hold.reached.wait(60)
            with sending(server):
                wait_until(lambda: server.models.loads()[0].waiting == 1)
            wait_until(lambda: server.models.loads()[0].waiting == 0)  # while the worker is still in its step
        finally:
            hold.go_on.set()
        assert first.result().status_code == 200
    assert len(joined) == 1


def test_disconnect_while_audio_is_encoded(start_server: Any) -> None:
    inside, go_on, left = threading.Event(), threading.Event(), threading.Event()

    class Session(FakeSession):
        def join(self, units: Any) -> Any:
            inside.set()
            assert go_on.wait(60)
            return super().join(units)

        def leave(self, unit: Any) -> None:
            super().leave(unit)
            left.set()

    session = Session("fake", slots=1)
    server = start_server(session)
    with sending(server):
        assert inside.wait(30)
    wait_until(lambda: server.models.loads()[0].requests == 0)
    go_on.set()
    assert left.wait(30)
    assert session.batches == []  # not one step was spent on it
    assert post(server).status_code == 200
