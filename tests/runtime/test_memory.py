"""Freed memory is returned to the system."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from antiphon.runtime.memory import trim


def test_trim_returns_freed_memory_to_the_system() -> None:
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_trim"):
        pytest.skip("only glibc keeps what was freed")
    libc.malloc.restype = ctypes.c_void_p
    blocks = [libc.malloc(100_000) for _ in range(1_000)]
    for block in blocks:
        ctypes.memset(block, 1, 100_000)
    with_all = anonymous()
    for block in blocks[:-1]:  # the last block keeps the end of the heap in place
        libc.free(ctypes.c_void_p(block))
    trim()
    assert with_all - anonymous() > 90_000_000
    libc.free(ctypes.c_void_p(blocks[-1]))


def anonymous() -> int:
    """Bytes of anonymous memory of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
