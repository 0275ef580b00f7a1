"""How a model's slots are divided between its sessions, one for each stream of the device.

Arithmetic and words; it must not know what a session does, threads or the runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from antiphon.models.session import Runtime

SessionT = TypeVar("SessionT")


def shares(slots: int, streams: int) -> list[int]:
    """The slots of each of so many sessions: as equal as can be, the larger ones first, and none without any."""
    least, more = divmod(max(slots, streams), streams)
    return [least + (stream < more) for stream in range(streams)]


def slots_line(slots: int, runtime: Runtime) -> str:
    """What to tell a person of them."""
    divided = shares(slots, runtime.streams)
    return f"{sum(divided)} slots" + (f" in {len(divided)} streams" if len(divided) > 1 else "")


def side_by_side(make: Callable[[int, Sequence[SessionT]], SessionT], slots: int, runtime: Runtime) -> SessionT:
    """A session for each stream, made of its slots and its twins: the first has all the others."""
    share, *others = shares(slots, runtime.streams)
    return make(share, [make(other, ()) for other in others])
