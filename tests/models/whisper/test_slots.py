"""Cache rows: growing, moving and handing out without disturbing one another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from antiphon.models.whisper.config import read_config
from antiphon.models.whisper.slots import GROWTH, Slots


@pytest.fixture
def slots(tiny_folder: Path) -> Slots:
    return Slots(read_config(tiny_folder), 3, "f32")


def fill(slots: Slots, row: int, length: int, value: float) -> None:
    _, fresh = slots.fresh_tensor(1, length)
    fresh[:] = value
    slots.reserve(length + 1)
    slots.write_prefix(row, fresh)


def past(slots: Slots, row: int) -> np.ndarray:
    """Side 0 of a row's own cache, as the step graph is given it."""
    own, _ = slots.batch_tensors(row, row + 1, past=True)[0]
    return np.array(own.data)[0]


def test_rows_grow_together_and_keep_what_they_hold(slots: Slots) -> None:
    fill(slots, 0, 5, 1.0)
    fill(slots, 1, GROWTH, 2.0)
    assert slots.capacity == 2 * GROWTH
    assert (past(slots, 0)[:, :5] == 1.0).all()
    assert (past(slots, 1)[:, :GROWTH] == 2.0).all()


def test_appending_goes_behind_each_rows_own_end(slots: Slots) -> None:
    fill(slots, 0, 2, 1.0)
    fill(slots, 1, 4, 2.0)
    _, fresh = slots.fresh_tensor(2, 1)
    fresh[:, 0], fresh[:, 1] = 7.0, 8.0
    slots.append(2, fresh)
    assert slots.lengths[:2].tolist() == [3, 5]
    assert (past(slots, 0)[:, 2] == 7.0).all()
    assert (past(slots, 1)[:, 4] == 8.0).all()
    assert (past(slots, 0)[:, :2] == 1.0).all()
    assert (past(slots, 1)[:, :4] == 2.0).all()


def test_moving_takes_the_row_whole(slots: Slots) -> None:
    fill(slots, 2, 3, 5.0)
    for side in slots.cross(2):
        side[:] = 6.0
    slots.move(2, 0)
    assert slots.lengths[0] == 3
    assert (past(slots, 0)[:, :3] == 5.0).all()
    assert all((side == 6.0).all() for side in slots.cross(0))


def test_an_empty_session_gives_long_caches_back(slots: Slots) -> None:
    slots.reserve(300)
    assert slots.capacity == 320
    slots.shrink()
    assert slots.capacity == GROWTH


def test_reserving_what_is_there_moves_nothing(slots: Slots) -> None:
    assert not slots.reserve(GROWTH)
    assert slots.reserve(GROWTH + 1)


def test_bf16_rows_are_bits(tiny_folder: Path) -> None:
    bits = Slots(read_config(tiny_folder), 2, "bf16")
    tensor, fresh = bits.fresh_tensor(1, 2)
    assert fresh.dtype == np.uint16
    assert tensor.get_element_type().get_type_name() == "bf16"


def test_rows_that_are_given_back_are_empty_and_can_be_used_again(slots: Slots) -> None:
    fill(slots, 0, GROWTH, 1.0)
    for side in slots.cross(0):
        side[:] = 6.0
    slots.release()
    assert slots.capacity == GROWTH
    assert all((side == 0.0).all() for side in slots.cross(0))
    fill(slots, 0, 3, 2.0)
    assert (past(slots, 0)[:, :3] == 2.0).all()
