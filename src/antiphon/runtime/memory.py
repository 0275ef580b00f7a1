"""The C library's heap: what was freed in it goes back to the system when it is told to.

It must not know who freed what.
"""

from __future__ import annotations

import ctypes


def trim() -> None:
    """Give freed memory back, which glibc keeps; other C libraries need no telling."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
