"""Whose turn it is: several classes, the first before the second and so on, and round-robin inside each.

Pure; it must not know what is taken in a turn, nor why somebody is in a class.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Member = TypeVar("Member", bound=Hashable)


class FairQueue(Generic[Member]):
    """A line for each class. A class that has somebody in line is passed over at most `max_overtakes` times in a row,
    then its turn is due; of those due the one passed over most often goes first.

    So somebody at place p (from 1) of a line gets the turn within p * (max_overtakes + classes) turns, whoever arrives:
    a class is due after `max_overtakes` turns, at most `classes` - 1 others are due before it, and each of these starts
    counting from nothing once it was served.
    """

    def __init__(self, classes: int, max_overtakes: int) -> None:
        if max_overtakes < 1:
            raise ValueError(f"max_overtakes must be at least 1, not {max_overtakes}")
        self._lines: tuple[deque[Member], ...] = tuple(deque() for _ in range(classes))
        self._passed = [0] * classes  # how often each was passed over since it was served or somebody came into it
        self._max_overtakes = max_overtakes

    def __bool__(self) -> bool:
        return any(self._lines)

    def join(self, member: Member, rank: int) -> None:
        """Go to the end of the line of class `rank`; 0 is the first."""
        self._lines[rank].append(member)

    def leave(self, member: Member) -> None:
        """Go away, if in line at all."""
        for rank, line in enumerate(self._lines):
            if member in line:
                line.remove(member)
                self._passed[rank] *= bool(line)

    def take(self, may: Callable[[int], bool] = lambda _rank: True) -> Member | None:
        """Whose turn it is, who then is in line no more; None if nobody is. Classes that are not due must be let: `may`."""
        filled = [rank for rank, line in enumerate(self._lines) if line]
        if not filled:
            return None
        due = [rank for rank in filled if self._passed[rank] >= self._max_overtakes]
        chosen = max(due, key=self._passed.__getitem__, default=next(filter(may, filled), None))
        if chosen is None:
            return None
        for rank in filled:
            self._passed[rank] += 1
        self._passed[chosen] = 0
        return self._lines[chosen].popleft()
