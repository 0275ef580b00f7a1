"""Token timestamps from cross-attention: at which encoder position of 20 ms each token of an answer begins.

The method is openai-whisper's (`timing.py`): the attention of a few heads is normalised, smoothed and averaged, and
dynamic time warping finds the cheapest path through it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Path = NDArray[np.intp]

SMOOTHING = 7  # encoder positions

# Exchanges that leave the median of seven values in the middle (N. Devillard, Fast Median Search, 1998). As minima and
# maxima of whole arrays they take a tenth of the time of sorting the seven neighbours of every position.
_EXCHANGES = ((0, 5), (0, 3), (1, 6), (2, 4), (0, 1), (3, 5), (2, 6), (2, 3), (3, 6), (4, 5), (1, 4), (1, 3), (3, 4))


def begin_positions(attention: Floats, first: int, last: int) -> Path:
    """The encoder position at which each of the tokens `first` to `last - 1` begins: `[last - first]`, ascending.

    `attention [heads, n, positions]` are softmax weights; `positions` may be only the first of those they were computed over.
    """
    means = np.zeros((last - first, attention.shape[2]), np.float32)
    for head in attention:  # one at a time, so that the working set stays in the processor's cache
        means += smoothed(normalised(head)[first:last])
    rows, columns = warp(-means / np.float32(len(attention)))
    begins: Path = columns[np.concatenate([[True], np.diff(rows) > 0])]
    return begins


def normalised(weights: Floats) -> Floats:
    """Scale `[n, positions]` so that each token's weights sum to 1, then each position's to mean 0 and deviation 1.

    No other sequence contributes, so a word's time does not depend on what else is in the batch.
    """
    total = weights.sum(axis=1, keepdims=True)
    # Attention that went only to positions after the audio carries no information: count it as spread evenly.
    shares = np.where(total > 0, weights / np.where(total > 0, total, 1), np.float32(1 / weights.shape[1]))
    deviation = shares.std(axis=0, keepdims=True)
    scaled: Floats = (shares - shares.mean(axis=0, keepdims=True)) / np.where(deviation > 0, deviation, 1)
    return scaled.astype(np.float32, copy=False)


def smoothed(rows: Floats) -> Floats:
    """Median filter of width 7 over the rows of `[n, positions]`, reflected at the ends; rows too short for it stay."""
    half = SMOOTHING // 2
    if rows.shape[1] <= half:
        return rows
    padded = np.pad(rows, ((0, 0), (half, half)), mode="reflect")
    sides = [padded[:, shift : shift + rows.shape[1]] for shift in range(SMOOTHING)]
    for low, high in _EXCHANGES:
        sides[low], sides[high] = np.minimum(sides[low], sides[high]), np.maximum(sides[low], sides[high])
    return sides[half]


def warp(costs: NDArray[np.floating]) -> tuple[Path, Path]:
    """The cheapest path through `costs [n, m]` from its first cell to its last, right, down or diagonally: rows, columns.

    Dynamic time warping (Sakoe and Chiba 1978) with the arithmetic and ties of openai-whisper: sums in float32, and a step
    to the right unless exactly one of the other two is cheapest. The cells of an anti-diagonal are independent of each
    other, so they are summed at once.
    """
    height, width = costs.shape
    # Anti-diagonal d holds the cells (i, d - i), whose costs are slanted[d, i].
    slanted = np.full((height + width - 1, height), np.inf, costs.dtype)
    rows, columns = np.ogrid[:height, :width]
    slanted[rows + columns, rows] = costs
    diagonal = np.empty(slanted.shape, np.bool_)  # is the diagonal predecessor cheaper than the one above?
    not_left = np.empty(slanted.shape, np.bool_)  # is the cheaper of those two cheaper than the one to the left?
    # Sums have one more row above the first, from which no path comes.
    before, here = np.full(height + 1, np.inf, np.float32), np.full(height + 1, np.inf, np.float32)
    before[0] = 0.0  # the predecessor of the first cell
    tied, least = np.empty(height, np.bool_), np.empty(height, np.float32)
    # Seven passes over a few hundred numbers each, 1,700 times for 30 s: all write into arrays that exist already.
    for step in range(len(slanted)):
        corner, above, left = before[:-1], here[:-1], here[1:]
        np.less(corner, above, out=diagonal[step])
        np.equal(corner, above, out=tied)
        np.minimum(corner, above, out=least)
        np.copyto(least, np.inf, where=tied)
        np.less(least, left, out=not_left[step])
        np.minimum(least, left, out=least)
        before[0] = np.inf
        before, here = here, before
        np.add(slanted[step], least, out=here[1:])
    return _walk_back(diagonal & not_left, not_left & ~diagonal, height, width)


def _walk_back(diagonal: NDArray[np.bool_], down: NDArray[np.bool_], height: int, width: int) -> tuple[Path, Path]:
    """The path, found from its last cell back to the first; at an edge only one step is possible."""
    row, column = height - 1, width - 1
    rows, columns = [row], [column]
    while row or column:
        step = row + column
        if row and column and diagonal[step, row]:
            row, column = row - 1, column - 1
        elif column == 0 or (row and down[step, row]):
            row -= 1
        else:
            column -= 1
        rows.append(row)
        columns.append(column)
    return np.array(rows[::-1]), np.array(columns[::-1])
