"""Tokens to words and their times, from scripts: text is never lost, and times are always in order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.models.whisper.word_times import Timing, TokenTimings, merge_marks, settle, split_words, time_words
from antiphon.types.results import Piece


def text_of(tokens: list[int]) -> str:
    """One token a byte, as the toy tokenizer has it."""
    return bytes(tokens).decode("utf-8", "replace")


def words_of(text: str, *, spaces: bool = True) -> list[str]:
    return [word for word, _ in split_words(list(text.encode()), text_of, spaces=spaces)]


def test_word_begins_at_a_space_and_punctuation_is_its_own_word() -> None:
    parts = [" It", "'", "s", " 3", ":", "05", ",", " (", "they", " s", "ay", ")", ' "', "no", '"', "."]
    words = split_words(list(range(len(parts))), lambda tokens: "".join(parts[token] for token in tokens), spaces=True)
    assert [word for word, _ in words] == [
        *(" It", "'s", " 3", ":05", ",", " (they", " say", ")", ' "no', '"', "."),
    ]
    assert [count for _, count in words] == [1, 2, 1, 2, 1, 2, 2, 1, 2, 1, 1]


def test_characters_of_many_tokens_stay_whole() -> None:
    assert words_of(" ældre 👍🏽 œuvre") == [" ældre", " 👍🏽", " œuvre"]
    assert words_of("今日は", spaces=False) == ["今", "日", "は"]
    assert words_of("สวัสดี", spaces=False) == list("สวัสดี")


@pytest.mark.parametrize("spaces", [True, False])
@pytest.mark.parametrize(
    "tokens",
    [
        [0xE3, 0x81],  # a character that is never finished
        [0xE3, 0x81, 0x41],
        [0x80, 0x80, 0x20, 0x61],
        [0x61, 0xEF, 0xBF, 0xBD],  # the replacement mark itself
        [0xF0, 0x9F, 0xF0, 0x9F, 0x91, 0x8D, 0xC3],
        [0xFF],
    ],
)
def test_broken_bytes_are_kept(tokens: list[int], spaces: bool) -> None:
    words = split_words(tokens, text_of, spaces=spaces)
    assert "".join(word for word, _ in words) == text_of(tokens)
    assert sum(count for _, count in words) == len(tokens)


@given(st.lists(st.integers(0, 255), min_size=1, max_size=40), st.booleans())
def test_words_make_up_the_text_for_any_tokens(tokens: list[int], spaces: bool) -> None:
    words = split_words(tokens, text_of, spaces=spaces)
    assert "".join(word for word, _ in words) == text_of(tokens)
    assert sum(count for _, count in words) == len(tokens)
    assert all(count > 0 for _, count in words)


def test_word_ends_at_the_first_token_of_the_next() -> None:
    scripted = TokenTimings([0.0, 0.2, 0.5, 0.9, 1.0], [0.5, 1.0, 0.25, 0.75])
    assert time_words([[(" ab", 2)], [], [(" c", 1), ("d", 1)]], scripted) == [
        [Timing(" ab", 0.0, 0.5, 0.75)],
        [],
        [Timing(" c", 0.5, 0.9, 0.25), Timing("d", 0.9, 1.0, 0.75)],
    ]


@pytest.mark.parametrize(
    ("apart", "together"),
    [
        ([" (", "so", ")", " he", " said", "."], [" (so)", " he", " said."]),
        ([' "', "No", "!", '"'], [' "No!"']),
        ([" -", "5"], [" -5"]),
        ([" a", " b"], [" a", " b"]),
        ([".", " a"], [".", " a"]),
        ([], []),
    ],
)
def test_punctuation_belongs_to_a_word(apart: list[str], together: list[str]) -> None:
    assert [word.text for word in merge_marks([Timing(text, 0.0, 0.0, 1.0) for text in apart])] == together


TIMES = st.floats(0, 40)
TIMINGS = st.lists(st.tuples(st.sampled_from([" a", " b", ".", " (", '"', "c"]), TIMES, TIMES), max_size=8)


@given(st.lists(st.tuples(TIMES, TIMES, TIMINGS), max_size=4), st.floats(0, 30))
def test_word_timestamps_are_ordered_and_inside_the_window(
    scripts: list[tuple[float, float, list[tuple[str, float, float]]]], seconds: float
) -> None:
    pieces = [Piece(start, end, "".join(text for text, *_ in scripted), (7,)) for start, end, scripted in scripts]
    timings = [[Timing(text, min(a, b), max(a, b), 0.5) for text, a, b in scripted] for _, _, scripted in scripts]
    settled = settle(pieces, timings, seconds)
    times = [time for piece in settled for word in piece.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert all(0.0 <= time <= seconds for time in times)
    for piece, before in zip(settled, pieces, strict=True):
        assert "".join(word.text for word in piece.words) == before.text
        assert (piece.start, piece.end, piece.text, piece.tokens) == (
            before.start,
            before.end,
            before.text,
            before.tokens,
        )


def test_word_timestamps_do_not_include_a_pause() -> None:
    steady = [Timing(" w", at / 5, at / 5 + 0.2, 1.0) for at in range(10)]
    late = [*steady, Timing(".", 2.0, 2.1, 1.0), Timing(" late", 2.1, 9.0, 1.0)]
    (piece,) = settle([Piece(0.0, 9.0, "", ())], [late], 9.0)
    assert piece.words[-1].end == 9.0
    assert piece.words[-1].start == pytest.approx(9.0 - 2 * np.median([0.2] * 10))
