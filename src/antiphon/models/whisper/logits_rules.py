"""Which tokens each slot may sample next: Whisper's timestamp rules as one small row of integers for each slot.

The step graph applies the rows, so no rule costs a Python loop over the vocabulary.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from antiphon.models.whisper.config import WhisperConfig

# Columns of a rules row, in the order the step graph splits them.
# text, special: is an id below <|endoftext|>, or from there to <|notimestamps|>, allowed?
# low, high: the first and the last timestamp id that is allowed.
# begin: is this the first token, where `begin_suppress` applies?   timed: do the timestamp rules apply?
TEXT, SPECIAL, LOW, HIGH, BEGIN, TIMED = range(6)


class LogitsRules:
    """The state of the rules in every slot: the kinds of the last two sampled tokens, and the last timestamp."""

    def __init__(self, config: WhisperConfig, slots: int) -> None:
        self._config = config
        self._timed = np.zeros(slots, np.bool_)
        self._count = np.zeros(slots, np.int32)  # sampled tokens
        self._minimum = np.zeros(slots, np.int32)  # sampled tokens before the end token is allowed
        self._last = np.zeros(slots, np.bool_)  # is the last sampled token a timestamp?
        self._before = np.zeros(slots, np.bool_)  # is the one before it a timestamp, or are there fewer than two?
        self._latest = np.zeros(slots, np.int32)  # the last timestamp id; 0: none yet

    def begin(self, slot: int, *, timed: bool, minimum: int = 0) -> None:
        """Start a sequence in `slot`."""
        self._timed[slot] = timed
        self._count[slot] = 0
        self._minimum[slot] = minimum
        self._last[slot] = False
        self._before[slot] = True
        self._latest[slot] = 0

    def advance(self, first: int, last: int, tokens: NDArray[np.int32]) -> None:
        """Record the token that each of the slots `first` to `last - 1` sampled: `tokens [last - first]`."""
        part = slice(first, last)
        stamp = tokens >= self._config.tokens.timestamp_begin
        # With fewer than two sampled tokens "the one before" counts as a timestamp.
        self._before[part] = (self._count[part] == 0) | self._last[part]
        self._last[part] = stamp
        self._latest[part] = np.where(stamp, tokens, self._latest[part])
        self._count[part] += 1

    def move(self, source: int, target: int) -> None:
        """Copy the state of slot `source` to slot `target`."""
        for state in (self._timed, self._count, self._minimum, self._last, self._before, self._latest):
            state[target] = state[source]

    def rows(self, first: int, last: int) -> NDArray[np.int32]:
        """The rules of slots `first` to `last - 1`: `[last - first, 6]`, columns as named above."""
        part = slice(first, last)
        begin_id, end_id = self._config.tokens.timestamp_begin, self._config.vocabulary - 1
        timed, last_is_stamp, before, latest = (
            self._timed[part],
            self._last[part],
            self._before[part],
            self._latest[part],
        )
        at_start = self._count[part] == 0
        rows = np.empty((last - first, 6), np.int32)
        # After text and one timestamp: its partner or the end. At the start: a timestamp.
        rows[:, TEXT] = ~(timed & ((last_is_stamp & ~before) | at_start))
        rows[:, SPECIAL] = ~(timed & at_start) & (self._count[part] >= self._minimum[part])
        # Never back in time; the same timestamp again only as the partner that closes a pair (openai/whisper#914).
        low = np.where(latest > 0, latest + ~(last_is_stamp & ~before), begin_id)
        rows[:, LOW] = np.where(timed, low, begin_id)
        # After a pair: text, not a third timestamp.
        high = np.where(last_is_stamp & before, begin_id - 1, end_id)
        limit = self._config.max_initial_timestamp
        if limit is not None:
            high = np.where(at_start, np.minimum(high, begin_id + limit), high)
        rows[:, HIGH] = np.where(timed, high, end_id)
        rows[:, BEGIN] = at_start
        rows[:, TIMED] = timed
        return rows
