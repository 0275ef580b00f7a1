"""`antiphon` in a process of its own: `with serving("--model_path", folder, log=log) as server`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

SOURCE = Path(__file__).parents[2] / "src"


@dataclass(frozen=True)
class Served:
    """The process, its port, and a client for it."""

    process: subprocess.Popen[bytes]
    port: int
    client: httpx.Client


@contextmanager
def serving(*arguments: str, log: Path, **environment: str) -> Iterator[Served]:
    """`antiphon` with these flags, once it is ready; at the end it must stop with exit code 0. `log` gets its output."""
    port = free_port()
    command = [sys.executable, "-m", "antiphon", "--rest_port", str(port), "--rest_bind_address", "127.0.0.1"]
    command += ["--drain_grace", "0"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, *arguments],
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONPATH": str(SOURCE), **environment},
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300) as client:
            wait_until(lambda: is_ready(client, process), log)
            yield Served(process, port, client)
            process.terminate()
            assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def is_ready(client: httpx.Client, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "the server has exited"
    try:
        return client.get("/v2/health/ready").status_code == 200
    except httpx.ConnectError:
        return False


def wait_until(true: Callable[[], Any], log: Path) -> None:
    """Return as soon as `true()` is true; after five minutes, fail and show the log."""
    until = time.monotonic() + 300
    while not true():
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)
