"""Segments and words in file time: ordered, each with a duration, and words not in silence."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.transcription.energy import Energy, measure
from antiphon.transcription.segments import MIN_DURATION_S, WindowText, build_segments
from antiphon.types.audio import SAMPLE_RATE, Samples
from antiphon.types.results import Piece, Segment, WindowResult, Word
from tests.support.levels import join, silence, speech

Time = tuple[float, float]


def make_text(start: float, end: float, *pieces: Piece, limit: float | None = None) -> WindowText:
    result = WindowResult("en", pieces, (1,), end - start, -0.25, 0.01, 0.0)
    first, last = round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)
    return WindowText(first, last, result, pieces, end - start if limit is None else limit)


def make_piece(start: float, end: float, *words: Time) -> Piece:
    timed = tuple(Word(" w", *time, probability=0.5) for time in words)
    return Piece(start, end, " w" * len(timed) or " text", (1,), timed)


def energy_of(*parts: Samples) -> Energy:
    return measure(join(*parts))


def bounds(segments: tuple[Segment, ...]) -> list[Time]:
    return [(segment.start, segment.end) for segment in segments]


def words_of(segments: tuple[Segment, ...]) -> list[Time]:
    return [(word.start, word.end) for segment in segments for word in segment.words]


def test_windows_may_come_in_any_order() -> None:
    energy = energy_of(speech(60.0))
    segments = build_segments(
        [make_text(30.0, 60.0, make_piece(1.0, 2.0)), make_text(0.0, 30.0, make_piece(3.0, 4.0))], energy
    )
    assert bounds(segments) == [(3.0, 4.0), (31.0, 32.0)]
    assert [(segment.id, segment.seek) for segment in segments] == [(0, 0), (1, 3000)]


def test_word_timestamps_start_where_the_sound_does() -> None:
    """Attention starts at the beginning of a window even if there is silence."""
    energy = energy_of(silence(1.3), speech(2.0), silence(0.5))
    segments = build_segments([make_text(0.0, 3.8, make_piece(0.0, 3.8, (0.0, 1.8), (1.8, 2.4), (2.4, 3.8)))], energy)
    assert words_of(segments) == [(pytest.approx(1.3, abs=0.02), 1.8), (1.8, 2.4), (2.4, pytest.approx(3.3, abs=0.02))]
    assert bounds(segments) == [(segments[0].words[0].start, segments[0].words[-1].end)]


def test_word_timestamps_do_not_span_a_pause() -> None:
    energy = energy_of(speech(2.0), silence(1.0), speech(2.0))
    for word, side in (((1.8, 3.6), (3.0, 3.6)), ((1.2, 3.2), (1.2, 2.0))):
        (time,) = words_of(build_segments([make_text(0.0, 5.0, make_piece(0.0, 5.0, word))], energy))
        assert time == pytest.approx(side, abs=0.02)


def test_word_timestamps_may_span_a_short_silence() -> None:
    energy = energy_of(speech(2.0), silence(0.15), speech(2.0))
    assert words_of(build_segments([make_text(0.0, 4.0, make_piece(0.0, 4.0, (1.7, 2.5)))], energy)) == [(1.7, 2.5)]


def test_word_timestamps_inside_silence_are_unchanged() -> None:
    energy = energy_of(speech(1.0), silence(3.0), speech(1.0))
    assert words_of(build_segments([make_text(0.0, 5.0, make_piece(0.0, 5.0, (2.0, 2.5)))], energy)) == [(2.0, 2.5)]


def test_segment_times_without_words_are_the_models() -> None:
    energy = energy_of(silence(1.0), speech(2.0), silence(2.0))
    assert bounds(build_segments([make_text(0.0, 5.0, make_piece(0.5, 4.0))], energy)) == [(0.5, 4.0)]


@pytest.mark.parametrize("worded", [False, True], ids=["segments", "words"])
def test_last_segment_or_word_has_a_minimum_duration(worded: bool) -> None:
    """The one before is shortened, in the same or another segment or window."""
    whole, last = ((0.0, 4.0),), ((4.0, 4.0),)
    pieces = make_piece(0.0, 4.0, *whole if worded else ()), make_piece(3.9, 4.0, *last if worded else ())
    for windows in (
        [make_text(0.0, 4.0, *pieces)],
        [
            make_text(0.0, 4.0, pieces[0]),
            make_text(3.0, 4.0, make_piece(0.9, 1.0, *((1.0, 1.0),) if worded else ())),
        ],
    ):
        assert bounds(build_segments(windows, energy_of(speech(4.0)))) == [(0.0, 3.98), (3.98, 4.0)]


def test_segment_ends_before_audio_that_is_decoded_again() -> None:
    segments = build_segments(
        [make_text(0.0, 9.0, make_piece(0.0, 4.4), limit=3.0), make_text(3.0, 9.0, make_piece(0.1, 2.0))],
        energy_of(speech(9.0)),
    )
    assert bounds(segments) == [(0.0, 3.0), (3.1, 5.0)]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 320), st.integers(0, 320)), min_size=1, max_size=4), min_size=1, max_size=8
    ),
    st.booleans(),
    st.sampled_from([silence(3.0), speech(3.0), join(silence(0.5), speech(1.0), silence(0.4), speech(1.1))]),
)
def test_segments_and_words_are_ordered_for_any_times(
    pieces: list[list[tuple[int, int]]], worded: bool, file: Samples
) -> None:
    transcribed = []
    for times in pieces:
        timed = [(low / 100, high / 100) for low, high in (sorted(pair) for pair in times)]
        transcribed.append(make_piece(timed[0][0], timed[-1][1], *timed if worded else ()))
    segments = build_segments([make_text(0.0, 3.0, *transcribed)], measure(file))
    kept = [piece for piece in transcribed if piece.start < 3.0]
    assert [segment.text for segment in segments] == [piece.text for piece in kept]
    times = [time for pair in (words_of(segments) if worded else bounds(segments)) for time in pair]
    assert times == sorted(times)
    assert all(0.0 <= time <= 3.0 for time in times)
    assert all(end - start > MIN_DURATION_S / 2 for start, end in [*bounds(segments), *words_of(segments)])
    for before, after in pairwise(segments):
        assert before.end <= after.start
