"""The caches of a Whisper session: which sequence holds which row, and the tensors that hand the rows to the graph.

It must not know tokens or audio. Rows in flight are always 0 … active - 1, so that every batch is a plain prefix of
the arrays and nothing is gathered or copied to make one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from antiphon.models.layers import Tensor, share
from antiphon.models.whisper.config import WhisperConfig

GROWTH = 64  # positions; the self-attention cache grows by this much, so shapes change every 64 tokens, not every one

Cache = NDArray[np.generic]


class Slots:
    """Self-attention and cross-attention caches, `2 * layers` of each (key, value, key, value, …).

    `past [2 * layers, slots, heads, capacity, head width]`, `cross [2 * layers, slots, heads, 1500, head width]`, in
    the device's own precision (bf16 as its bits in uint16): converting them every step would cost more than the step.
    Where windows are heard in as many places as they need, the 1,500 are as many as the longest one in flight was told.
    """

    def __init__(self, config: WhisperConfig, slots: int, cache: str) -> None:
        self.size = slots
        self._config = config
        self._dtype = np.uint16 if cache == "bf16" else np.float32
        self._sides = 2 * config.decoder_layers
        self._head = config.width // config.decoder_heads
        self.lengths = np.zeros(slots, np.int32)  # positions held by each row
        self.heard = np.full(slots, config.source_positions)  # places of audio held by each row
        self._past = self._allocate(GROWTH)
        # Untouched pages cost nothing: memory grows with the rows in use, not with `slots`.
        self._cross = self._allocate(config.source_positions)

    @property
    def capacity(self) -> int:
        """Positions each row has room for."""
        return int(self._past.shape[3])

    @property
    def places(self) -> int:
        """Places of audio that each row has room for."""
        return int(self._cross.shape[3])

    def fit(self, active: int, places: int) -> bool:
        """Make rows as long as the first `active` of them and one of `places` need; True if the arrays moved.

        What is up to twice as long as needed stays: a window of a usual length must not have them all copied.
        """
        needed = max([places, *self.heard[:active].tolist()])
        if needed <= self.places < 2 * needed:
            return False
        kept = min(needed, self.places)
        other = self._allocate(needed)
        other[:, :active, :, :kept] = self._cross[:, :active, :, :kept]
        self._cross = other
        return True

    def cross(self, row: int) -> list[Cache]:
        """The encoder's keys and values of `row`, one array a side: views of a row that is full, else copies."""
        return [np.ascontiguousarray(side[row : row + 1, :, : self.heard[row]]) for side in self._cross]

    def write_cross(self, row: int, sides: list[Cache]) -> None:
        """Put what `cross` gave, and the encoder has filled, into `row`."""
        if self.heard[row] < self.places:  # else it is there already
            for own, side in zip(self._cross, sides, strict=True):
                own[row : row + 1, :, : self.heard[row]] = side

    def batch_tensors(self, first: int, last: int, *, past: bool) -> list[list[Tensor]]:
        """Rows `first` to `last - 1` as the step graph takes them: per side, (past, cross); no past if not `past`."""
        capacity = self.capacity if past else 0
        empty = np.zeros((last - first, self._config.decoder_heads, 0, self._head), self._dtype)
        return [
            [share(own[first:last] if capacity else empty), share(cross[first:last])]
            for own, cross in zip(self._past, self._cross, strict=True)
        ]

    def fresh_tensor(self, batch: int, length: int) -> tuple[Tensor, Cache]:
        """Room for a pass's own keys and values: the tensor to set as output and the array behind it."""
        array = np.empty((self._sides, batch, self._config.decoder_heads, length, self._head), self._dtype)
        return share(array), array

    def write_prefix(self, first: int, fresh: Cache) -> None:
        """Start rows `first`… with a prefix's keys and values: `fresh [2 * layers, b, heads, n, head width]`."""
        batch, length = fresh.shape[1], fresh.shape[3]
        self._past[:, first : first + batch, :, :length] = fresh
        self.lengths[first : first + batch] = length

    def append(self, active: int, fresh: Cache) -> None:
        """Add one position to each of the first `active` rows: `fresh [2 * layers, active, heads, 1, head width]`."""
        rows = np.arange(active)
        # Two index arrays apart put the batch axis first.
        self._past[:, rows, :, self.lengths[:active]] = fresh[:, :, :, 0].swapaxes(0, 1)
        self.lengths[:active] += 1

    def reserve(self, length: int) -> bool:
        """Make room for `length` positions a row; True if the arrays moved (views made before are stale)."""
        if length <= self.capacity:
            return False
        longer = self._allocate(-(-length // GROWTH) * GROWTH)
        longer[:, :, :, : self.capacity] = self._past
        self._past = longer
        return True

    def shrink(self) -> None:
        """Give back what long sequences needed; only when no row is in flight."""
        if self.capacity > GROWTH:
            self._past = self._allocate(GROWTH)

    def release(self) -> None:
        """Give back what every row held; only when no row is in flight."""
        self._past = self._allocate(GROWTH)
        self._cross = self._allocate(self.places)

    def move(self, source: int, target: int) -> None:
        """Row `target` becomes what row `source` is; `source` is free afterwards."""
        length = self.lengths[source]
        self._past[:, target, :, :length] = self._past[:, source, :, :length]
        places = self.heard[source]
        self._cross[:, target, :, :places] = self._cross[:, source, :, :places]
        self.lengths[target], self.heard[target] = length, places

    def _allocate(self, length: int) -> Cache:
        return np.zeros((self._sides, self.size, self._config.decoder_heads, length, self._head), self._dtype)
