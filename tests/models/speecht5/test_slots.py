"""Cache rows: starting, growing, moving and handing out without disturbing one another."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from antiphon.models.speecht5.slots import GROWTH, Slots
from tests.support.tiny_speecht5 import SHAPE

Floats = NDArray[np.float32]


@pytest.fixture
def slots() -> Slots:
    return Slots(SHAPE, 3, "f32")


def start(slots: Slots, row: int, length: int, value: float, padded: int | None = None) -> None:
    _, caches = slots.read_tensor(padded or length)
    caches[:] = value
    slots.start(row, caches, length)


def append(slots: Slots, *values: float) -> None:
    _, fresh = slots.fresh_tensor(len(values))
    for row, value in enumerate(values):
        fresh[:, row] = value
    slots.append(len(values), fresh)


def rows(slots: Slots, row: int) -> tuple[Floats, Floats]:
    """Side 0 of a row's past and text, as the step graph is given them."""
    past, text = slots.batch_tensors(row + 1)[0]
    return np.array(past.data)[row], np.array(text.data)[row]


def test_a_longer_text_grows_the_rows_and_they_keep_what_they_hold(slots: Slots) -> None:
    start(slots, 0, 5, 1.0)
    start(slots, 1, GROWTH + 1, 2.0)
    assert slots.capacity == (GROWTH, 2 * GROWTH)
    assert (rows(slots, 0)[1][:, :5] == 1.0).all()
    assert (rows(slots, 1)[1][:, : GROWTH + 1] == 2.0).all()


def test_what_pads_a_text_is_not_kept(slots: Slots) -> None:
    start(slots, 0, 5, 1.0, padded=32)
    assert (rows(slots, 0)[1][:, 5:] == 0).all()


def test_appending_goes_behind_each_rows_own_end(slots: Slots) -> None:
    start(slots, 0, 2, 0.0)
    append(slots, 1.0)
    start(slots, 1, 2, 0.0)
    append(slots, 2.0, 3.0)
    assert slots.lengths[:2].tolist() == [2, 1]
    assert rows(slots, 0)[0][0, :2, 0].tolist() == [1.0, 2.0]
    assert rows(slots, 1)[0][0, :1, 0].tolist() == [3.0]


def test_masks_show_each_row_its_own(slots: Slots) -> None:
    start(slots, 0, 2, 0.0)
    append(slots, 1.0)
    start(slots, 1, 3, 0.0)
    past, text = slots.masks(2)
    assert past.shape == (2, 1, 1, GROWTH + 1)
    assert [np.flatnonzero(row[0, 0] == 0).tolist() for row in past] == [[0, GROWTH], [GROWTH]]
    assert [np.flatnonzero(row[0, 0] == 0).tolist() for row in text] == [[0, 1], [0, 1, 2]]


def test_moving_takes_the_row_whole(slots: Slots) -> None:
    start(slots, 0, 4, 4.0)
    start(slots, 1, 3, 5.0)
    append(slots, 6.0, 7.0)
    slots.move(1, 0)
    assert (slots.lengths[0], slots.text_lengths[0]) == (1, 3)
    past, text = rows(slots, 0)
    assert (past[:, :1] == 7.0).all()
    assert (text[:, :3] == 5.0).all()


def test_steps_grow_the_past_and_an_empty_session_gives_it_back(slots: Slots) -> None:
    start(slots, 0, 1, 1.0)
    append(slots, 3.0)
    slots.reserve(GROWTH, 1)
    assert slots.capacity == (GROWTH, GROWTH)
    slots.reserve(GROWTH + 1, 1)
    assert slots.capacity == (2 * GROWTH, GROWTH)
    assert (rows(slots, 0)[0][:, :1] == 3.0).all()
    slots.shrink()
    assert slots.capacity == (GROWTH, GROWTH)


def test_bf16_rows_are_bits() -> None:
    tensor, fresh = Slots(SHAPE, 2, "bf16").fresh_tensor(1)
    assert fresh.dtype == np.uint16
    assert tensor.get_element_type().get_type_name() == "bf16"
