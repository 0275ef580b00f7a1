"""What HTTP, the form, decoding and the queue add to a request: 3 s of wav, one client, a model that answers at once.

The same upload also goes, by turns, to a server that only reads it: the cost of the wire and the framework. The client sends
bytes made once over a kept connection. The last line is JSON.

    .venv/bin/python bench/overhead.py

As `overhead.py fake SECONDS_PER_STEP FLAGS...` and `overhead.py bare` it is the server; bench/overload.py uses the first too.
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from antiphon.audio.decode import decode
from antiphon.benchmark.clips import make_noise, to_wav
from antiphon.benchmark.figures import percentile

WARM_UP = 20  # requests that are not counted
TICKS = 100  # per second, of the kernel's account of processor time
BOUNDARY = "antiphon-bench-boundary"


@dataclass(frozen=True)
class Server:
    """The port and the process of a server."""

    port: int
    process: int

    @property
    def megabytes(self) -> float:
        """The resident set."""
        status = Path(f"/proc/{self.process}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024

    @property
    def processor_seconds(self) -> float:
        """Processor time of all threads."""
        fields = Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def running(command: Sequence[str]) -> Iterator[Server]:
    """Start a server that prints "Ready at URL", and stop it at the end of the block."""
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
    """The command of a server with a model, or with a fake model whose steps take `step` seconds."""
    executable = str(Path(sys.executable).with_name("antiphon"))
    start = [executable, "serve", "--model_path", model] if model else [sys.executable, __file__, "fake", str(step)]
    return [*start, "--rest_port", "0", "--rest_bind_address", "127.0.0.1", "--log_level", "ERROR", *flags]


def serve_fake(step: float, flags: Sequence[str]) -> None:
    from antiphon.model_spec import ModelSpec
    from antiphon.server import lifecycle
    from antiphon.settings import load_settings
    from antiphon.testing.fake import FakeSession

    def load(spec: ModelSpec, *_: object, **__: object) -> list[FakeSession]:
        return [FakeSession(spec.name, slots=16, before_step=lambda: time.sleep(step) if step else None)]

    lifecycle.load = load
    named = dict(zip((flag.removeprefix("--") for flag in flags[::2]), flags[1::2], strict=True))
    settings = load_settings({**named, "model_path": "fake"})
    lifecycle.run_server(settings, report=lambda line: print(line, flush=True))


def serve_bare() -> None:
    """A server that answers with the number of bytes it read."""
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response
    from starlette.routing import Route

    from antiphon.server.listener import bind, url_of

    async def read(request: Request) -> Response:
        return JSONResponse({"bytes": len(await request.body())})

    app = Starlette(routes=[Route("/{path:path}", read, methods=["POST"])])
    # On the sockets that uvicorn itself opens, Nagle's algorithm delays the body of an answer by 40 ms.
    listeners = bind("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, http="h11", ws="none", log_config=None, access_log=False))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # uvicorn raises the signal again when it has ended
    print(f"Ready at {url_of(listeners[0])}", flush=True)
    server.run(listeners)


def form(file: bytes) -> bytes:
    """The multipart body of a request for a transcript."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
    return f"{head}Content-Type: audio/wav\r\n\r\n".encode() + file + f"\r\n--{BOUNDARY}--\r\n".encode()


def ask(connection: http.client.HTTPConnection, body: bytes) -> float:
    """Seconds until the answer is complete."""
    began = time.perf_counter()
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    connection.request("POST", "/v1/audio/transcriptions", body, headers)
    response = connection.getresponse()
    text = response.read()
    if response.status != http.client.OK:
        raise SystemExit(f"answered {response.status}: {text.decode(errors='replace')}")
    return time.perf_counter() - began


def measure(requests: int, file: bytes) -> dict[str, list[float]]:
    """Seconds of each request and of each decoding."""
    body = form(file)
    times: dict[str, list[float]] = {"antiphon": [], "bare": [], "decoding alone": []}
    commands = {"antiphon": antiphon(None), "bare": [sys.executable, __file__, "bare"]}
    with ExitStack() as stack:
        servers = {name: stack.enter_context(running(command)) for name, command in commands.items()}
        connections = {
            name: http.client.HTTPConnection("127.0.0.1", server.port, timeout=60) for name, server in servers.items()
        }
        for _ in range(WARM_UP + requests):
            for name, connection in connections.items():
                times[name].append(ask(connection, body))
            began = time.perf_counter()
            decode(file)
            times["decoding alone"].append(time.perf_counter() - began)
        for connection in connections.values():
            connection.close()
    return {name: seconds[WARM_UP:] for name, seconds in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--clip", type=float, default=3.0, help="seconds of audio in a request")
    options = parser.parse_args()
    file = to_wav(make_noise(options.clip, np.random.default_rng(0)))
    figures = {
        name: {f"p{at}_ms": round(percentile(seconds, at) * 1000, 2) for at in (1, 50, 95)}
        for name, seconds in measure(options.requests, file).items()
    }
    for name, found in figures.items():
        print(f"{name:16}", found)
    print(json.dumps({"requests": options.requests, "clip_s": options.clip, **figures}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["bare"]:
        serve_bare()
    elif sys.argv[1:2] == ["fake"]:
        serve_fake(float(sys.argv[2]), sys.argv[3:])
    else:
        main()
