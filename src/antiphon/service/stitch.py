"""One recognition request as a state machine: runs become units, results become more units, and at last a transcript.

Pure: it must not know threads, queues, sessions or how a transcript is rendered.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from antiphon.errors import EngineFailed
from antiphon.service.windows import Loudness, Run, measure
from antiphon.service.windows import plan as plan_runs
from antiphon.types import (
    SAMPLE_RATE,
    WINDOW_SAMPLES,
    Event,
    Failed,
    LanguageDetected,
    ModelInfo,
    Piece,
    Segment,
    TranscribeOptions,
    Transcript,
    Waveform,
    Window,
    WindowResult,
    Word,
)

logger = logging.getLogger(__name__)

ADVANCE = SAMPLE_RATE // 2  # samples; follow-ups that get on by less are counted, so that every chain ends
CONTINUATION_SPEECH = 0.5  # seconds of speech after the last closed segment that are worth decoding again
CONTINUATION_DEPTH = 4
LANGUAGE_SPEECH = 1.0  # seconds of speech a window should have for its language to be trusted
FRAME = SAMPLE_RATE // 100  # samples in one `seek` step, 10 ms
AHEAD = 32  # windows out at a time, 60 MB of samples; a model should decode at most half as many side by side

Progress = Callable[[float, float], None]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a unit stands: its run, and how many continuations led to it."""

    run: Run
    depth: int


@dataclass(frozen=True, slots=True)
class _Heard:
    """A window's result, and those of its pieces that no follow-up decodes again: all before `limit`, in its seconds.

    Where the window stands, in samples, and not the window: its samples are of no more use, and a long file has many.
    """

    start: int
    end: int
    result: WindowResult
    pieces: tuple[Piece, ...]
    limit: float


