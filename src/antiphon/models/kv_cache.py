"""Key and value caches of a decoder that works on a ragged batch, one row for each sequence.

Rows in use are always 0 … n - 1, so that a batch is a plain prefix of the arrays and nothing is gathered or copied to
make one.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from antiphon.models.layers import NEVER, CacheType, Tensor, share

GROWTH = 64  # positions; a cache grows in steps of this size, so shapes change every 64 tokens, not every one

Array = NDArray[np.generic]
Floats = NDArray[np.float32]


class DecoderShape(Protocol):
    """What a model's config says about the size of its decoder's caches."""

    @property
    def decoder_layers(self) -> int: ...

    @property
    def decoder_heads(self) -> int: ...

    @property
    def head_width(self) -> int: ...


class KvCache:
    """Keys and values of all decoder layers: `[2 * layers, rows, heads, capacity, head width]` (key, value, key, …).

    They are kept in the precision that the graphs compute in (bf16 as its bits in uint16): converting them in every step
    would cost more than the step. Untouched pages cost nothing, so memory grows with the rows in use, not with `rows`.
    """

    def __init__(self, config: DecoderShape, rows: int, kind: CacheType, capacity: int = GROWTH) -> None:
        self.rows = rows
        self.lengths = np.zeros(rows, np.int32)  # positions that each row holds
        self.allocations = 0  # tensors over this cache are stale once this number changes
        self._config = config
        self._dtype = np.uint16 if kind == "bf16" else np.float32
        self._arrays = self._allocate(capacity)

    @property
    def capacity(self) -> int:
        """Positions that each row has room for."""
        return int(self._arrays.shape[3])

    def kv_tensors(self, first: int, last: int) -> list[Tensor]:
        """Rows `first` to `last - 1` as a graph reads them: one tensor for each key and value, without a copy."""
        return [share(array[first:last]) for array in self._arrays]

    def empty_tensors(self, rows: int) -> list[Tensor]:
        """`rows` rows that hold nothing, as a graph reads them."""
        empty = np.zeros(self._shape(rows, 0)[1:], self._dtype)
        return [share(empty) for _ in self._arrays]

    def new_kv(self, rows: int, length: int) -> tuple[Tensor, Array]:
        """Room for keys and values that a graph writes: the tensor to set as its output and the array that shares its memory."""
        array = np.empty(self._shape(rows, length), self._dtype)
        return share(array), array

    def mask(self, first: int, last: int, new: int = 0) -> Floats:
        """What to add to the scores of rows `first` to `last - 1` so that each sees its own positions and the `new` ones
        that follow the cache: `[last - first, 1, 1, capacity + new]`."""
        visible = np.arange(self.capacity + new) < self.lengths[first:last, None]
        visible[:, self.capacity :] = True
        return np.where(visible, np.float32(0), np.float32(NEVER))[:, None, None]

    def write(self, first: int, kv: Array, length: int) -> None:
        """Start rows `first`… with the first `length` positions of `kv [2 * layers, b, heads, n, head width]`."""
        last = first + kv.shape[1]
        self._arrays[:, first:last, :, :length] = kv[:, :, :, :length]
        self.lengths[first:last] = length

    def append(self, kv: Array) -> None:
        """Add one position to each of the first b rows: `kv [2 * layers, b, heads, 1, head width]`."""
        rows = np.arange(kv.shape[1])
        # Two index arrays apart put the batch axis first.
        self._arrays[:, rows, :, self.lengths[: len(rows)]] = kv[:, :, :, 0].swapaxes(0, 1)
        self.lengths[: len(rows)] += 1

    def row_arrays(self, row: int) -> list[Array]:
        """The keys and values that `row` holds, `[1, heads, length, head width]` each: views of a full row, else copies."""
        return [np.ascontiguousarray(array[row : row + 1, :, : self.lengths[row]]) for array in self._arrays]

    def write_row(self, row: int, arrays: list[Array]) -> None:
        """Store what `row_arrays` returned, after a graph has filled it."""
        if self.lengths[row] < self.capacity:  # else the graph wrote into the cache itself
            for own, array in zip(self._arrays, arrays, strict=True):
                own[row : row + 1, :, : self.lengths[row]] = array

    def reserve(self, length: int, active: int) -> None:
        """Make room for `length` positions a row; the first `active` rows keep what they hold."""
        if length > self.capacity:
            self._resize(-(-length // GROWTH) * GROWTH, active)

    def fit(self, length: int, active: int) -> None:
        """Make rows as long as `length` and the first `active` rows need, which keep what they hold.

        A capacity of up to twice the need stays, so that a window of a common length does not have them all copied.
        """
        needed = max([length, *self.lengths[:active].tolist()])
        if not needed <= self.capacity < 2 * needed:
            self._resize(needed, active)

    def release(self, capacity: int = GROWTH) -> None:
        """Free the memory of all rows; only when none is in use."""
        self._arrays = self._allocate(capacity)

    def move(self, source: int, target: int) -> None:
        """Row `target` becomes what row `source` is; `source` is free afterwards."""
        length = self.lengths[source]
        self._arrays[:, target, :, :length] = self._arrays[:, source, :, :length]
        self.lengths[target] = length

    def _resize(self, capacity: int, active: int) -> None:
        old, kept = self._arrays, min(capacity, self.capacity)
        self._arrays = self._allocate(capacity)
        self._arrays[:, :active, :, :kept] = old[:, :active, :, :kept]

    def _allocate(self, capacity: int) -> Array:
        self.allocations += 1
        return np.zeros(self._shape(self.rows, capacity), self._dtype)

    def _shape(self, rows: int, length: int) -> tuple[int, ...]:
        config = self._config
        return 2 * config.decoder_layers, rows, config.decoder_heads, length, config.head_width


class DecoderCaches:
    """A decoder's self-attention cache (`past`) and cross-attention cache (`cross`), bound to its step graph's request.

    The graph reads `past_key.i`, `past_value.i`, `key.i` and `value.i` of each layer i and writes `new_kv`.
    """

    def __init__(
        self, config: DecoderShape, rows: int, kind: CacheType, request: Any, cross_capacity: int = GROWTH
    ) -> None:
        self.past = KvCache(config, rows, kind)
        self.cross = KvCache(config, rows, kind, cross_capacity)
        self.new_kv: Array = np.empty(0)  # what the last pass wrote
        self._request = request
        self._bound: tuple[int, int, int] | None = None  # rows and allocations that the request's tensors are set for

    def bind_step(self, active: int) -> None:
        """Set the tensors for one more position in each of the rows 0 … active - 1, unless they are set already."""
        key = (active, self.past.allocations, self.cross.allocations)
        if key != self._bound:
            self._bind(0, active, 1, self.past.kv_tensors(0, active))
            self._bound = key

    def bind_prefill(self, first: int, last: int, length: int) -> None:
        """Set the tensors for the first `length` positions of rows `first` to `last - 1`, which have no past."""
        self._bind(first, last, length, self.past.empty_tensors(last - first))

    def move(self, source: int, target: int) -> None:
        """Row `target` becomes what row `source` is."""
        self.past.move(source, target)
        self.cross.move(source, target)

    def release(self) -> None:
        """Free the memory of all rows, `cross` at the capacity it has; only when no row is in use."""
        self.past.release()
        self.cross.release(self.cross.capacity)
        self.new_kv = np.empty(0)

    def _bind(self, first: int, last: int, length: int, past: list[Tensor]) -> None:
        self._bound = None  # even if this pass fails, the next step binds its own rows again
        for index, (own, cross) in enumerate(zip(past, self.cross.kv_tensors(first, last), strict=True)):
            self._request.set_tensor(f"past_{kv_name(index)}", own)
            self._request.set_tensor(kv_name(index), cross)
        tensor, self.new_kv = self.past.new_kv(last - first, length)
        self._request.set_tensor("new_kv", tensor)


def kv_name(index: int) -> str:
    """What the graphs call array `index` of a cache: key and value of layer 0, then of layer 1, and so on."""
    return f"{'value' if index % 2 else 'key'}.{index // 2}"
