"""Dynamic time warping, the median filter and normalising of attention, without an oracle."""

from __future__ import annotations

import time
from itertools import product

import numpy as np
import pytest

from antiphon.models.whisper.alignment import SMOOTHING, begin_positions, normalised, smoothed, warp


def test_dtw_follows_the_cheapest_cells() -> None:
    """A staircase of zeros in a field of ones is the only cheapest path."""
    random = np.random.default_rng(0)
    for _ in range(30):
        stays = random.integers(1, 9, size=7)
        costs = np.ones((7, int(stays.sum())), np.float32)
        rows = np.repeat(np.arange(7), stays)
        costs[rows, np.arange(len(rows))] = 0.0
        found_rows, found_columns = warp(costs)
        assert costs[found_rows, found_columns].sum() == 0.0
        assert found_columns.tolist() == list(range(len(rows)))


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (4, 4), (12, 5), (5, 40)])
def test_dtw_path_goes_from_corner_to_corner_in_single_steps(shape: tuple[int, int]) -> None:
    for seed in range(10):
        rows, columns = warp(np.random.default_rng(seed).standard_normal(shape))
        assert (rows[0], columns[0], rows[-1], columns[-1]) == (0, 0, shape[0] - 1, shape[1] - 1)
        steps = set(zip(np.diff(rows).tolist(), np.diff(columns).tolist(), strict=True))
        assert steps <= {(0, 1), (1, 0), (1, 1)}


def test_dtw_of_a_long_window_takes_well_under_50_ms() -> None:
    costs = np.random.default_rng(0).standard_normal((221, 1500)).astype(np.float32)
    spent = []
    for _ in range(5):
        began = time.thread_time()
        warp(costs)
        spent.append(time.thread_time() - began)
    assert min(spent) < 0.05, spent


def test_sorting_network_puts_the_median_in_the_middle() -> None:
    """By the 0-1 principle what sorts every row of zeros and ones sorts everything (Knuth, vol. 3, 5.3.4)."""
    bits = np.array(list(product((0.0, 1.0), repeat=SMOOTHING)), np.float32)
    assert np.array_equal(smoothed(bits)[:, SMOOTHING // 2], np.median(bits, axis=1))


def test_median_filter_reflects_ends_and_keeps_short_rows() -> None:
    row = np.array([[9.0, 1, 8, 2, 7, 3, 6, 4]], np.float32)
    padded = np.pad(row[0], 3, mode="reflect")
    assert smoothed(row)[0].tolist() == [float(np.median(padded[i : i + 7])) for i in range(8)]
    assert np.array_equal(smoothed(row[:, :3]), row[:, :3])


def test_normalising_never_divides_by_zero() -> None:
    weights = np.array([[0.2, 0.2, 0.6], [0.1, 0.3, 0.6], [0.0, 0.0, 1.0]], np.float32)
    scores = normalised(weights[:, :2])  # all attention of the last row is in the part that is cut off
    assert np.isfinite(scores).all()
    assert scores.mean(axis=0) == pytest.approx([0, 0], abs=1e-6)
    assert scores.std(axis=0) == pytest.approx([1, 1], abs=1e-5)
    assert not normalised(np.full((4, 3), 0.25, np.float32)).any()


def test_each_token_begins_where_the_heads_attend() -> None:
    random = np.random.default_rng(1)
    begins = np.array([0, 30, 55, 90, 140])
    attention = random.random((3, 8, 180)).astype(np.float32) * 0.2
    for token, (begin, end) in enumerate(zip(begins, [*begins[1:], 180], strict=True), 2):
        attention[:, token, begin:end] += 1.0
    attention /= attention.sum(axis=2, keepdims=True) * 2  # half of it on positions after the audio
    found = begin_positions(attention, 2, 7)
    assert np.abs(found - begins).max() <= SMOOTHING // 2
    assert np.array_equal(found, begin_positions(attention[::-1].copy(), 2, 7))
