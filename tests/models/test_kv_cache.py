"""Cache rows: starting, growing, moving and handing out without disturbing one another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from antiphon.models.kv_cache import GROWTH, DecoderCaches, KvCache
from antiphon.models.layers import Tensor
from tests.support.tiny_speecht5 import SHAPE


@pytest.fixture
def cache() -> KvCache:
    return KvCache(SHAPE, 3, "f32")


def fill(cache: KvCache, row: int, length: int, value: float, padded: int | None = None) -> None:
    """Start a row with `length` positions of `value`, from a pass over `padded` positions."""
    _, kv = cache.new_kv(1, padded or length)
    kv[:] = value
    cache.reserve(length, cache.rows)
    cache.write(row, kv, length)


def append(cache: KvCache, *values: float) -> None:
    _, kv = cache.new_kv(len(values), 1)
    for row, value in enumerate(values):
        kv[:, row] = value
    cache.append(kv)


def keys(cache: KvCache, row: int) -> NDArray[Any]:
    """A row's keys of layer 0, as a step graph reads them: `[heads, capacity, head width]`."""
    return np.array(cache.kv_tensors(row, row + 1)[0].data)[0]


def test_rows_grow_together_and_keep_what_they_hold(cache: KvCache) -> None:
    fill(cache, 0, 5, 1.0)
    fill(cache, 1, GROWTH + 1, 2.0)
    assert cache.capacity == 2 * GROWTH
    assert (keys(cache, 0)[:, :5] == 1.0).all()
    assert (keys(cache, 1)[:, : GROWTH + 1] == 2.0).all()


def test_growth_copies_only_active_rows(cache: KvCache) -> None:
    fill(cache, 0, 5, 1.0)
    fill(cache, 1, 5, 2.0)
    cache.reserve(GROWTH + 1, 1)
    assert (keys(cache, 0)[:, :5] == 1.0).all()
    assert (keys(cache, 1) == 0).all()


def test_padding_is_not_stored(cache: KvCache) -> None:
    fill(cache, 0, 5, 1.0, padded=32)
    assert (keys(cache, 0)[:, 5:] == 0).all()


def test_append_writes_after_each_rows_own_end(cache: KvCache) -> None:
    fill(cache, 0, 2, 1.0)
    fill(cache, 1, 4, 2.0)
    append(cache, 7.0, 8.0)
    assert cache.lengths[:2].tolist() == [3, 5]
    assert (keys(cache, 0)[:, 2] == 7.0).all()
    assert (keys(cache, 1)[:, 4] == 8.0).all()
    assert (keys(cache, 0)[:, :2] == 1.0).all()
    assert (keys(cache, 1)[:, :4] == 2.0).all()
    append(cache, 9.0)
    assert cache.lengths[:2].tolist() == [4, 5]
    assert (keys(cache, 0)[0, :4, 0] == [1.0, 1.0, 7.0, 9.0]).all()


def test_masks_show_each_row_its_own_positions(cache: KvCache) -> None:
    fill(cache, 0, 2, 0.0)
    fill(cache, 1, 3, 0.0)
    mask = cache.mask(0, 2)
    assert mask.shape == (2, 1, 1, GROWTH)
    assert [np.flatnonzero(row[0, 0] == 0).tolist() for row in mask] == [[0, 1], [0, 1, 2]]
    mask = cache.mask(1, 3, new=1)
    assert mask.shape == (2, 1, 1, GROWTH + 1)
    assert [np.flatnonzero(row[0, 0] == 0).tolist() for row in mask] == [[0, 1, 2, GROWTH], [GROWTH]]


def test_moving_copies_the_whole_row(cache: KvCache) -> None:
    fill(cache, 0, 4, 4.0)
    fill(cache, 2, 3, 5.0)
    cache.move(2, 0)
    assert cache.lengths[0] == 3
    assert (keys(cache, 0)[:, :3] == 5.0).all()


def test_graph_writes_into_a_full_row_and_into_a_copy_of_a_shorter_one(cache: KvCache) -> None:
    for row, length in ((0, GROWTH), (1, 3)):
        cache.lengths[row] = length
        arrays = cache.row_arrays(row)
        assert {array.shape for array in arrays} == {(1, SHAPE.decoder_heads, length, SHAPE.head_width)}
        for array in arrays:
            array[:] = row + 1
        assert (keys(cache, row)[:, :length] == (1 if row == 0 else 0)).all()
        cache.write_row(row, arrays)
    assert (keys(cache, 0) == 1.0).all()
    assert (keys(cache, 1)[:, :3] == 2.0).all()
    assert (keys(cache, 1)[:, 3:] == 0).all()


