"""Whether what a model says it heard was said at all, and whether it says how long that took.

It must not know units, runs or how a file is planned.
"""

from __future__ import annotations

from dataclasses import replace

from antiphon.transcription.vad import Voice
from antiphon.types.audio import SAMPLE_RATE
from antiphon.types.results import Piece, WindowResult

PADDING = round(0.3 * SAMPLE_RATE)  # samples by which voice activity may be late, or over too early
LEAST_VOICE, LEAST_SHARE = 0.2, 0.2  # seconds of voice that make what is said there true, or the share of its time
# What is kept though nobody is heard to say it. Models are sure of their phantoms, but seldom this sure, and they spread
# few words over much time: 0.2 a second, where speech has 2. The built-in starter's own sentences have -0.4 and more, at
# 2.4 words a second; none of them, at -45 dBFS or as loud as the noise around it, had less than 0.5 s of voice.
SURE_LOGPROB, SURE_REPETITION = -0.6, 2.0
LEAST_WORDS, LEAST_CHARACTERS = 0.6, 1.5  # a second
# A window with so little text for so much voice was given up by a model that was asked for no times.
SPARSE_WORDS, SPARSE_VOICE = 0.5, 5.0
# Characters nobody can say in a second (auctioneers: 40), and the seconds by which a piece's times may be short.
MOST_CHARACTERS, HURRY = 50.0, 0.5


def is_hallucination(voice: Voice, start: int, piece: Piece, result: WindowResult, *, spaces: bool) -> bool:
    """True if nobody said a piece of the window that begins at sample `start`: no voice, and no great sureness either.

    The voice is looked for only where the rest does not speak for the piece, which is seldom. Without `spaces` it is its
    characters that count, not its words.
    """
    seconds = piece.end - piece.start
    sure = result.avg_logprob >= SURE_LOGPROB and result.compression_ratio <= SURE_REPETITION
    if sure and _length(piece.text, spaces=spaces) >= LEAST_WORDS * seconds:
        return False
    begin, end = (start + round(time * SAMPLE_RATE) for time in (piece.start, piece.end))
    enough = min(LEAST_VOICE, LEAST_SHARE * seconds)
    return voice.seconds(begin, end, enough, padding=PADDING) < enough


def is_sparse(voice: Voice, start: int, end: int, result: WindowResult, loud: float, *, spaces: bool) -> bool:
    """True if the text of [start, end) is too little for the voice in it; `loud` seconds of it may be speech at all."""
    text = "".join(piece.text for piece in result.pieces)
    least = max(SPARSE_VOICE, _length(text, spaces=spaces) / SPARSE_WORDS)
    return loud > least and voice.seconds(start, end, least) >= least


def unhurried(result: WindowResult, seconds: float) -> WindowResult:
    """The result of a window of `seconds` without times nobody can keep: such a piece lasts until the next one begins.

    Where it was the last one closed, nothing is known of how far the model came, and it is not asked again from there: it
    would say all of it twice. (The starter, at a loss with 29 s of sentences in one breath, gives 400 characters 1.8 s.)
    """
    begins = [piece.start for piece in result.pieces] + [seconds]
    pieces = tuple(
        replace(piece, end=max(piece.end, following)) if _hurried(piece) else piece
        for piece, following in zip(result.pieces, begins[1:], strict=True)
    )
    misled = any(_hurried(piece) and piece.start < result.resume <= piece.end for piece in result.pieces)
    return replace(result, pieces=pieces, resume=seconds if misled else result.resume)


def _hurried(piece: Piece) -> bool:
    return len(piece.text) / MOST_CHARACTERS > piece.end - piece.start + HURRY


def _length(text: str, *, spaces: bool) -> float:
    """How much text that is, in words; where no spaces tell them apart, in as many as its characters make."""
    if spaces:
        return len(text.split())
    return len("".join(text.split())) * LEAST_WORDS / LEAST_CHARACTERS
