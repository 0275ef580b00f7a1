"""A helper process for tests: each kind of message is something that it does."""

from __future__ import annotations

import ctypes
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from antiphon.isolation.channel import Channel
from antiphon.isolation.child import run_helper, task_limits

MEGABYTE = 1 << 20


def allocate(megabytes: int) -> bytes:
    try:
        return str(len(bytearray(megabytes * MEGABYTE))).encode()
    except MemoryError:
        return b"MemoryError"


def fork() -> None:
    if os.fork() == 0:
        os._exit(0)


ATTEMPTS: dict[bytes, Callable[[], object]] = {
    b"connect": lambda: socket.socket(),
    b"start a program": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
    b"fork": fork,
    b"signal the server": lambda: os.kill(os.getppid(), 0),
    b"limit the server": lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CPU),
    b"read a file": lambda: os.open("/proc/self/environ", os.O_RDONLY),
    b"write a file": lambda: os.open("/dev/null", os.O_WRONLY),
    b"remove a file": lambda: Path("/proc/self/environ").unlink(),
}


def attempt(name: bytes) -> bytes:
    try:
        ATTEMPTS[name]()
    except OSError as error:
        return os.strerror(error.errno or 0).encode()
    return b"done"


def serve(channel: Channel) -> None:
    while True:
        kind, payload = channel.receive()
        match kind:
            case b"e":
                channel.send(b"e", payload)
            case b"c":
                ctypes.string_at(0)
            case b"h":
                time.sleep(600)
            case b"m":
                with task_limits(memory_bytes=64 * MEGABYTE, cpu_seconds=60):
                    channel.send(b"m", allocate(int(payload)))
            case b"p":
                with task_limits(memory_bytes=64 * MEGABYTE, cpu_seconds=0.1):
                    while True:
                        pass
            case b"v":
                channel.send(b"v", "\n".join(os.environ).encode())
            case b"a":
                channel.send(b"a", attempt(payload))
            case b"b":
                channel._writer.write(b"b" + b"\xff" * 4)  # announces 4 GB
                channel._writer.flush()
            case _:
                print("printed by a library")
                sys.stdout.flush()
                channel.send(kind)


if __name__ == "__main__":
    run_helper(serve, reads_files=False)
