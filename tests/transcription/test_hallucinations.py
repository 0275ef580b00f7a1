"""What is said and what is made up: the voice under it counts, then how sure, varied and dense it is."""

from __future__ import annotations

import pytest

from antiphon.transcription.hallucinations import is_hallucination, is_sparse, unhurried
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
    return is_hallucination(file.voice(), 0, piece, make_result(piece, logprob=logprob), spaces=spaces)


NOISE = Map([(SOUND, 100)])  # 16 s


@pytest.mark.parametrize(
    ("text", "seconds", "logprob", "dropped"),
    [
        (" she told me a story", 2.0, -0.60, False),  # as sure and dense as speech, though nobody is heard
        (" she told me a story", 2.0, -0.61, True),
        (" let's go", 4.0, -0.1, True),  # a phantom is sure of itself: 0.5 words a second
        (" let's go now", 5.0, -0.1, False),  # 0.6
        (" no" * 40, 10.0, -0.1, True),  # says the same over and over
    ],
)
def test_where_nobody_speaks(text: str, seconds: float, logprob: float, dropped: bool) -> None:
    assert is_dropped(make_piece(1.0, 1.0 + seconds, text), NOISE, logprob) == dropped


@pytest.mark.parametrize(("text", "dropped"), [("行きましょう", False), ("行", True)])
def test_where_words_have_no_spaces_characters_count(text: str, dropped: bool) -> None:
    assert is_dropped(make_piece(0.0, 2.0, text), NOISE, spaces=False) == dropped


@pytest.mark.parametrize("logprob", [-0.1, -5.0])
def test_what_a_voice_says_is_kept_whatever_the_model_thinks(logprob: float) -> None:
    file = Map([(SOUND, 50), (SPEECH, 3), (SOUND, 50)])  # from 8.0 to 8.48 s
    for start, end in ((0.0, 16.0), (7.0, 8.2), (7.0, 7.95), (8.5, 10.0)):  # padded by 0.3 s: from 7.7 to 8.78
        assert not is_dropped(make_piece(start, end, " x"), file, logprob), (start, end)
    for start, end in ((0.0, 7.8), (8.7, 16.0)):
        assert is_dropped(make_piece(start, end, " x"), file, logprob), (start, end)


def test_of_a_short_segment_a_fifth_is_enough() -> None:
    file = Map([(SOUND, 50), (SPEECH, 3), (SOUND, 50)])
    assert not is_dropped(make_piece(7.3, 7.8, " x"), file, -5.0)  # 0.1 of 0.5 s
    assert is_dropped(make_piece(7.24, 7.74, " x"), file, -5.0)


def test_the_voice_is_looked_for_only_in_doubt() -> None:
    voice = NOISE.voice()
    sure = make_piece(0.0, 2.0, " she told me a story")
    assert not is_hallucination(voice, 0, sure, make_result(sure), spaces=True)
    assert voice.seconds_looked_at == 0.0


def test_the_place_is_the_files() -> None:
    file = Map([(SOUND, 100), (SPEECH, 50)])
    piece = make_piece(1.0, 3.0, " x")
    assert is_hallucination(file.voice(), 0, piece, make_result(piece), spaces=True)
    assert not is_hallucination(file.voice(), 15 * SECOND, piece, make_result(piece), spaces=True)


@pytest.mark.parametrize(
    ("words", "spoken", "sparse"),
    [(0, 6.4, True), (0, 4.8, False), (4, 9.6, True), (5, 9.6, False), (40, 9.6, False)],
)
def test_too_few_words_for_so_much_voice(words: int, spoken: float, sparse: bool) -> None:
    file = Map([(HUSH, 10), (SPEECH, round(spoken * SECOND / UNIT)), (SOUND, 60)])
    result = make_result(make_piece(0.0, 20.0, " word" * words)) if words else make_result()
    loud = file.loudness.speech_seconds(0, len(file))
    assert is_sparse(file.voice(), 0, len(file), result, loud, spaces=True) == sparse


def test_what_is_not_loud_is_not_listened_to() -> None:
    voice = NOISE.voice()
    assert not is_sparse(voice, 0, 10 * SECOND, make_result(), 5.0, spaces=True)
    assert voice.seconds_looked_at == 0.0


def test_nobody_says_that_much_in_so_little_time() -> None:
    """A model that is at a loss closes all it made of a window after a second or two: that is no place to go on from."""
    hurried, slow = make_piece(0.0, 1.8, " x" * 200), make_piece(9.0, 12.0, " and so on")
    mended = unhurried(make_result(hurried), 29.0)
    assert (mended.pieces[0].end, mended.resume) == (29.0, 29.0)
    mended = unhurried(make_result(hurried, slow), 29.0)  # the next one tells where it ended, and is itself believed
    assert ([piece.end for piece in mended.pieces], mended.resume) == ([9.0, 12.0], 12.0)
    tail = make_piece(1.8, 29.0, " and an unfinished one")
    mended = unhurried(make_result(hurried, tail, resume=1.8), 29.0)
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
def test_times_that_can_be_kept_are(result: WindowResult) -> None:
    assert unhurried(result, 30.0) == result
