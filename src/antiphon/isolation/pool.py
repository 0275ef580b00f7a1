"""Start helper processes, exchange messages with them, kill them, and replace those that ended."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from antiphon.errors import AntiphonError, Unavailable
from antiphon.isolation.channel import Channel, Message

if sys.platform == "linux":
    import fcntl

logger = logging.getLogger(__name__)

# The environment variables a helper gets: none that hold keys or tokens.
_VARIABLES = frozenset({"HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR"})
_RETRY_AFTER_S = 5.0
_PIPE_BYTES = 1 << 19
_END_SECONDS = 2.0  # for a process to end after it has closed its channel
_OUT_OF_TIME = frozenset({-signal.SIGPROF, -signal.SIGXCPU}) if sys.platform != "win32" else frozenset()


class HelperDied(AntiphonError):
    """The helper crashed, reached a limit or was killed; `status` is its exit status, negative for a signal."""

    def __init__(self, status: int | None) -> None:
        super().__init__(f"A helper process ended with status {status} in the middle of its task.")
        self.status = status

    @property
    def out_of_time(self) -> bool:
        """Whether the task used all its processor time."""
        return self.status in _OUT_OF_TIME


class Helper:
    """A helper process that runs `module`. `kill` may be called from any thread; the rest from one at a time."""

    def __init__(self, module: str) -> None:
        self._process = subprocess.Popen(
            # -P: the folder in which the server was started must not provide modules.
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # the libraries print what they find wrong with a file
            env=_environment(),
            start_new_session=True,  # Ctrl-C in a terminal is for the server, which ends its helpers
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._pipes = (self._process.stdout, self._process.stdin)
        for pipe in self._pipes:
            _enlarge(pipe)
        self._channel = Channel(*self._pipes)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def send(self, kind: bytes, payload: bytes | memoryview = b"") -> None:
        """Send one message. HelperDied if the process is gone."""
        try:
            self._channel.send(kind, payload)
        except EOFError as error:
            raise HelperDied(self._status()) from error

    def receive(self) -> Message:
        """Wait for the next message. HelperDied if the process ends first."""
        try:
            return self._channel.receive()
        except EOFError as error:
            raise HelperDied(self._status()) from error

    def kill(self) -> None:
        """End the process at once; a `receive` in progress raises HelperDied."""
        self._process.kill()

    def close(self) -> None:
        """Kill the process, and wait until it is gone."""
        self._end()
        for pipe in self._pipes:
            with contextlib.suppress(OSError):  # from unwritten data
                pipe.close()

    def _status(self) -> int:
        """The exit status of a process that has closed its end of the channel."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(_END_SECONDS)
        return self._end()

    def _end(self) -> int:
        self._process.kill()
        return self._process.wait()


class HelperPool:
    """At most `size` helpers that run `module`, started by `start` or when first used. Thread-safe."""

    def __init__(self, module: str, size: int) -> None:
        self._module = module
        self._size = size
        self._changed = threading.Condition()
        self._idle: list[Helper] = []
        self._busy: set[Helper] = set()
        self._closed = False

    def start(self, count: int | None = None) -> None:
        """Start helpers until `count` of them run, by default all, so that no request waits for one to start."""
        target = self._size if count is None else min(count, self._size)
        while True:
            with self._changed:
                if self._closed or len(self._idle) + len(self._busy) >= target:
                    return
                self._idle.append(Helper(self._module))

    @contextmanager
    def use(self) -> Iterator[Helper]:
        """A helper for one task, once one is free. If the block raises anything, the helper is killed and replaced.

        Raises Unavailable if the system cannot start a process, HelperDied after `close`.
        """
        helper = self._take()
        try:
            yield helper
        except BaseException:
            self._discard(helper)
            raise
        with self._changed:
            self._busy.discard(helper)
            if not self._closed:
                self._idle.append(helper)
            self._changed.notify()

    def close(self) -> None:
        """End all helpers, busy ones too. Blocks until they are gone."""
        with self._changed:
            self._closed = True
            helpers = [*self._idle, *self._busy]
            self._idle.clear()
            self._changed.notify_all()
        for helper in helpers:
            helper.close()

    def _take(self) -> Helper:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._idle or len(self._busy) < self._size)
            if self._closed:
                raise HelperDied(None)
            while self._idle:
                helper = self._idle.pop()
                if helper.alive:
                    break
                helper.close()  # ended while idle: by the system, for lack of memory
            else:
                try:
                    helper = Helper(self._module)
                except OSError as error:
                    message = f"No helper process could be started ({error.strerror})."
                    raise Unavailable(message, retry_after=_RETRY_AFTER_S) from error
            self._busy.add(helper)
            return helper

    def _discard(self, helper: Helper) -> None:
        helper.close()
        with self._changed:
            self._busy.discard(helper)
            try:
                if not self._closed:  # starting a process takes about a millisecond; its imports do not hold the lock
                    self._idle.append(Helper(self._module))
            except OSError as error:
                logger.warning("A helper process could not be replaced yet: %s", error)
            finally:
                self._changed.notify()


def _enlarge(pipe: IO[bytes]) -> None:
    """Make room for a few seconds of audio, on Linux: with the usual 64 kB both ends wait for each other several times."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # the user has used up what the system allows for pipes
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


def _environment() -> dict[str, str]:
    variables = {name: value for name, value in os.environ.items() if name.upper() in _VARIABLES}
    path = os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path)
    # One thread for BLAS: each further one costs address space, and helpers compute nothing with it.
    return variables | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
