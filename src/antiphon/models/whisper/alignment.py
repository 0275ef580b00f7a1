"""From attention to times: where, in places of 20 ms, each token of an answer begins to be said.

Pure numpy; it must not know tokens, text or graphs. The method is openai-whisper's (`timing.py`): attention of a few
cross-attention heads, normalised, smoothed, averaged, and dynamic time warping through it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Path = NDArray[np.intp]

SMOOTHING = 7  # places

# Exchanges that leave the median of seven values in the middle (N. Devillard, Fast Median Search, 1998). As minima and
# maxima of whole arrays this takes a tenth of what sorting the seven neighbours of every place does.
_EXCHANGES = ((0, 5), (0, 3), (1, 6), (2, 4), (0, 1), (3, 5), (2, 6), (2, 3), (3, 6), (4, 5), (1, 4), (1, 3), (3, 4))


def begin_places(attention: Floats, first: int, last: int) -> Path:
    """The place where each of the tokens `first` to `last - 1` begins to have the attention: `[last - first]`, ascending.

    `attention [heads, n, places]` are weights of which those of a token sum to 1, over all its places or more than these.
    """
    means = np.zeros((last - first, attention.shape[2]), np.float32)
    for head in attention:  # one at a time: what is worked on stays in the processor's cache
        means += smoothed(normalised(head)[first:last])
    rows, places = warp(-means / np.float32(len(attention)))
    begins = np.concatenate([[True], np.diff(rows) > 0])
    found: Path = places[begins]
    return found


def normalised(weights: Floats) -> Floats:
    """`[n, places]`: each token's weights made to sum to 1, then each place's spread over the tokens to mean 0, deviation 1.

    Nothing of other sequences goes in, so that a word's time never depends on what else is decoded.
    """
    total = weights.sum(axis=1, keepdims=True)
    # Attention that all went to places behind the audio says nothing: it counts as spread evenly.
    shares = np.where(total > 0, weights / np.where(total > 0, total, 1), np.float32(1 / weights.shape[1]))
    deviation = shares.std(axis=0, keepdims=True)
    spread: Floats = (shares - shares.mean(axis=0, keepdims=True)) / np.where(deviation > 0, deviation, 1)
    return spread.astype(np.float32, copy=False)


def smoothed(rows: Floats) -> Floats:
    """Each value of `[n, places]` as the median of the seven around it; the ends are reflected, too short rows stay."""
    half = SMOOTHING // 2
    if rows.shape[1] <= half:
        return rows
    padded = np.pad(rows, ((0, 0), (half, half)), mode="reflect")
    sides = [padded[:, shift : shift + rows.shape[1]] for shift in range(SMOOTHING)]
    for low, high in _EXCHANGES:
        sides[low], sides[high] = np.minimum(sides[low], sides[high]), np.maximum(sides[low], sides[high])
    return sides[half]


def warp(costs: NDArray[np.floating]) -> tuple[Path, Path]:
    """The cheapest way through `costs [n, m]` from its first cell to its last, right, down or diagonally: rows, columns.

    Dynamic time warping (Sakoe and Chiba 1978), with the reference's arithmetic and ties: sums in float32, a step to the
    right unless one of the others is the one cheapest. Cells of one anti-diagonal do not need each other, and are summed
    at once.
    """
    height, width = costs.shape
    # Anti-diagonal d holds the cells (i, d - i); slanted[d, i] is the cost of one of them.
    slanted = np.full((height + width - 1, height), np.inf, costs.dtype)
    rows, columns = np.ogrid[:height, :width]
    slanted[rows + columns, rows] = costs
    nearer = np.empty(slanted.shape, np.bool_)  # is the corner cheaper than what is above?
    turned = np.empty(slanted.shape, np.bool_)  # is the one cheapest of the two cheaper than what is to the left?
    # Sums have one more row above the first, where nothing comes from.
    before, here = np.full(height + 1, np.inf, np.float32), np.full(height + 1, np.inf, np.float32)
    before[0] = 0.0  # the corner before the first cell
    tied, least = np.empty(height, np.bool_), np.empty(height, np.float32)
    # Seven passes over a few hundred numbers each, 1,700 times for 30 s: into arrays that are there already.
    for step in range(len(slanted)):
        corner, above, left = before[:-1], here[:-1], here[1:]
        np.less(corner, above, out=nearer[step])
        np.equal(corner, above, out=tied)
        np.minimum(corner, above, out=least)
        np.copyto(least, np.inf, where=tied)
        np.less(least, left, out=turned[step])
        np.minimum(least, left, out=least)
        before[0] = np.inf
        before, here = here, before
        np.add(slanted[step], least, out=here[1:])
    return _walk_back(nearer & turned, turned & ~nearer, height, width)


def _walk_back(diagonal: NDArray[np.bool_], down: NDArray[np.bool_], height: int, width: int) -> tuple[Path, Path]:
    """The cells from the last one back to the first, turned round; at an edge there is only one way on."""
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
