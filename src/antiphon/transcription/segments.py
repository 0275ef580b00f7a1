"""Build the segments of a file from the texts of its windows: in order, inside the file, each with a duration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from antiphon.transcription.energy import Energy
from antiphon.types.audio import SAMPLE_RATE
from antiphon.types.results import Piece, Segment, WindowResult, Word

SEEK_SAMPLES = SAMPLE_RATE // 100  # one step of `seek`, 10 ms
MIN_DURATION_S = 0.02  # of a word or segment: one encoder position
MIN_SILENCE_S = 0.25  # a shorter silence may be part of a word, as before the t of "sixty"


@dataclass(frozen=True, slots=True)
class WindowText:
    """A window's result, its position in samples, and those of its pieces that no later window decodes again.

    `limit`, in seconds from the start of the window, is where the next window starts. The window itself is not kept: it
    would hold on to its samples.
    """

    start: int
    end: int
    result: WindowResult
    pieces: tuple[Piece, ...]
    limit: float


@dataclass(slots=True)
class _TimeSpan:
    """The times of a word or piece while they are adjusted: seconds of the file; it has to end by `limit`."""

    start: float
    end: float
    limit: float


def build_segments(texts: Sequence[WindowText], energy: Energy) -> tuple[Segment, ...]:
    """The segments of a file, from its windows in any order. Blank text is dropped, and segments do not overlap.

    Word times that overlap silence are moved to the audible part: attention often reaches into a pause, most of all at
    the start of a window.
    """
    duration = energy.total / SAMPLE_RATE
    in_order = sorted(texts, key=lambda text: text.start)
    timed = [item for text in in_order for item in _timed_pieces(text, energy)]
    _remove_overlaps([span for _, _, spans in timed for span in spans], duration)
    return tuple(_segment(number, *item) for number, item in enumerate(timed))


def _timed_pieces(text: WindowText, energy: Energy) -> Iterator[tuple[WindowText, Piece, list[_TimeSpan]]]:
    """The pieces of a window, each with the times of its words, or with its own if it has no words."""
    offset = text.start / SAMPLE_RATE
    window_end = text.end / SAMPLE_RATE
    limit = min(round(offset + text.limit, 3), window_end)
    for piece in text.pieces:
        # A piece that starts in the padding after the audio is a hallucination.
        if not piece.text.strip() or offset + piece.start >= window_end:
            continue
        times = [_audible_part(offset + word.start, offset + word.end, energy) for word in piece.words]
        times = times or [(offset + piece.start, offset + piece.end)]
        yield text, piece, [_TimeSpan(round(start, 3), round(end, 3), limit) for start, end in times]


def _remove_overlaps(spans: Sequence[_TimeSpan], duration: float) -> None:
    """Order the spans and keep them inside the file, each at least `MIN_DURATION_S` long where there is room.

    A model may start and end a word at the same moment, most often the last word of a file.
    """
    position = 0.0
    for span in spans:
        span.start = min(max(span.start, position), max(span.limit, position))
        span.end = min(max(span.end, round(span.start + MIN_DURATION_S, 3)), max(span.limit, span.start))
        position = span.end
    next_start = duration
    for span in reversed(spans):
        span.end = min(span.end, next_start)
        span.start = max(0.0, min(span.start, round(span.end - MIN_DURATION_S, 3)))
        next_start = span.start


def _segment(number: int, text: WindowText, piece: Piece, spans: Sequence[_TimeSpan]) -> Segment:
    result = text.result
    words: tuple[Word, ...] = ()
    if piece.words:
        timed = zip(piece.words, spans, strict=True)
        words = tuple(replace(word, start=span.start, end=span.end) for word, span in timed)
    return Segment(
        id=number,
        seek=round(text.start / SEEK_SAMPLES),
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


def _audible_part(start: float, end: float, energy: Energy) -> tuple[float, float]:
    """The longest part of [start, end) between the pauses that overlap it."""
    parts: list[tuple[float, float]] = []
    begin = start
    for pause in energy.pauses_in(round(start * SAMPLE_RATE), round(end * SAMPLE_RATE)):
        pause_start, pause_end = pause.start / SAMPLE_RATE, pause.end / SAMPLE_RATE
        if pause_start > begin and pause_end < end and pause_end - pause_start < MIN_SILENCE_S:
            continue
        parts.append((begin, pause_start))
        begin = pause_end
    parts.append((begin, end))
    first, last = max(parts, key=lambda part: part[1] - part[0])
    return (first, last) if last - first >= MIN_DURATION_S else (start, end)
