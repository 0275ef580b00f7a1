"""The helper's side: its main function, and the limits of one task."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from antiphon.isolation.channel import Channel
from antiphon.isolation.system_calls import allow_few

if sys.platform != "win32":
    import resource

_MAX_OPEN_FILES = 32


def run_helper(serve: Callable[[Channel], None], *, reads_files: bool) -> None:
    """The main function of a helper's module: `serve` receives tasks from the channel until it raises EOFError.

    Everything should be imported before. From here on the process cannot write files, use the network or start programs,
    nor open files at all unless `reads_files`. Does not return.
    """
    reader, writer = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):  # a library that prints must not write into the channel
        os.dup2(null, descriptor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _restrict(reads_files=reads_files)
    with contextlib.suppress(EOFError):  # the server is gone, or has closed the channel
        serve(Channel(reader, writer))
    os._exit(0)  # an orderly end would only take time


@contextmanager
def task_limits(*, memory_bytes: int, cpu_seconds: float) -> Iterator[None]:
    """Limit what one task may allocate and compute: the kernel refuses the memory, and ends the process after the time.

    On systems other than Linux memory is not limited, on Windows neither is.
    """
    if sys.platform == "win32":
        yield
        return
    before = {limit: resource.getrlimit(limit) for limit in (resource.RLIMIT_DATA, resource.RLIMIT_CPU)}
    used = resource.getrusage(resource.RUSAGE_SELF)
    # The timer is exact. The limit is in whole seconds, and holds if the signal of the timer is caught.
    end = int(used.ru_utime + used.ru_stime + cpu_seconds) + 2
    resource.setrlimit(resource.RLIMIT_CPU, (end, before[resource.RLIMIT_CPU][1]))
    limit_time(cpu_seconds)
    if private := _private_bytes():
        resource.setrlimit(resource.RLIMIT_DATA, (private + memory_bytes, before[resource.RLIMIT_DATA][1]))
    try:
        yield
    finally:
        limit_time(0)
        for limit, values in before.items():
            resource.setrlimit(limit, values)


def limit_time(cpu_seconds: float) -> None:
    """End the process after so much more processor time; 0 is no limit. For a part of a task, within its own limit."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_PROF, cpu_seconds)


def _restrict(*, reads_files: bool) -> None:
    if sys.platform == "win32":
        return
    _private_bytes()  # opens its file while that is allowed
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MAX_OPEN_FILES, _MAX_OPEN_FILES))
    allow_few(reads_files=reads_files)


def _private_bytes() -> int:
    """The bytes of this process that RLIMIT_DATA counts; 0 where the system does not say."""
    file = _memory_file()
    return 0 if file is None else int(os.pread(file, 256, 0).split()[5]) * os.sysconf("SC_PAGE_SIZE")


@cache
def _memory_file() -> int | None:
    try:
        return os.open("/proc/self/statm", os.O_RDONLY)
    except OSError:
        return None
