"""A whole server in a process of its own, with a model whose worker dies or is stuck."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from antiphon.supervision import EXIT_STUCK
from tests.support.http_helpers import calling, wait_until
from tests.support.sounds import make_audio

SOURCE = Path(__file__).parents[2] / "src"
# The first session ends or blocks its worker at a clip of 2 s; the ones after it work, and are loaded once a file exists.
SERVER = """
import os, sys, threading, time
from antiphon import supervision
from antiphon.scheduling import scheduler
from antiphon.server import lifecycle
from antiphon.settings import load_settings
from antiphon.server.state import ServerState
from antiphon.testing.fake import FakeSession

def close(self):
    self.drain()
    self._service.models.close(timeout=0.1)

if float(sys.argv[2]) == 0:
    ServerState.close = close
scheduler.MAX_LAST_STEP_S = supervision.LOOK_EVERY_S = 0.1
loaded = []

class Faulty(FakeSession):
    def step(self):
        if len(loaded) == 1 and any(len(unit.samples) > 20_000 for unit in self._steps_left):
            if sys.argv[1] == "dead":
                raise SystemExit
            print("The worker is stuck", flush=True)
            threading.Event().wait()
        return super().step()

def load(spec, *_):
    loaded.append(spec)
    while len(loaded) > 1 and not os.path.exists(sys.argv[3]):
        time.sleep(0.01)
    return (Faulty(spec.name),)

lifecycle.load = load
flags = {"model_path": "fake", "rest_port": 0, "rest_bind_address": "127.0.0.1", "stall_seconds": float(sys.argv[2])}
flags["drain_grace"] = 0
lifecycle.run_server(load_settings(flags), report=lambda line: print(line, flush=True))
"""


@contextmanager
def serving(fault: str, stall_seconds: float, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """The server, once it is ready; it is killed at the end of the block. Its log is in the folder."""
    log = folder / "log"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    with log.open("w") as output:
        command = [sys.executable, "-c", SERVER, fault, str(stall_seconds), str(folder / "load")]
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        wait_until(lambda: "Ready at " in log.read_text() or process.poll() is not None)
        url = log.read_text().partition("Ready at ")[2].split()[0]
        with httpx.Client(base_url=url, timeout=60) as client:
            yield process, client
    finally:
        process.kill()
        process.wait()


def ask(client: httpx.Client, seconds: float) -> httpx.Response:
    return client.post("/v1/audio/transcriptions", files={"file": ("a.wav", make_audio(seconds))})


def test_dead_worker_is_not_ready_503_until_its_model_is_loaded_again(tmp_path: Path) -> None:
    with serving("dead", 60.0, tmp_path) as (process, client):
        assert ask(client, 2.0).status_code == 500
        assert client.get("/v2/health/ready").status_code == 503
        assert ask(client, 2.0).status_code == 503
        (tmp_path / "load").touch()
        wait_until(lambda: client.get("/v2/health/ready").status_code == 200)
        assert ask(client, 2.0).status_code == 200
        process.terminate()
        assert process.wait(60) == 0


@pytest.mark.parametrize("stopped", [False, True])
def test_server_with_a_stuck_worker_exits_with_70(stopped: bool, tmp_path: Path) -> None:
    """By itself, and while it drains after SIGTERM. The requests inside get an answer."""
    log = tmp_path / "log"
    with serving("stuck", 0.5, tmp_path) as (process, client), ThreadPoolExecutor(1) as pool:
        answer = pool.submit(ask, client, 2.0)
        wait_until(lambda: "The worker is stuck" in log.read_text())
        if stopped:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == EXIT_STUCK
        assert answer.result(60).status_code == 503
    assert f"the process exits with code {EXIT_STUCK}" in log.read_text()


def test_server_that_has_drained_does_not_wait_for_a_stuck_worker(tmp_path: Path) -> None:
    """Without a stall limit, and with one for draining. The interpreter would wait for the thread as it exits."""
    with serving("stuck", 0.0, tmp_path) as (process, client):
        request = client.build_request("POST", "/v1/audio/transcriptions", files={"file": ("a.wav", make_audio(2.0))})
        server, kind = SimpleNamespace(port=client.base_url.port), request.headers["content-type"]
        with calling(server, request.url.path, request.read(), content_type=kind):
            wait_until(lambda: "The worker is stuck" in (tmp_path / "log").read_text())
        process.terminate()
        assert process.wait(60) == EXIT_STUCK
