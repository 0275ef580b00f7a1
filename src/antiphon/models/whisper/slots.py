"""The caches of a Whisper session: which sequence holds which row, and the tensors that hand the rows to the graph.

It must not know tokens or audio. Rows in flight are always 0 … active - 1, so that every batch is a plain prefix of
the arrays and nothing is gathered or copied to make one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from antiphon.models.graph_parts import Tensor, share
from antiphon.models.whisper.config import WhisperConfig

GROWTH = 64  # positions; the self-attention cache grows by this much, so shapes change every 64 tokens, not every one

Cache = NDArray[np.generic]


class Slots:
    """Self-attention and cross-attention caches, `2 * layers` of each (key, value, key, value, …).

    `past [2 * layers, slots, heads, capacity, head width]`, `cross [2 * layers, slots, heads, 1500, head width]`, in
    the device's own precision (bf16 as its bits in uint16): converting them every step would cost more than the step.
    """

    def __init__(self, config: WhisperConfig, slots: int, cache: str) -> None:
        self.size = slots
        self._config = config
        self._dtype = np.uint16 if cache == "bf16" else np.float32
        self._sides = 2 * config.decoder_layers
        self._head = config.width // config.decoder_heads
        self.lengths = np.zeros(slots, np.int32)  # positions held by each row
        self._past = self._allocate(GROWTH)
        # Untouched pages cost nothing: memory grows with the rows in use, not with `slots`.
        self._cross = self._allocate(config.source_positions)

    @property
    def capacity(self) -> int:
        """Positions each row has room for."""
        return int(self._past.shape[3])

    def cross_tensors(self, row: int) -> list[Tensor]:
        """Where the encoder's keys and values of `row` go: views, one a side."""
        return [share(side[row : row + 1]) for side in self._cross]

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
        self._cross = self._allocate(self._config.source_positions)

    def move(self, source: int, target: int) -> None:
        """Row `target` becomes what row `source` is; `source` is free afterwards."""
        length = self.lengths[source]
        self._past[:, target, :, :length] = self._past[:, source, :, :length]
        self._cross[:, target] = self._cross[:, source]
        self.lengths[target] = length

    def _allocate(self, length: int) -> Cache:
        return np.zeros((self._sides, self.size, self._config.decoder_heads, length, self._head), self._dtype)
