"""Who is told how a model's work goes, as it goes: for metrics. By default nobody.

It must not know what is made of it.
"""

from __future__ import annotations

from typing import Protocol

from antiphon.errors import Refusal


class Observer(Protocol):
    """Told of one model's work, on the thread that does it: it must be quick and must not raise. Times are seconds."""

    def refused(self, reason: Refusal) -> None:
        """A request was not let in."""
        ...

    def waited(self, seconds: float) -> None:
        """A request's first unit has a slot, so long after the request was admitted."""
        ...

    def worked(self, seconds: float) -> None:
        """A request that had a slot has left, so long after its first unit got one."""
        ...

    def joined(self, seconds: float) -> None:
        """Units joined the batch, which took so long."""
        ...

    def stepped(self, units: int, seconds: float) -> None:
        """A step advanced so many units in so long."""
        ...

    def ended(self, *, failed: bool) -> None:
        """A unit that was still wanted ended."""
        ...

    def heard(self, seconds: float, skipped: float) -> None:
        """So much audio was transcribed, some of which was skipped as silence."""
        ...

    def dropped(self, segments: int) -> None:
        """So many segments of a request were left out, because nobody spoke where they were heard."""
        ...

    def spoken(self, seconds: float) -> None:
        """So much audio was made."""
        ...


class NullObserver:
    """Listens to nothing."""

    def refused(self, reason: Refusal) -> None:
        pass

    def waited(self, seconds: float) -> None:
        pass

    def worked(self, seconds: float) -> None:
        pass

    def joined(self, seconds: float) -> None:
        pass

    def stepped(self, units: int, seconds: float) -> None:
        pass

    def ended(self, *, failed: bool) -> None:
        pass

    def heard(self, seconds: float, skipped: float) -> None:
        pass

    def dropped(self, segments: int) -> None:
        pass

    def spoken(self, seconds: float) -> None:
        pass


def nobody(_model: str) -> Observer:
    """The observer of a model that nobody observes."""
    return NullObserver()
