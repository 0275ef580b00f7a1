"""Random and damaged HTTP against a real server: it goes on, answers health checks, and logs little."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random

import pytest

from tests.fuzz.conftest import FuzzBudget
from tests.support.fake_server import FakeServer, fake_server
from tests.support.sounds import make_audio

CLIENTS = 3
ANSWER_TIMEOUT_S = 0.05  # most damaged requests are waited for by the server too
MAX_HEALTH_S = 5.0  # far above what it takes, as the test shares its processor with others
MAX_LOG_LINES = 2_000
PATHS = (
    b"/v1/audio/speech",
    b"/v3/audio/transcriptions",
    b"/v1/models",
    b"/v1/config/reload",
    b"/v2/health/live",
    b"/metrics",
    b"//v1///audio/%73peech",
    b"/..%2f..%2fetc/passwd",
    b"*",
    b"http://other/v1/models",
)
METHODS = (b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"TRACE", b"PRI", b"get", b"\x00")
HEADERS = (
    b"Host: x",
    b"Content-Length: 5",
    b"Content-Length: 99999999999999999999",
    b"Content-Length: -1",
    b"Content-Length: 5, 5",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Connection: close",
    b"Connection: Upgrade, HTTP2-Settings",
    b"Upgrade: websocket",
    b"Upgrade: h2c",
    b"Expect: 100-continue",
    b"Expect: something",
    b"Content-Type: multipart/form-data; boundary=x",
    b"Content-Type: application/json",
    b"Authorization: Bearer \xff\xfe",
    b"x-request-timeout: nan",
    b"x-antiphon-priority: high",
    b" folded: value",
    b"no colon",
    b": empty name",
    b"Range: bytes=0-",
    b"Origin: null",
)
BREAKS = (b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\x00", b" ", b"\xff", b":", b";", b"0\r\n\r\n", b"fffffffffffffff\r\n")


def whole_requests() -> tuple[bytes, ...]:
    """Requests that are answered with 200."""
    speech = json.dumps({"input": "A sentence. Another one."}).encode()
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    form = part + make_audio(0.2) + b"\r\n--x--\r\n"
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(speech[at : at + 7]), speech[at : at + 7]) for at in range(0, len(speech), 7)
    )
    return (
        b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /v1/models HTTP/1.0\r\n\r\n",
        b"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(speech) + speech,
        b"POST /v1/audio/speech HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n",
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: %d\r\n\r\n" % len(form) + form,
    )


def generated(rng: Random) -> bytes:
    """A request put together from pieces that may not go together."""
    version = rng.choice((b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b""))
    first = b" ".join((rng.choice(METHODS), rng.choice(PATHS), version))
    headers = [rng.choice(HEADERS) for _ in range(rng.randrange(8))]
    if rng.random() < 0.1:
        headers.append(b"x: " + bytes(rng.choices(range(256), k=rng.choice((10, 1_000, 100_000)))))
    return b"\r\n".join((first, *headers, b"", b"")) + rng.randbytes(rng.randrange(200))


def damaged(data: bytes, rng: Random) -> bytes:
    """`data` with some bytes changed, removed, doubled or added, or cut off."""
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        at = rng.randrange(len(changed) + 1)
        match rng.randrange(5):
            case 0:
                changed[at : at + 1] = rng.randbytes(1)
            case 1:
                del changed[at : at + rng.randrange(1, 20)]
            case 2:
                changed[at:at] = changed[max(0, at - 30) : at]
            case 3:
                changed[at:at] = rng.choice(BREAKS)
            case 4:
                del changed[rng.randrange(at, len(changed) + 1) :]
    return bytes(changed)


def next_request(rng: Random, whole: tuple[bytes, ...]) -> bytes:
    match rng.randrange(4):
        case 0:
            return generated(rng)
        case 1:
            return rng.randbytes(rng.randrange(1, 2_000))
        case 2:
            return b"".join(rng.choices(whole, k=3)) + damaged(rng.choice(whole), rng)
        case _:
            return damaged(rng.choice(whole), rng)


def send(port: int, data: bytes, rng: Random) -> Iterator[int]:
    """Send `data` in some pieces, and give the statuses of the answers that come soon."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        for _ in range(rng.randrange(1, 4)):
            cut = rng.randrange(len(data) + 1)
            connection.sendall(data[:cut])
            data = data[cut:]
        connection.sendall(data)
        if rng.random() < 0.5:
            connection.shutdown(socket.SHUT_WR)
        if rng.random() < 0.1:
            return
        connection.settimeout(ANSWER_TIMEOUT_S)
        answer = b""
        with contextlib.suppress(TimeoutError):
            while piece := connection.recv(65536):
                answer += piece
        yield from (int(status) for status in re.findall(rb"HTTP/1\.1 (\d\d\d) ", answer))


def attack(server: FakeServer, seed: str, until: float) -> list[int]:
    """Send requests until that time; the statuses of all answers."""
    rng, whole = Random(seed), whole_requests()
    statuses: list[int] = []
    while time.monotonic() < until:
        statuses += send(server.port, next_request(rng, whole), rng)
    return statuses


@pytest.mark.usefixtures("fuzz_budget")
def test_server_goes_on_whatever_is_sent(fuzz_budget: FuzzBudget, tmp_path: Path) -> None:
    seconds, rng = fuzz_budget
    log = tmp_path / "log"
    with fake_server(log, drain_grace=0) as server, ThreadPoolExecutor(CLIENTS) as pool:
        until = time.monotonic() + seconds
        attacks = [pool.submit(attack, server, str(rng.random()), until) for _ in range(CLIENTS)]
        while any(not each.done() for each in attacks):
            began = time.monotonic()
            assert server.process.poll() is None
            assert server.client.get("/v2/health/live").status_code == 200
            assert time.monotonic() - began < MAX_HEALTH_S
            time.sleep(0.05)
        statuses = [status for each in attacks for status in each.result()]
        assert server.process.poll() is None
        assert server.client.get("/v2/health/ready").status_code == 200
        assert server.client.get("/v1/models").status_code == 200
        server.process.terminate()
        assert server.process.wait(60) == 0
    written = log.read_text()
    assert statuses
    assert {status for status in statuses if status >= 500} == set()
    assert "Exception in ASGI" not in written
    assert "data_received" not in written
    assert len(written.splitlines()) < MAX_LOG_LINES
    print(f"{len(statuses)} answers: {sorted(set(statuses))}; {len(written.splitlines())} lines of log")
