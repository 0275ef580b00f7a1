"""Returns freed memory of the C library's heap to the system."""

from __future__ import annotations

import ctypes


def trim() -> None:
    """Return freed memory, which glibc keeps otherwise; other C libraries return it by themselves."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
