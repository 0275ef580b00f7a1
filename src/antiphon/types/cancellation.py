"""The checks by which long work finds out whether it should stop or pause."""

from __future__ import annotations

from collections.abc import Callable

CancelCheck = Callable[[], bool]


def never() -> bool:
    """The check of work that nothing stops."""
    return False