def test_released_memory_is_empty_and_can_be_used_again(cache: KvCache) -> None:
    fill(cache, 0, GROWTH + 1, 1.0)
    cache.release()
    assert cache.capacity == GROWTH
    assert (keys(cache, 0) == 0).all()
    fill(cache, 0, 3, 2.0)
    assert (keys(cache, 0)[:, :3] == 2.0).all()


def test_reserving_available_room_allocates_nothing(cache: KvCache) -> None:
    before = cache.allocations
    cache.reserve(GROWTH, 3)
    assert (cache.allocations, cache.capacity) == (before, GROWTH)
    cache.reserve(GROWTH + 1, 3)
    assert (cache.allocations, cache.capacity) == (before + 1, 2 * GROWTH)
    cache.reserve(300, 3)
    assert cache.capacity == 320


def test_fit_follows_the_longest_active_row(cache: KvCache) -> None:
    cache.fit(256, 0)
    for row, length in ((0, 256), (1, 128)):
        fill(cache, row, length, row + 1.0)
    before = cache.allocations
    cache.fit(200, 2)
    assert (cache.allocations, cache.capacity) == (before, 256)
    cache.fit(1500, 2)
    assert cache.capacity == 1500
    assert (keys(cache, 0)[:, :256] == 1.0).all()
    assert (keys(cache, 1)[:, :128] == 2.0).all()
    cache.fit(128, 2)
    assert cache.capacity == 256  # row 0 still needs them
    assert (keys(cache, 0)[:, :256] == 1.0).all()
    before = cache.allocations
    cache.fit(129, 0)
    assert (cache.allocations, cache.capacity) == (before, 256)  # less than twice the need


def test_bf16_rows_are_bits() -> None:
    tensor, kv = KvCache(SHAPE, 2, "bf16").new_kv(1, 2)
    assert kv.dtype == np.uint16
    assert tensor.get_element_type().get_type_name() == "bf16"


class RecordingRequest:
    """An infer request that records the shapes of the tensors it is given."""

    def __init__(self) -> None:
        self.shapes: dict[str, list[int]] = {}
        self.calls = 0

    def set_tensor(self, name: str, tensor: Tensor) -> None:
        self.shapes[name] = list(tensor.shape)
        self.calls += 1


def test_step_binds_tensors_again_only_if_rows_or_arrays_changed() -> None:
    request = RecordingRequest()
    caches = DecoderCaches(SHAPE, 3, "f32", request, 128)
    tensors = 4 * SHAPE.decoder_layers + 1  # key and value of both caches, and new_kv

    def calls(active: int) -> int:
        before = request.calls
        caches.bind_step(active)
        return request.calls - before

    assert [calls(2), calls(2), calls(1)] == [tensors, 0, tensors]
    assert set(request.shapes) == {
        "new_kv",
        *(f"{past}{kind}.{layer}" for past in ("", "past_") for kind in ("key", "value") for layer in (0, 1)),
    }
    assert request.shapes["past_key.0"] == [1, SHAPE.decoder_heads, GROWTH, SHAPE.head_width]
    assert request.shapes["value.1"] == [1, SHAPE.decoder_heads, 128, SHAPE.head_width]
    assert request.shapes["new_kv"] == [4, 1, SHAPE.decoder_heads, 1, SHAPE.head_width]
    caches.past.reserve(GROWTH + 1, 1)
    assert [calls(1), calls(1)] == [tensors, 0]
    caches.cross.fit(1500, 1)
    assert [calls(1), calls(1)] == [tensors, 0]
    caches.bind_prefill(1, 3, 5)
    assert request.shapes["past_key.0"] == [2, SHAPE.decoder_heads, 0, SHAPE.head_width]
    assert request.shapes["new_kv"] == [4, 2, SHAPE.decoder_heads, 5, SHAPE.head_width]
    assert [calls(1), calls(1)] == [tensors, 0]
    caches.release()
    assert (caches.past.capacity, caches.cross.capacity) == (GROWTH, 1500)
    assert calls(1) == tensors
