"""The end of a server: what happens to requests, uploads and connections after a signal, and that it comes in time."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from antiphon.model_server import ModelServer
from antiphon.models.session import AnySession
from antiphon.server.app import create_app
from antiphon.server.connections import ConnectionLimits, ServerConfig
from antiphon.server.draining import DrainingServer, DrainLimits
from antiphon.server.listener import bind
from antiphon.service import SpeechService
from antiphon.settings import Settings
from antiphon.testing.fake import FakeSession, FakeVoice
from tests.support.fake_server import fake_server
from tests.support.http_helpers import Hold, calling, wait_until
from tests.support.sounds import make_audio

SPEECH = json.dumps({"input": "One sentence. " * 1000, "response_format": "pcm"}).encode()


@dataclass
class Draining:
    """A server in a thread of this process, and the exit codes it would have ended the process with."""

    port: int
    server: DrainingServer
    thread: threading.Thread
    client: httpx.Client
    models: ModelServer
    exits: list[int]

    def signal(self, number: int = signal.SIGTERM) -> None:
        self.server.handle_exit(number, None)

    def has_ended(self) -> bool:
        self.thread.join(30)
        return not self.thread.is_alive()

    def transcribe(self) -> httpx.Response:
        return self.client.post("/v1/audio/transcriptions", files={"file": ("a.wav", make_audio(0.5))})


StartDraining = Callable[..., Draining]


@pytest.fixture
def start() -> Iterator[StartDraining]:
    """`start(session, seconds=…, grace=…)`: a server that is ready."""
    with ExitStack() as stack:

        def started(*sessions: AnySession, seconds: float = 60.0, grace: float = 0.0, loaded: bool = True) -> Draining:
            models = ModelServer(None)
            for session in sessions:
                models.add(session)
            app = create_app(SpeechService(models), Settings())
            if loaded:
                app.state.server.open()
            exits: list[int] = []
            limits = DrainLimits(seconds, grace, last_answers=0.5, last_resort=1.0)
            server = DrainingServer(ServerConfig(app, ConnectionLimits()), app.state.server, limits, exits.append)
            sockets = bind("127.0.0.1", 0)
            port = sockets[0].getsockname()[1]
            thread = threading.Thread(target=server.run, args=(sockets,))
            thread.start()
            wait_until(lambda: server.started)
            client = stack.enter_context(httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60))
            return Draining(port, server, thread, client, models, exits)

        yield started


def test_idle_server_ends_without_delay(start: StartDraining) -> None:
    draining = start(FakeSession())
    assert draining.client.get("/v2/health/ready").status_code == 200
    draining.signal()
    assert draining.has_ended()
    assert draining.exits == []


def test_request_inside_is_answered(start: StartDraining) -> None:
    hold = Hold()
    draining = start(FakeSession(before_step=hold))
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(draining.transcribe)
        assert hold.reached.wait(30)
        draining.signal()
        hold.go_on.set()
        assert answer.result().status_code == 200
    assert draining.has_ended()


def test_sockets_stay_open_with_503_for_the_grace_period(start: StartDraining) -> None:
    draining = start(FakeSession(), grace=1.5)
    assert draining.transcribe().status_code == 200
    draining.signal()
    wait_until(lambda: draining.client.get("/v2/health/ready").status_code == 503)
    wait_until(lambda: draining.client.get("/health").headers.get("connection") == "close")
    with httpx.Client(base_url=draining.client.base_url) as client:  # a new connection
        assert client.get("/v2/health/live").status_code == 200
    refused = draining.transcribe()
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["connection"] == "close"
    assert draining.has_ended()
    with pytest.raises(httpx.ConnectError):
        draining.client.get("/v2/health/live")


@pytest.mark.parametrize(("number", "loaded"), [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_no_grace_period_for_ctrl_c_and_for_a_server_that_never_was_ready(
    start: StartDraining, number: int, loaded: bool
) -> None:
    draining = start(FakeSession(), grace=60.0, loaded=loaded)
    draining.signal(number)
    assert draining.has_ended()


@pytest.mark.parametrize("path", ["/v1/audio/speech", "/v1/audio/transcriptions"])
def test_half_an_upload_is_503_at_once(start: StartDraining, path: str) -> None:
    draining = start(FakeVoice(), FakeSession())
    form = "multipart/form-data; boundary=x"
    with calling(draining, path, SPEECH, content_type=form, sent=0.5) as connection:
        wait_until(lambda: draining.server.server_state.tasks)
        draining.signal()
        assert draining.has_ended()
        assert connection.recv(65536).startswith(b"HTTP/1.1 503")


def test_speech_whose_caller_does_not_read_ends_at_the_limit(start: StartDraining) -> None:
    draining = start(FakeVoice(chunks=10, seconds=1.0), seconds=0.5)
    with calling(draining, "/v1/audio/speech", SPEECH) as connection:
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        draining.signal()
        assert draining.has_ended()
    assert draining.exits == []


def test_request_that_is_not_finished_at_the_limit_is_503(
    start: StartDraining, caplog: pytest.LogCaptureFixture
) -> None:
    hold = Hold()
    draining = start(FakeSession(before_step=hold), seconds=0.3)
    with ThreadPoolExecutor() as pool:
        answer = pool.submit(draining.transcribe)
        assert hold.reached.wait(30)
        draining.signal()
        assert answer.result().status_code == 503
        assert answer.result().json()["error"]["code"] == "unavailable"
        assert "1 requests were not finished within 0.3 s and are ended" in caplog.messages
        wait_until(lambda: draining.exits)  # the step goes on, so the process would be ended
        hold.go_on.set()
    assert draining.has_ended()
    assert draining.exits == [0]


def test_second_signal_ends_the_process_at_once(start: StartDraining) -> None:
    draining = start(FakeSession(), grace=1.0)
    draining.signal()
    draining.signal(signal.SIGINT)
    assert draining.exits == [128 + signal.SIGINT]
    assert draining.has_ended()


def test_process_ends_with_exit_code_0_beside_half_an_upload_and_a_caller_that_does_not_read(tmp_path: Path) -> None:
    with fake_server(tmp_path / "log", drain_grace=0, drain_seconds=1) as server, ExitStack() as stack:
        stack.enter_context(calling(server, "/v1/audio/transcriptions", SPEECH, sent=0.5))
        speech = stack.enter_context(calling(server, "/v1/audio/speech", SPEECH))
        assert speech.recv(1000).startswith(b"HTTP/1.1 200")
        server.process.terminate()
        assert server.process.wait(60) == 0


def test_second_signal_ends_a_process_in_its_grace_period(tmp_path: Path) -> None:
    with fake_server(tmp_path / "log", drain_grace=60) as server:
        server.process.terminate()
        wait_until(lambda: server.client.get("/health").status_code == 503)
        server.process.terminate()
        assert server.process.wait(30) == 128 + signal.SIGTERM
