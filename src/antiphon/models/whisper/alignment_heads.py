"""The cross-attention heads that word timestamps are read from: the model's own list, or that of the published size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType

Head = tuple[int, int]  # decoder layer, head

# The published models' lists (openai/whisper `_ALIGNMENT_HEADS`) by decoder layers, heads and vocabulary, for copies and
# fine-tuned models whose generation config names none. large-v1 and large-v2 have the same key; the list is large-v2's.
_PUBLISHED: Mapping[tuple[int, int, int], str] = MappingProxyType(
    {
        (4, 6, 51865): "2.2 3.0 3.2 3.3 3.4 3.5",  # tiny
        (4, 6, 51864): "1.0 2.0 2.5 3.0 3.1 3.2 3.3 3.4",  # tiny.en
        (6, 8, 51865): "3.1 4.2 4.3 4.7 5.1 5.2 5.4 5.6",  # base
        (6, 8, 51864): "3.3 4.7 5.1 5.5 5.7",  # base.en
        (12, 12, 51865): "5.3 5.9 8.0 8.4 8.7 8.8 9.0 9.7 9.9 10.5",  # small
        # small.en
        (12, 12, 51864): "6.6 7.0 7.3 7.8 8.2 8.5 8.7 9.0 9.4 9.8 9.10 10.0 10.1 10.2 10.3 10.6 10.11 11.2 11.4",
        (24, 16, 51865): "13.15 15.4 15.15 16.1 20.0 23.4",  # medium
        # medium.en
        (24, 16, 51864): "11.4 14.1 14.12 14.14 15.4 16.0 16.4 16.9 17.12 17.14 18.7 18.10 18.15 20.0 20.3 "
        "20.9 20.14 21.12",
        # large-v2
        (32, 20, 51865): "10.12 13.17 16.11 16.12 16.13 17.15 17.16 18.4 18.11 18.19 19.11 21.2 21.3 22.3 "
        "22.9 22.12 23.5 23.7 23.13 25.5 26.1 26.12 27.15",
        (32, 20, 51866): "7.0 10.17 12.18 13.12 16.1 17.14 19.11 21.4 24.1 25.6",  # large-v3
        (4, 20, 51866): "2.4 2.11 3.3 3.6 3.11 3.14",  # large-v3-turbo
    }
)


@dataclass(frozen=True, slots=True)
class AlignmentHeads:
    """The heads, ordered by layer; `guessed` if neither the model nor its size names them."""

    chosen: tuple[Head, ...]
    guessed: bool


def choose_heads(named: Sequence[Head], layers: int, heads: int, vocabulary: int) -> AlignmentHeads:
    """Choose the alignment heads of a decoder; `named` are those of its generation config.

    Distilled models often name their teacher's heads, on layers they do not have; that counts as naming none. The fallback
    is every head of the later half of the layers, as in openai-whisper.
    """
    if named and all(0 <= layer < layers and 0 <= head < heads for layer, head in named):
        return AlignmentHeads(tuple(sorted(set(named))), guessed=False)
    if (published := _PUBLISHED.get((layers, heads, vocabulary))) is not None:
        pairs = (pair.split(".") for pair in published.split())
        return AlignmentHeads(tuple((int(layer), int(head)) for layer, head in pairs), guessed=False)
    return AlignmentHeads(tuple(product(range(layers // 2, layers), range(heads))), guessed=True)
