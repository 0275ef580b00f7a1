"""Hallucination filter: drops segments without speech under them and repairs impossible times."""

from __future__ import annotations

from dataclasses import replace

from antiphon.transcription.vad import SpeechActivity
from antiphon.types.audio import SAMPLE_RATE
from antiphon.types.results import Piece, WindowResult

PADDING_SAMPLES = round(0.3 * SAMPLE_RATE)  # by which VAD may be late at the start of speech or early at its end
# A segment is confirmed by this much speech, or by speech in this share of its time.
CONFIRMING_SPEECH_S = 0.2
CONFIRMING_SPEECH_SHARE = 0.2
# Segments kept without any speech under them. Models are confident in their hallucinations, but seldom this confident, and
# spread few words over a long time: 0.2 words a second, where speech has 2. The built-in starter's own sentences have -0.4
# and more at 2.4 words a second; each of them, at -45 dBFS or as loud as the noise around it, had 0.5 s of speech or more.
CONFIDENT_LOGPROB = -0.6
CONFIDENT_COMPRESSION_RATIO = 2.0
MIN_WORDS_PER_S = 0.6
MIN_CHARACTERS_PER_S = 1.5  # in scripts without spaces
# A window with fewer words per second of speech, in more than 5 s of speech, was abandoned by a model without timestamps.
SPARSE_WORDS_PER_S = 0.5
SPARSE_SPEECH_S = 5.0
# Impossible to say (auctioneers reach 40), and the seconds by which the times of a segment may be short.
IMPOSSIBLE_CHARACTERS_PER_S = 50.0
DURATION_ERROR_S = 0.5


def is_hallucination(activity: SpeechActivity, start: int, piece: Piece, result: WindowResult, *, spaces: bool) -> bool:
    """True if a piece of the window that starts at sample `start` has no speech under it and the model is not confident.

    VAD runs only if the other criteria do not keep the piece, which is rare. `spaces` is False for scripts that do not
    separate words; their characters are counted instead.
    """
    seconds = piece.end - piece.start
    confident = result.avg_logprob >= CONFIDENT_LOGPROB and result.compression_ratio <= CONFIDENT_COMPRESSION_RATIO
    if confident and _words(piece.text, spaces=spaces) >= MIN_WORDS_PER_S * seconds:
        return False
    begin, end = (start + round(time * SAMPLE_RATE) for time in (piece.start, piece.end))
    enough = min(CONFIRMING_SPEECH_S, CONFIRMING_SPEECH_SHARE * seconds)
    return activity.seconds(begin, end, enough, padding=PADDING_SAMPLES) < enough


def is_sparse(
    activity: SpeechActivity, start: int, end: int, result: WindowResult, loud_seconds: float, *, spaces: bool
) -> bool:
    """True if the samples [start, end) hold far more speech than text. At most `loud_seconds` of them can be speech."""
    text = "".join(piece.text for piece in result.pieces)
    least = max(SPARSE_SPEECH_S, _words(text, spaces=spaces) / SPARSE_WORDS_PER_S)
    return loud_seconds > least and activity.seconds(start, end, least) >= least


def repair_impossible_times(result: WindowResult, seconds: float) -> WindowResult:
    """Extend pieces that are too short for their text until the next one starts, in a window of `seconds`.

    If such a piece was the last one closed, its end does not show how far the model came, so the window is not resumed
    there: the model would repeat all of it. (Starter-asr, given 29 s of sentences without a pause, closed 400 characters
    after 1.8 s.)
    """
    begins = [piece.start for piece in result.pieces] + [seconds]
    pieces = tuple(
        replace(piece, end=max(piece.end, following)) if _is_too_short(piece) else piece
        for piece, following in zip(result.pieces, begins[1:], strict=True)
    )
    misled = any(_is_too_short(piece) and piece.start < result.resume <= piece.end for piece in result.pieces)
    return replace(result, pieces=pieces, resume=seconds if misled else result.resume)


def _is_too_short(piece: Piece) -> bool:
    return len(piece.text) / IMPOSSIBLE_CHARACTERS_PER_S > piece.end - piece.start + DURATION_ERROR_S


def _words(text: str, *, spaces: bool) -> float:
    """The number of words; without spaces, an equivalent number by the count of characters."""
    if spaces:
        return len(text.split())
    return len("".join(text.split())) * MIN_WORDS_PER_S / MIN_CHARACTERS_PER_S
