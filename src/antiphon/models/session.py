"""The one protocol every model family answers to, whatever its graphs look like.

It knows units and events; it must not know queues, threads, files or HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, TypeVar

from antiphon.types.events import Event, Unit
from antiphon.types.results import ModelInfo

UnitT = TypeVar("UnitT", bound=Unit, contravariant=True)


class Runtime(Protocol):
    """What a family needs of the engine to make a session: `engine/device.py` is one."""

    @property
    def name(self) -> str:
        """The device string."""
        ...

    @property
    def precision(self) -> Literal["bf16", "f32"]:
        """What graphs compute in, and what caches are kept in."""
        ...

    @property
    def streams(self) -> int:
        """How many threads may run a graph at the same time, each with a share of the cores: one session for each."""
        ...

    def compile(
        self, model: Any, *, precision: Literal["bf16", "f32"] | None = None, fuse_attention: bool = True
    ) -> Any:
        """Compile an OpenVINO model; `precision` overrides the runtime's, decoders want `fuse_attention=False`."""
        ...


class Session(Protocol[UnitT]):
    """One loaded model on one worker thread, working on one kind of unit. Never called from two threads at once.

    Every unit that joins ends exactly once: by a `WindowFinished`, `SentenceFinished` or `Failed` event, or by `leave`.
    An exception out of `join` concerns the units just handed in, which then hold no slot; one out of `step`
    concerns every unit in flight, and the caller must `leave` each of them.
    """

    info: ModelInfo
    slots: int

    @property
    def twins(self) -> Sequence[Session[UnitT]]:
        """More sessions of the same model, each for a worker thread of its own; mostly there are none."""
        ...

    def join(self, units: Sequence[UnitT]) -> list[Event]:
        """Encode and prefill `units` (at most as many as there are free slots)."""
        ...

    def step(self) -> list[Event]:
        """Advance every unit in flight once."""
        ...

    def leave(self, unit: UnitT) -> None:
        """Give the unit's slot back; a unit without a slot is ignored."""
        ...

    def rest(self) -> None:
        """Give back memory that only work needs. Called after a while in which nobody had any, with no unit in flight."""
        ...


AnySession = Session[Any]  # whatever it works on: the scheduler only carries units
