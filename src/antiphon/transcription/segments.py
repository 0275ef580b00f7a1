"""What the windows of a file said, put together as its segments: in order, inside the file, each with room of its own.

Pure arithmetic on times; it must not know units, models or why a window was decoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from antiphon.transcription.energy import Energy
from antiphon.types.audio import SAMPLE_RATE
from antiphon.types.results import Piece, Segment, WindowResult, Word

FRAME = SAMPLE_RATE // 100  # samples in one `seek` step, 10 ms
LEAST_TIME = 0.02  # seconds of anything said, one place of the encoder's
INNER_PAUSE = 0.25  # seconds; a shorter silence may be inside a word, as before the t of "sixty"


@dataclass(frozen=True, slots=True)
class WindowText:
    """A window's result, and those of its pieces that no follow-up decodes again: all before `limit`, in its seconds.

    Where the window stands, in samples, and not the window: its samples are of no more use, and a long file has many.
    """

    start: int
    end: int
    result: WindowResult
    pieces: tuple[Piece, ...]
    limit: float


@dataclass(slots=True)
class _TimeSpan:
    """Something said, on its way to its place: seconds of the file; it has to end by `limit`."""

    start: float
    end: float
    limit: float


def arrange(heard: Sequence[WindowText], loudness: Energy) -> tuple[Segment, ...]:
    """The segments of a file so loud, from its windows in any order; blank text is dropped.

    Nothing begins before what stands before it has ended. A word that attention has reach into a pause, which it does
    most at a window's beginning, is where the sound is.
    """
    duration = loudness.total / SAMPLE_RATE
    in_order = sorted(heard, key=lambda window: window.start)
    said = [each for window in in_order for each in _said(window, loudness)]
    _settle([span for _, _, spans in said for span in spans], duration)
    return tuple(_segment(number, *each) for number, each in enumerate(said))


def _said(window: WindowText, loudness: Energy) -> Iterator[tuple[WindowText, Piece, list[_TimeSpan]]]:
    """The pieces of a window with the time of each of their words, or of the whole if they have none."""
    offset = window.start / SAMPLE_RATE
    window_end = window.end / SAMPLE_RATE
    limit = min(round(offset + window.limit, 3), window_end)
    for piece in window.pieces:
        # A piece that starts in the padding behind the audio was made up.
        if not piece.text.strip() or offset + piece.start >= window_end:
            continue
        times = [_sounding(offset + word.start, offset + word.end, loudness) for word in piece.words]
        times = times or [(offset + piece.start, offset + piece.end)]
        yield window, piece, [_TimeSpan(round(start, 3), round(end, 3), limit) for start, end in times]


def _settle(spans: Sequence[_TimeSpan], duration: float) -> None:
    """Put everything in order and inside the file; as far as there is room, each lasts as long as can be told.

    A model may begin and end something at the same moment, most often the last word of a file.
    """
    reached = 0.0
    for span in spans:
        span.start = min(max(span.start, reached), max(span.limit, reached))
        span.end = min(max(span.end, round(span.start + LEAST_TIME, 3)), max(span.limit, span.start))
        reached = span.end
    following = duration  # when what comes next begins
    for span in reversed(spans):
        span.end = min(span.end, following)
        span.start = max(0.0, min(span.start, round(span.end - LEAST_TIME, 3)))
        following = span.start


def _segment(number: int, window: WindowText, piece: Piece, spans: Sequence[_TimeSpan]) -> Segment:
    result = window.result
    words: tuple[Word, ...] = ()
    if piece.words:
        timed = zip(piece.words, spans, strict=True)
        words = tuple(replace(word, start=span.start, end=span.end) for word, span in timed)
    return Segment(
        id=number,
        seek=round(window.start / FRAME),
        start=spans[0].start,
        end=spans[-1].end,
        text=piece.text,
        tokens=piece.tokens,
        temperature=result.temperature,
        avg_logprob=result.avg_logprob,
        compression_ratio=result.compression_ratio,
        no_speech_prob=result.no_speech_prob,
        words=words,
    )


def _sounding(start: float, end: float, loudness: Energy) -> tuple[float, float]:
    """What of a word's time is not silence: its longest part between the pauses that reach into it."""
    parts: list[tuple[float, float]] = []
    begin = start
    for pause in loudness.between(round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)):
        silent, loud = pause.start / SAMPLE_RATE, pause.end / SAMPLE_RATE
        if silent > begin and loud < end and loud - silent < INNER_PAUSE:
            continue
        parts.append((begin, silent))
        begin = loud
    parts.append((begin, end))
    first, last = max(parts, key=lambda part: part[1] - part[0])
    return (first, last) if last - first >= LEAST_TIME else (start, end)