class TranscriptionPlan:
    """The state of one request. `start` once, then `receive` every event of its units, until `done`; then `result`.

    A known language lets runs start side by side, `ahead` of them at a time, so that what is held of a long file does not
    grow with it; else one window with speech is heard first, and its language is forced on the rest. `progress` is told
    (done, total) seconds after each window, on whichever thread calls `receive`.
    """

    def __init__(
        self,
        request: int,
        samples: Waveform,
        options: TranscribeOptions,
        info: ModelInfo,
        *,
        progress: Progress | None = None,
        ahead: int = AHEAD,
    ) -> None:
        self._request = request
        self._samples = samples
        self._options = options
        self._info = info
        self._progress = progress
        self._ahead = ahead
        self._loudness: Loudness = measure(samples)
        self._runs = plan_runs(self._loudness)
        self._unstarted: list[Run] = list(self._runs)
        self._places: dict[Window, _Place] = {}  # of the units that have not ended
        self._heard: list[_Heard] = []
        self._language = options.language
        self._error: Exception | None = None

    @property
    def runs(self) -> tuple[Run, ...]:
        return self._runs

    @property
    def expected(self) -> int:
        return sum(-(-(run.end - run.start) // WINDOW_SAMPLES) for run in self._runs)

    @property
    def seconds(self) -> float:
        """What of the audio is not skipped as silence."""
        return sum(run.end - run.start for run in self._runs) / SAMPLE_RATE

    @property
    def done(self) -> bool:
        return self._error is not None or not (self._unstarted or self._places)

    @property
    def progress(self) -> tuple[float, float]:
        """Seconds decoded or skipped as silence, and seconds in all."""
        total = len(self._samples)
        open_runs = {place.run: unit.start for unit, place in self._places.items()} | {
            run: run.start for run in self._unstarted
        }
        left = sum(run.end - start for run, start in open_runs.items())
        return (total - left) / SAMPLE_RATE, total / SAMPLE_RATE

    def start(self) -> list[Window]:
        if self._language is not None or not self._info.languages:
            return self._start_more()
        if not self._unstarted:
            return []
        first = next(filter(self._tells_language, self._unstarted), self._unstarted[0])
        self._unstarted.remove(first)
        return [self._window(first, first.start)]

    def receive(self, event: Event) -> list[Window]:
        if self.done or event.unit not in self._places:
            return []
        if isinstance(event, Failed):
            self._error = event.error
            return []
        if isinstance(event, LanguageDetected):
            return self._settle_language(event.language)
        place = self._places.pop(event.unit)
        others = self._settle_language(event.result.language)
        following = [*self._go_on(event.unit, place, event.result), *others]
        if self._progress is not None:
            self._progress(*self.progress)
        return following

    def result(self) -> Transcript:
        if self._error is not None:
            raise self._error
        if not self.done:
            raise EngineFailed("The transcript was asked for before it was ready. This is a bug.")
        segments = _segments(sorted(self._heard, key=lambda heard: heard.start), len(self._samples) / SAMPLE_RATE)
        return Transcript(
            task=self._options.task,
            language=self._language or self._info.default_language,
            duration=len(self._samples) / SAMPLE_RATE,
            text="".join(segment.text for segment in segments).strip(),
            segments=segments,
        )

    def _tells_language(self, run: Run) -> bool:
        return self._loudness.speech_seconds(run.start, min(run.end, run.start + WINDOW_SAMPLES)) >= LANGUAGE_SPEECH

    def _settle_language(self, language: str) -> list[Window]:
        """The first word on the language stands, and lets the other runs start."""
        if self._language is None and self._info.languages:
            self._language = language
        return self._start_more()

    def _start_more(self) -> list[Window]:
        room = max(0, self._ahead - len(self._places))
        runs, self._unstarted = self._unstarted[:room], self._unstarted[room:]
        return [self._window(run, run.start) for run in runs]

    def _window(self, run: Run, start: int, depth: int = 0) -> Window:
        """The window of a run that begins at `start`; a hard cut at its end needs times to know where to go on."""
        end = min(start + WINDOW_SAMPLES, run.end)
        return self._unit(_Place(run, depth), start, end, timestamps=self._options.timestamps or end < run.end)

    def _warn_of_loss(self, place: _Place, start: int, end: int) -> None:
        logger.warning(
            "request %d: speech from %.2f s to %.2f s may be missing: the model left it %d times",
            self._request,
            start / SAMPLE_RATE,
            end / SAMPLE_RATE,
            place.depth + 1,
        )

    def _unit(self, place: _Place, start: int, end: int, *, timestamps: bool) -> Window:
        unit = Window(
            request=self._request,
            samples=self._samples[start:end],
            start=start,
            timestamps=timestamps,
            options=replace(self._options, language=self._language, timestamps=timestamps),
        )
        self._places[unit] = place
        return unit

    def _go_on(self, unit: Window, place: _Place, result: WindowResult) -> list[Window]:
        """Keep what a window said and start what follows from it: the chain's next window, or the tail it abandoned."""
        end = unit.start + len(unit.samples)
        resume = min(unit.start + round(result.resume * SAMPLE_RATE), end)
        following: list[Window] = []
        decoded = end  # what is heard from here on is decoded again
        if end < place.run.end:
            # A model that closes almost nothing would be asked nearly the same again: only so many times.
            depth = 0 if resume - unit.start >= ADVANCE else place.depth + 1
            if unit.start < resume and depth <= CONTINUATION_DEPTH:
                decoded = resume
            else:
                self._warn_of_loss(place, resume, end)
                depth = 0
            if self._loudness.speech_seconds(decoded, place.run.end) > 0.0:
                following = [self._window(place.run, decoded, depth)]
            else:
                decoded = end
        elif unit.timestamps and self._loudness.speech_seconds(resume, end) >= CONTINUATION_SPEECH:
            if unit.start < resume and place.depth < CONTINUATION_DEPTH:
                decoded = resume
                following = [self._unit(_Place(place.run, place.depth + 1), resume, end, timestamps=True)]
            else:
                self._warn_of_loss(place, resume, end)
        limit = (decoded - unit.start) / SAMPLE_RATE
        kept = result.pieces if not following else tuple(piece for piece in result.pieces if piece.start < limit)
        self._heard.append(_Heard(unit.start, end, result, kept, limit))
        return following


def compression_ratio(text: str) -> float:
    """Bytes of a text over its bytes when compressed, Whisper's measure of repetition; 0.0 for no text."""
    encoded = text.encode()
    return len(encoded) / len(zlib.compress(encoded)) if encoded else 0.0


def _segments(heard: Sequence[_Heard], duration: float) -> tuple[Segment, ...]:
    """Pieces in file order as segments: times of the file, monotone and inside it, blank text dropped."""
    segments: list[Segment] = []
    reached = 0.0  # the end of the segment before
    for window in heard:
        result = window.result
        offset = window.start / SAMPLE_RATE
        window_end = min(window.end / SAMPLE_RATE, duration)
        ratio = compression_ratio("".join(piece.text for piece in result.pieces).strip())
        for piece in window.pieces:
            # A piece that starts in the padding behind the audio was made up.
            if not piece.text.strip() or offset + piece.start >= window_end:
                continue
            words = _words(piece, offset, reached, min(round(offset + window.limit, 3), duration))
            begin, end = (words[0].start, words[-1].end) if words else (offset + piece.start, offset + piece.end)
            start = min(max(round(begin, 3), reached), duration)
            reached = min(max(round(min(end, window_end), 3), start), duration)
            segments.append(
                Segment(
                    id=len(segments),
                    seek=round(window.start / FRAME),
                    start=start,
                    end=reached,
                    text=piece.text,
                    tokens=piece.tokens,
                    temperature=result.temperature,
                    avg_logprob=result.avg_logprob,
                    compression_ratio=ratio,
                    no_speech_prob=result.no_speech_prob,
                    words=words,
                )
            )
    return tuple(segments)


def _words(piece: Piece, offset: float, low: float, high: float) -> tuple[Word, ...]:
    """A piece's words in the file's time: in order, none before `low`, none behind `high` (unless `low` is)."""
    words: list[Word] = []
    for word in piece.words:
        start = max(low, min(round(offset + word.start, 3), high))
        low = max(start, min(round(offset + word.end, 3), high))
        words.append(replace(word, start=start, end=low))
    return tuple(words)
