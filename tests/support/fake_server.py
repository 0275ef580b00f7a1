"""A server with fake models in a process of its own: `with fake_server(log, drain_grace=0) as server`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from antiphon.model_server import ModelServer
from antiphon.scheduling.queue import Limits
from antiphon.server.app import create_app
from antiphon.server.lifecycle import connection_limits, create_server
from antiphon.server.listener import bind
from antiphon.server.logs import set_up_logging
from antiphon.service import SpeechService
from antiphon.settings import Settings
from antiphon.testing.fake import FakeSession, FakeVoice


@dataclass(frozen=True)
class FakeServer:
    """The process, and a client for it."""

    port: int
    process: subprocess.Popen[str]
    client: httpx.Client


@contextmanager
def fake_server(log: Path, *, descriptors: int | None = None, **settings: Any) -> Iterator[FakeServer]:
    """A server that is ready; it is killed at the end if it is still alive. `log` gets what it writes to stderr."""
    command = [
        sys.executable,
        "-X",
        "faulthandler",
        "-m",
        "tests.support.fake_server",
        json.dumps(settings),
        str(descriptors or ""),
    ]
    root = Path(__file__).parents[2]
    with log.open("w") as errors:
        process = subprocess.Popen(
            command,
            cwd=root,
            env={"PYTHONPATH": f"{root}/src:{root}"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port, log.read_text()
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            yield FakeServer(int(port), process, client)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _serve(settings: Settings, descriptors: int | None) -> None:
    if descriptors is not None:
        import resource

        resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    set_up_logging("INFO", None)
    models = ModelServer(None, limits=Limits(requests=settings.max_queued_requests))
    for session in (FakeSession(), FakeVoice(chunks=10, seconds=1.0)):
        models.add(session)
    app = create_app(SpeechService(models), settings)
    sockets = bind("127.0.0.1", 0)
    server = create_server(app, settings, connection_limits(settings))
    app.state.server.open()
    print(sockets[0].getsockname()[1], flush=True)
    server.run(sockets)


if __name__ == "__main__":
    _serve(Settings(**json.loads(sys.argv[1])), int(sys.argv[2]) if sys.argv[2] else None)
