"""For tests of HTTP routes: the shape of an error, clients that disconnect, and models that wait."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def error_of(response: Any, status: int, *, param: str | None) -> dict[str, Any]:
    """The error object, after checking that it has OpenAI's shape."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["param"] == param
    assert body["error"]["message"]
    return body["error"]


def wait_until(true: Callable[[], Any]) -> None:
    """Return as soon as `true()` is true; fail after 30 s."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


@contextmanager
def calling(
    server: Any, path: str, body: bytes, *, content_type: str = "application/json", sent: float = 1.0
) -> Iterator[socket.socket]:
    """A POST with the share `sent` of its body sent; the client disconnects at the end of the block."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(head.encode() + body[: round(len(body) * sent)])
        yield connection


class Hold:
    """A fake's `before_step`: step number `at`, and every later one, lasts until `go_on` is set."""

    def __init__(self, at: int = 1) -> None:
        self.steps = 0
        self.reached, self.go_on = threading.Event(), threading.Event()
        self._at = at

    def __call__(self) -> None:
        self.steps += 1
        if self.steps >= self._at:
            self.reached.set()
            assert self.go_on.wait(60)
