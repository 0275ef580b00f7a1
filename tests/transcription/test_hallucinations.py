"""Hallucination filter: speech under a segment counts first, then confidence, repetition and density."""

from __future__ import annotations

import pytest

from antiphon.transcription.hallucinations import is_hallucination, is_sparse, repair_impossible_times
from antiphon.types.audio import SAMPLE_RATE
from antiphon.types.results import Piece, WindowResult
from tests.support.speech_map import HUSH, SOUND, SPEECH, UNIT, Map

SECOND = SAMPLE_RATE


def make_piece(start: float, end: float, text: str) -> Piece:
    return Piece(start, end, text, (1,))


def make_result(*pieces: Piece, logprob: float = -0.25, resume: float | None = None) -> WindowResult:
    reached = pieces[-1].end if pieces and resume is None else resume or 0.0
    return WindowResult("en", pieces, (1,), reached, logprob, 0.01, 0.0)


def is_dropped(piece: Piece, file: Map, logprob: float = -0.25, *, spaces: bool = True) -> bool:
    return is_hallucination(file.activity(), 0, piece, make_result(piece, logprob=logprob), spaces=spaces)


NOISE = Map([(SOUND, 100)])  # 16 s


@pytest.mark.parametrize(
    ("text", "seconds", "logprob", "dropped"),
    [
        (" she told me a story", 2.0, -0.60, False),  # as confident and dense as speech
        (" she told me a story", 2.0, -0.61, True),
        (" let's go", 4.0, -0.1, True),  # a confident hallucination: 0.5 words a second
        (" let's go now", 5.0, -0.1, False),  # 0.6 words a second        (" no" * 40, 10.0, -0.1, True),  # repetitive
    ],
)
def test_hallucination_without_speech_depends_on_confidence_density_and_repetition(
    text: str, seconds: float, logprob: float, dropped: bool
) -> None:
    assert is_dropped(make_piece(1.0, 1.0 + seconds, text), NOISE, logprob) == dropped


@pytest.mark.parametrize(("text", "dropped"), [("行きましょう", False), ("行", True)])
def test_hallucination_in_scripts_without_spaces_counts_characters(text: str, dropped: bool) -> None:
    assert is_dropped(make_piece(0.0, 2.0, text), NOISE, spaces=False) == dropped


@pytest.mark.parametrize("logprob", [-0.1, -5.0])
def test_segment_with_speech_is_kept_whatever_its_logprob(logprob: float) -> None:
    file = Map([(SOUND, 50), (SPEECH, 3), (SOUND, 50)])  # from 8.0 to 8.48 s
    for start, end in ((0.0, 16.0), (7.0, 8.2), (7.0, 7.95), (8.5, 10.0)):  # padded by 0.3 s: from 7.7 to 8.78
        assert not is_dropped(make_piece(start, end, " x"), file, logprob), (start, end)
    for start, end in ((0.0, 7.8), (8.7, 16.0)):
        assert is_dropped(make_piece(start, end, " x"), file, logprob), (start, end)


def test_short_segment_needs_speech_in_a_fifth_of_its_time() -> None:
    file = Map([(SOUND, 50), (SPEECH, 3), (SOUND, 50)])
    assert not is_dropped(make_piece(7.3, 7.8, " x"), file, -5.0)  # 0.1 of 0.5 s
    assert is_dropped(make_piece(7.24, 7.74, " x"), file, -5.0)


def test_vad_does_not_run_for_confident_segments() -> None:
    activity = NOISE.activity()
    sure = make_piece(0.0, 2.0, " she told me a story")
    assert not is_hallucination(activity, 0, sure, make_result(sure), spaces=True)
    assert activity.analysed_seconds == 0.0


def test_hallucination_times_count_from_the_window_start() -> None:
    file = Map([(SOUND, 100), (SPEECH, 50)])
    piece = make_piece(1.0, 3.0, " x")
    assert is_hallucination(file.activity(), 0, piece, make_result(piece), spaces=True)
    assert not is_hallucination(file.activity(), 15 * SECOND, piece, make_result(piece), spaces=True)


@pytest.mark.parametrize(
    ("words", "spoken", "sparse"),
    [(0, 6.4, True), (0, 4.8, False), (4, 9.6, True), (5, 9.6, False), (40, 9.6, False)],
)
def test_window_with_too_few_words_for_its_speech_is_sparse(words: int, spoken: float, sparse: bool) -> None:
    file = Map([(HUSH, 10), (SPEECH, round(spoken * SECOND / UNIT)), (SOUND, 60)])
    result = make_result(make_piece(0.0, 20.0, " word" * words)) if words else make_result()
    loud = file.energy.loud_seconds(0, len(file))
    assert is_sparse(file.activity(), 0, len(file), result, loud, spaces=True) == sparse


def test_vad_does_not_run_for_quiet_windows() -> None:
    activity = NOISE.activity()
    assert not is_sparse(activity, 0, 10 * SECOND, make_result(), 5.0, spaces=True)
    assert activity.analysed_seconds == 0.0


def test_impossible_times_are_repaired() -> None:
    hurried, slow = make_piece(0.0, 1.8, " x" * 200), make_piece(9.0, 12.0, " and so on")
    mended = repair_impossible_times(make_result(hurried), 29.0)
    assert (mended.pieces[0].end, mended.resume) == (29.0, 29.0)
    mended = repair_impossible_times(make_result(hurried, slow), 29.0)
    assert ([piece.end for piece in mended.pieces], mended.resume) == ([9.0, 12.0], 12.0)
    tail = make_piece(1.8, 29.0, " and an unfinished one")
    mended = repair_impossible_times(make_result(hurried, tail, resume=1.8), 29.0)
    assert ([piece.end for piece in mended.pieces], mended.resume) == ([1.8, 29.0], 29.0)


@pytest.mark.parametrize(
    "result",
    [
        make_result(resume=30.0),
        make_result(make_piece(0.0, 0.02, " incomprehensibilities")),
        make_result(make_piece(0.0, 10.0, " as an auctioneer does" * 20)),
        make_result(make_piece(0.0, 8.0, " one"), make_piece(8.0, 30.0, " two"), resume=8.0),
    ],
    ids=["nothing", "a word in no time", "an auctioneer", "a tail"],
)
def test_possible_times_are_unchanged(result: WindowResult) -> None:
    assert repair_impossible_times(result, 30.0) == result
