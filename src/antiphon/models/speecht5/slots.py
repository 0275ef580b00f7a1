"""The caches of a SpeechT5 session: which sentence holds which row, and the tensors that hand the rows to the graph.

It must not know text or sound. Rows in flight are always 0 … active - 1, so that every batch is a plain prefix of the
arrays and nothing is gathered or copied to make one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from antiphon.models.layers import NEVER, Tensor, share
from antiphon.models.speecht5.config import SpeechT5Config

GROWTH = 64  # positions; the caches grow by this much, so shapes change every 64 steps or tokens, not every one

Cache = NDArray[np.generic]
Floats = NDArray[np.float32]


class Slots:
    """Self-attention and cross-attention caches, `2 * layers` of each (key, value, key, value, …).

    `past [2 * layers, slots, heads, capacity, head width]` and `text`, the same with room for the longest text, in the
    device's own precision (bf16 as its bits in uint16): converting them every step would cost more than the step.
    """

    def __init__(self, config: SpeechT5Config, slots: int, cache: str) -> None:
        self.size = slots
        self._config = config
        self._dtype = np.uint16 if cache == "bf16" else np.float32
        self._sides = 2 * config.decoder_layers
        self.lengths = np.zeros(slots, np.int32)  # steps made by each row
        self.text_lengths = np.zeros(slots, np.int32)  # tokens read by each row
        self._past = self._allocate(GROWTH)
        self._text = self._allocate(GROWTH)

    @property
    def capacity(self) -> tuple[int, int]:
        """Steps and tokens each row has room for."""
        return int(self._past.shape[3]), int(self._text.shape[3])

    def start(self, row: int, caches: Cache, length: int) -> None:
        """A new sentence in `row`, behind those in flight: `caches [2 * layers, 1, heads, >= length, head width]`."""
        if length > self.capacity[1]:
            self._text = self._longer(self._text, length, row)
        self._text[:, row, :, :length] = caches[:, 0, :, :length]
        self.text_lengths[row] = length
        self.lengths[row] = 0

    def read_tensor(self, length: int) -> tuple[Tensor, Cache]:
        """Room for a text's keys and values: the tensor to set as output and the array behind it."""
        return self._room(1, length)

    def fresh_tensor(self, batch: int) -> tuple[Tensor, Cache]:
        """Room for a step's own keys and values: the tensor to set as output and the array behind it."""
        return self._room(batch, 1)

    def batch_tensors(self, active: int) -> list[tuple[Tensor, Tensor]]:
        """The first `active` rows as the step graph takes them: per side, (past, text)."""
        return [(share(past[:active]), share(text[:active])) for past, text in zip(self._past, self._text, strict=True)]

    def masks(self, active: int) -> tuple[Floats, Floats]:
        """What is added to the scores over past and text: `[active, 1, 1, capacity + 1]`, `[active, 1, 1, capacity]`."""
        visible = np.arange(self.capacity[0] + 1) < self.lengths[:active, None]
        visible[:, -1] = True  # the frame itself, which stands behind the cache
        read = np.arange(self.capacity[1]) < self.text_lengths[:active, None]
        past, text = (np.where(seen, np.float32(0), np.float32(NEVER))[:, None, None] for seen in (visible, read))
        return past, text

    def append(self, active: int, fresh: Cache) -> None:
        """Add one position to each of the first `active` rows: `fresh [2 * layers, active, heads, 1, head width]`."""
        rows = np.arange(active)
        # Two index arrays apart put the batch axis first.
        self._past[:, rows, :, self.lengths[:active]] = fresh[:, :, :, 0].swapaxes(0, 1)
        self.lengths[:active] += 1

    def reserve(self, length: int, active: int) -> None:
        """Make room for `length` steps a row; the first `active` rows keep what they hold."""
        if length > self.capacity[0]:
            self._past = self._longer(self._past, length, active)

    def shrink(self) -> None:
        """Give back what long sentences needed; only when no row is in flight."""
        if max(self.capacity) > GROWTH:
            self._past, self._text = self._allocate(GROWTH), self._allocate(GROWTH)

    def move(self, source: int, target: int) -> None:
        """Row `target` becomes what row `source` is; `source` is free afterwards."""
        length, read = self.lengths[source], self.text_lengths[source]
        self._past[:, target, :, :length] = self._past[:, source, :, :length]
        self._text[:, target, :, :read] = self._text[:, source, :, :read]
        self.lengths[target], self.text_lengths[target] = length, read

    def _longer(self, cache: Cache, length: int, rows: int) -> Cache:
        longer = self._allocate(-(-length // GROWTH) * GROWTH)
        longer[:, :rows, :, : cache.shape[3]] = cache[:, :rows]
        return longer

    def _room(self, batch: int, length: int) -> tuple[Tensor, Cache]:
        shape = (self._sides, batch, self._config.decoder_heads, length, self._config.head_width)
        array = np.empty(shape, self._dtype)
        return share(array), array

    def _allocate(self, length: int) -> Cache:
        # Untouched pages cost nothing: memory grows with the rows in use, not with `slots`.
        shape = (self._sides, self.size, self._config.decoder_heads, length, self._config.head_width)
        return np.zeros(shape, self._dtype)
