"""Properties of a window's result."""

from __future__ import annotations

import zlib

import pytest

from antiphon.types.results import Piece, WindowResult


def result(text: str = " hello there", avg_logprob: float = -0.2) -> WindowResult:
    return WindowResult("en", (Piece(0.0, 2.0, text, (1,)),), (1,), 2.0, avg_logprob, 0.01, 0.0)


def test_compression_ratio_is_whispers() -> None:
    assert result("").compression_ratio == 0.0
    text = "¡hola! " * 20
    encoded = text.strip().encode()
    assert result(text).compression_ratio == len(encoded) / len(zlib.compress(encoded))


@pytest.mark.parametrize(
    ("each", "doubtful"),
    [
        (result(), False),
        (result(avg_logprob=-1.0), False),
        (result(avg_logprob=-1.01), True),
        (result("la " * 10), False),
        (result("la " * 100), True),
        (result(""), False),
    ],
)
def test_repetition_or_low_logprob_is_unreliable(each: WindowResult, doubtful: bool) -> None:
    assert each.is_unreliable is doubtful
