"""A queue of several classes in order of priority, first in, first out within each, in which no class starves."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Member = TypeVar("Member", bound=Hashable)


class FairQueue(Generic[Member]):
    """One line per class; class 0 goes first. A class that was passed over `max_overtakes` times in a row is due: it goes
    next, and of several that are due the one that was passed over most often.

    Bound: the member at position p (from 1) of its line is popped within p * (max_overtakes + classes) pops, whatever
    arrives. A class is due after `max_overtakes` pops; at most `classes` - 1 others are due before it, and each of those
    counts from zero once it was served.
    """

    def __init__(self, classes: int, max_overtakes: int) -> None:
        if max_overtakes < 1:
            raise ValueError(f"max_overtakes must be at least 1, not {max_overtakes}")
        self._lines: tuple[deque[Member], ...] = tuple(deque() for _ in range(classes))
        self._passed_over = [0] * classes  # times since the class was last served or last empty
        self._max_overtakes = max_overtakes

    def __bool__(self) -> bool:
        return any(self._lines)

    def push(self, member: Member, rank: int) -> None:
        """Add a member to the end of the line of class `rank`."""
        self._lines[rank].append(member)

    def remove(self, member: Member) -> None:
        """Remove a member; one that is not queued is ignored."""
        for rank, line in enumerate(self._lines):
            if member in line:
                line.remove(member)
                self._passed_over[rank] *= bool(line)

    def pop(self, may_pop: Callable[[int], bool] = lambda _rank: True) -> Member | None:
        """Remove and return the next member, or None. Classes that are not due are considered only if `may_pop(rank)`."""
        filled = [rank for rank, line in enumerate(self._lines) if line]
        due = [rank for rank in filled if self._passed_over[rank] >= self._max_overtakes]
        chosen = max(due, key=self._passed_over.__getitem__, default=next(filter(may_pop, filled), None))
        if chosen is None:
            return None
        for rank in filled:
            self._passed_over[rank] += 1
        self._passed_over[chosen] = 0
        return self._lines[chosen].popleft()
