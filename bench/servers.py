"""Servers to measure, each a process of its own on a free loopback port: ours with a fake model or a real one, and a bare one.

Run as a script it is the server: `servers.py fake SECONDS_A_STEP` with the flags of `antiphon serve`, or `servers.py bare`.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ANTIPHON = str(Path(sys.executable).with_name("antiphon"))
TICKS = 100  # a second, of the kernel's account of processor time


@dataclass(frozen=True)
class Server:
    """Where it listens, and its process's number."""

    port: int
    process: int

    @property
    def megabytes(self) -> float:
        """What it has in memory."""
        status = Path(f"/proc/{self.process}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    @property
    def processor_seconds(self) -> float:
        """What it has worked, all its threads."""
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def running(command: Sequence[str]) -> Iterator[Server]:
    """A server that says "Ready at URL"; it is stopped at the end of the block, and must end well."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                if line.startswith("Ready at "):
                    yield Server(int(line.rsplit(":", 1)[1]), process.pid)
                    break
        finally:
            process.terminate()
            process.communicate()
    if process.returncode:
        raise SystemExit(f"the server ended with {process.returncode}")


def antiphon(model: str | None, *flags: str, step: float = 0.0) -> list[str]:
    """The command of a server with this model, or with a fake one that takes `step` seconds a step."""
    start = [ANTIPHON, "serve", "--model_path", model] if model else [sys.executable, __file__, "fake", str(step)]
    return [*start, "--rest_port", "0", "--rest_bind_address", "127.0.0.1", "--log_level", "ERROR", *flags]


def bare() -> list[str]:
    """The command of a server that reads what it is sent, and says so."""
    return [sys.executable, __file__, "bare"]


def be_fake(step: float, flags: Sequence[str]) -> None:
    from antiphon.model_spec import ModelSpec
    from antiphon.server import lifecycle as server
    from antiphon.settings import load_settings
    from antiphon.testing.fake import FakeSession

    def load(wanted: ModelSpec, *_: object, **__: object) -> FakeSession:
        return FakeSession(wanted.name, slots=16, before_step=lambda: time.sleep(step) if step else None)

    server.load = load
    named = dict(zip((each.removeprefix("--") for each in flags[::2]), flags[1::2], strict=True))
    server.run_server(
        load_settings({**named, "model_path": "starter-asr"}), report=lambda line: print(line, flush=True)
    )


def be_bare() -> None:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    from antiphon.server.lifecycle import bind, url_of

    async def read(request: Request) -> Response:
        return JSONResponse({"bytes": len(await request.body())})

    app = Starlette(routes=[Route("/{path:path}", read, methods=["POST"])])
    listeners = bind(
        "127.0.0.1", 0
    )  # not uvicorn's own, on whose connections Nagle holds the answer's body up for 40 ms
    server = uvicorn.Server(uvicorn.Config(app, http="h11", ws="none", log_config=None, access_log=False))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # uvicorn raises the signal again once it has ended
    print(f"Ready at {url_of(listeners[0])}", flush=True)
    server.run(listeners)


if __name__ == "__main__":
    be_bare() if sys.argv[1] == "bare" else be_fake(float(sys.argv[2]), sys.argv[3:])
