"""TranscriptionPlan: word timestamps are ordered, inside the file, and do not change the text."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.types.events import Window
from antiphon.types.results import Piece, WindowResult
from antiphon.types.results import Word as TimedWord
from tests.support.transcription_plan import (
    TIMED,
    make_plan,
    make_result,
    paused,
    play,
    seconds,
    silence,
    spans,
    speech,
)

WORDED = replace(TIMED, words=True)


def with_words(result: WindowResult, *times: tuple[float, float]) -> WindowResult:
    """The result with one word per piece, which is all of its text, at these times."""
    pieces = [
        replace(piece, words=(TimedWord(piece.text, *span, probability=0.5),))
        for piece, span in zip(result.pieces, times, strict=True)
    ]
    return replace(result, pieces=tuple(pieces))


def test_word_timestamps_count_from_the_start_of_the_file() -> None:
    plan = make_plan(paused(25.0, 10.0), WORDED)
    play(plan, lambda unit: with_words(make_result((0.0, 4.0, " a"), resume=seconds(unit)), (0.5, 3.0)))
    first, second = plan.result().segments
    assert (first.start, first.end) == (first.words[0].start, first.words[0].end) == (0.5, 3.0)
    offset = second.seek / 100
    assert offset > 20
    assert (second.start, second.end) == pytest.approx((offset + 0.5, offset + 3.0), abs=0.01)
    assert plan.result().words == first.words + second.words


def test_word_timestamps_are_ordered_and_inside_the_file() -> None:
    plan = make_plan(speech(6.0), WORDED)
    result = make_result((0.0, 2.0, " a"), (2.0, 4.0, " b"), (4.0, 6.0, " c"), resume=6.0)
    play(plan, lambda unit: with_words(result, (0.0, 2.5), (1.9, 2.2), (4.0, 7.0)))
    assert [(word.start, word.end) for word in plan.result().words] == [(0.0, 2.5), (2.5, 2.52), (4.0, 6.0)]


def test_word_timestamps_have_a_minimum_duration() -> None:
    """Attention may start and end a word at the same moment, most often the last one."""
    plan = make_plan(speech(6.0), WORDED)
    times = [(1.0, 1.0), (1.0, 1.5), (5.99, 6.0), (6.0, 6.0)]
    words = tuple(TimedWord(f" {start}", start, end, probability=0.5) for start, end in times)
    piece = Piece(0.0, 6.0, "".join(word.text for word in words), (1,), words)
    play(plan, lambda _unit: replace(make_result(resume=6.0), pieces=(piece,)))
    (segment,) = plan.result().segments
    expected = [(1.0, 1.02), (1.02, 1.5), (5.96, 5.98), (5.98, 6.0)]
    assert [(word.start, word.end) for word in segment.words] == expected
    assert (segment.start, segment.end) == (1.0, 6.0)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(st.integers(0, 650), min_size=2, max_size=16))
def test_word_timestamps_are_ordered_for_any_input(hundredths: list[int]) -> None:
    at = [each / 100 for each in sorted(hundredths)]
    words = tuple(TimedWord(" w", start, end, probability=0.5) for start, end in pairwise(at))
    piece = Piece(0.0, 6.0, " w" * len(words), (1,), words)
    plan = make_plan(speech(6.0), WORDED)
    play(plan, lambda _unit: replace(make_result(resume=6.0), pieces=(piece,)))
    (segment,) = plan.result().segments
    times = [time for word in segment.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert all(word.start < word.end for word in segment.words)
    assert (segment.start, segment.end) == (times[0], times[-1])
    assert 0.0 <= times[0] <= times[-1] <= 6.0


def test_word_timestamps_end_before_audio_that_is_decoded_again() -> None:
    def model(unit: Window) -> WindowResult:
        if unit.start == 0:
            result = make_result((0.0, 3.0, " a"), (3.0, 9.0, " b"), resume=3.0)
            return with_words(result, (0.1, 4.4), (4.4, 8.0))
        return with_words(make_result((0.0, 2.0, " b"), resume=seconds(unit)), (0.2, 1.0))

    plan = make_plan(speech(9.0), WORDED)
    play(plan, model)
    assert [(word.text, word.start, word.end) for word in plan.result().words] == [(" a", 0.1, 3.0), (" b", 3.2, 4.0)]


def test_word_timestamps_change_neither_text_nor_windows() -> None:
    """Pieces and windows are the same for any word times."""

    def answer(unit: Window, *, words: bool) -> WindowResult:
        length = seconds(unit)
        pieces = [(0.0, length / 4, " a"), (length / 4, length / 2, f" b{unit.start}"), (length / 2, length, " c")]
        result = make_result(*pieces, resume=length / 2)
        return with_words(result, (0.0, length), (length, length), (length, length)) if words else result

    requested_spans, texts = [], []
    for words in (False, True):
        plan = make_plan(np.concatenate([speech(80.0), silence(1.0), speech(5.0)]), WORDED if words else TIMED)
        requested_spans.append(spans(play(plan, lambda unit, words=words: answer(unit, words=words))))
        texts.append([(segment.text, segment.tokens, segment.seek) for segment in plan.result().segments])
        assert bool(plan.result().words) == words
    assert requested_spans[0] == requested_spans[1]
    assert texts[0] == texts[1]
