"""The choice of alignment heads: the model's own, those of its size, or all of the later layers."""

from __future__ import annotations

import pytest

from antiphon.models.whisper.alignment_heads import AlignmentHeads, choose_heads


def test_alignment_heads_of_the_model_are_used() -> None:
    assert choose_heads([(3, 1), (2, 0), (3, 1)], 4, 6, 51865) == AlignmentHeads(((2, 0), (3, 1)), guessed=False)


@pytest.mark.parametrize("stale", [[(2, 3), (7, 0)], [(0, 6)], [(-1, 0)]])
def test_alignment_heads_on_missing_layers_are_ignored(stale: list[tuple[int, int]]) -> None:
    assert choose_heads(stale, 2, 4, 51866) == choose_heads([], 2, 4, 51866)


@pytest.mark.parametrize(
    ("size", "first", "count"),
    [
        ((4, 6, 51865), (2, 2), 6),
        ((4, 6, 51864), (1, 0), 8),
        ((6, 8, 51865), (3, 1), 8),
        ((32, 20, 51865), (10, 12), 23),
        ((4, 20, 51866), (2, 4), 6),
    ],
)
def test_copies_of_published_models_get_the_published_alignment_heads(
    size: tuple[int, int, int], first: tuple[int, int], count: int
) -> None:
    found = choose_heads([], *size)
    assert (found.chosen[0], len(found.chosen), found.guessed) == (first, count, False)
    assert all(layer < size[0] and head < size[1] for layer, head in found.chosen)


def test_fallback_to_heads_of_the_later_half_for_an_unknown_model() -> None:
    assert choose_heads([], 3, 2, 99) == AlignmentHeads(((1, 0), (1, 1), (2, 0), (2, 1)), guessed=True)
    assert choose_heads([], 1, 1, 99) == AlignmentHeads(((0, 0),), guessed=True)
