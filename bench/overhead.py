"""What HTTP, the form, decoding and the queue cost a request: three seconds of wav, one client, a model that ends at once.

Beside it, request by request, the same upload to a server that only reads it: what the wire and the framework cost anyway.
The client is a socket and bytes made once, on a kept connection. The last line is JSON.

    .venv/bin/python bench/overhead.py
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from antiphon.audio.decode import decode
from bench.callers import clip, length_of, upload
from bench.servers import antiphon, bare, running

WARMING = 20  # requests that are not counted: whatever is made at first use


class Client:
    """One kept connection."""

    def __init__(self, connection: socket.socket, request: bytes) -> None:
        self._connection = connection
        self._request = request

    def ask(self) -> tuple[float, int, bytes]:
        """Seconds until the answer was complete, its status, and its body."""
        began = time.perf_counter()
        self._connection.sendall(self._request)
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._more()
        head, _, body = received.partition(b"\r\n\r\n")
        while len(body) < length_of(head):
            body += self._more()
        return time.perf_counter() - began, int(head[9:12]), body

    def _more(self) -> bytes:
        received = self._connection.recv(1 << 16)
        if not received:
            raise SystemExit("the server hung up")
        return received


@contextmanager
def connected(port: int, request: bytes) -> Iterator[Client]:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as curl and the SDKs have it
        yield Client(connection, request)


def measure(requests: int, file: bytes) -> dict[str, list[float]]:
    request = upload(file)
    times: dict[str, list[float]] = {"antiphon": [], "bare": [], "decoding alone": []}
    with ExitStack() as stack:
        servers = {
            name: stack.enter_context(running(each)) for name, each in (("antiphon", antiphon(None)), ("bare", bare()))
        }
        clients = {name: stack.enter_context(connected(each.port, request)) for name, each in servers.items()}
        for number in range(WARMING + requests):
            for name, client in clients.items():
                took, status, body = client.ask()
                if status != 200:
                    raise SystemExit(f"{name} answered {status}: {body.decode(errors='replace')}")
                if number >= WARMING:
                    times[name].append(took)
            began = time.perf_counter()
            decode(file)
            if number >= WARMING:
                times["decoding alone"].append(time.perf_counter() - began)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--clip", type=float, default=3.0, help="seconds of audio in a request")
    asked = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    for name, times in measure(asked.requests, clip(asked.clip)).items():
        figures[name] = {f"p{at}_ms": round(float(np.percentile(times, at)) * 1000, 2) for at in (0, 50, 95)}
        print(
            f"{name:16}",
            "   ".join(f"{each.removesuffix('_ms')} {took:6.2f} ms" for each, took in figures[name].items()),
        )
    print(json.dumps({"requests": asked.requests, "clip_s": asked.clip, **figures}))


if __name__ == "__main__":
    main()
