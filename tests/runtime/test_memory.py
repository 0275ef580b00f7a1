"""Freed memory goes back to the system."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from antiphon.runtime.memory import trim


def test_what_was_freed_goes_back() -> None:
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "malloc_trim"):
        pytest.skip("only glibc keeps what was freed")
    libc.malloc.restype = ctypes.c_void_p
    blocks = [libc.malloc(100_000) for _ in range(1_000)]
    for block in blocks:
        ctypes.memset(block, 1, 100_000)
    with_all = anonymous()
    for block in blocks[:-1]:  # the last one holds the heap's end where it is
        libc.free(ctypes.c_void_p(block))
    trim()
    assert with_all - anonymous() > 90_000_000
    libc.free(ctypes.c_void_p(blocks[-1]))


def anonymous() -> int:
    """Bytes of this process in memory that no file is behind."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))
