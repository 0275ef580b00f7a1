"""The protocol between the scheduler and a loaded model, the same for every family and backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar

from antiphon.types.events import Event, Unit
from antiphon.types.results import ModelInfo

UnitT = TypeVar("UnitT", bound=Unit, contravariant=True)


class Session(Protocol[UnitT]):
    """One loaded model on one worker thread, working on one kind of unit. Never called from two threads at once.

    Every unit that joins ends exactly once: by a `WindowFinished`, `SentenceFinished` or `Failed` event, or by `leave`.
    An exception out of `join` concerns the units just handed in, which then hold no slot; one out of `step`
    concerns every unit in flight, and the caller must `leave` each of them.
    """

    info: ModelInfo
    slots: int

    def join(self, units: Sequence[UnitT]) -> list[Event]:
        """Encode and prefill `units` (at most as many as there are free slots)."""
        ...

    def step(self) -> list[Event]:
        """Advance every unit in flight once."""
        ...

    def leave(self, unit: UnitT) -> None:
        """Free the unit's slot; a unit without a slot is ignored."""
        ...

    def rest(self) -> None:
        """Give back memory that only work needs. Called when no unit has been in flight for a while."""
        ...


AnySession = Session[Any]  # whatever kind of unit it works on: the scheduler only carries units
