"""One recognition request as a state machine: runs become units, results become more units, and at last a transcript.

Pure: it must not know threads, queues, sessions or how a transcript is rendered.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from antiphon.audio.spool import Stretch
from antiphon.audio.voice_activity import Detectors
from antiphon.errors import EngineFailed
from antiphon.service.loudness import Loudness, Run, measure
from antiphon.service.voice import Voice
from antiphon.service.windows import pauses_long
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
LEAST_WORD = 0.02  # seconds, one place of the encoder's
AHEAD = 32  # windows out at a time; a model should decode at most half as many side by side
HISTORY = 224  # sampled ids that a window is told of those before it: Whisper's prompt has room for one less
MOST_TEMPERATURE = 0.5  # of a window whose text is to lead the next one, as in the reference
HEARD_SPEECH = 0.1  # seconds of speech where words were heard, or voice activity is not asked about what follows

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
    grow with it; else one window with speech is heard first, and its language is forced on the rest. Where a window shall
    know the text before it, there is one at a time. `progress` is told (done, total) seconds after each window, on
    whichever thread calls `receive`. Without `detectors` speech is told from silence by loudness alone.
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
        detectors: Detectors | None = None,
    ) -> None:
        self._request = request
        self._samples = samples
        self._options = options
        self._info = info
        self._progress = progress
        self._ahead = 1 if options.condition_on_previous_text else ahead
        self._loudness: Loudness = measure(samples)
        vad = options.vad
        asked = detectors is not None and vad.mode in ("auto", "always")
        self._voice = Voice(samples, self._loudness, detectors, vad) if detectors is not None and asked else None
        self._runs = plan_runs(self._loudness, vad, self._voice)
        self._unstarted: list[Run] = list(self._runs)
        self._history: tuple[int, ...] = ()
        self._places: dict[Window, _Place] = {}  # of the units that have not ended
        self._heard: list[_Heard] = []
        self._language = options.language
        self._error: Exception | None = None
        self._first = self._first_run()

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
        assert self._first is not None
        self._unstarted.remove(self._first)
        return [self._window(self._first, self._first.start)]

    def receive(self, event: Event) -> list[Window]:
        if self.done or event.unit not in self._places:
            return []
        if isinstance(event, Failed):
            self._error = event.error
            return []
        if isinstance(event, LanguageDetected):
            self._settle_language(event.language)
            return self._start_more()
        place = self._places.pop(event.unit)
        self._settle_language(event.result.language)
        following = self._go_on(event.unit, place, event.result)
        following += self._start_more()
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

    def _first_run(self) -> Run | None:
        """The run that tells the language: the first one with enough speech. Chosen here, for it may take a look."""
        side_by_side = not self._options.condition_on_previous_text
        if self._language is None and self._info.languages and side_by_side and len(self._runs) > 1:
            return next(filter(self._tells_language, self._runs), self._runs[0])
        return self._runs[0] if self._runs else None

    def _tells_language(self, run: Run) -> bool:
        end = min(run.end, run.start + WINDOW_SAMPLES)
        if self._loudness.speech_seconds(run.start, end) < LANGUAGE_SPEECH:
            return False
        return self._voice is None or self._voice.seconds(run.start, end, LANGUAGE_SPEECH) >= LANGUAGE_SPEECH

    def _settle_language(self, language: str) -> None:
        """The first word on the language stands, and lets the other runs start."""
        if self._language is None and self._info.languages:
            self._language = language

    def _start_more(self) -> list[Window]:
        room = max(0, self._ahead - len(self._places))
        runs, self._unstarted = self._unstarted[:room], self._unstarted[room:]
        return [self._window(run, run.start) for run in runs]

    def _window(self, run: Run, start: int, depth: int = 0) -> Window:
        """The window of a run that begins at `start`.

        A hard cut at its end needs times to know where to go on, and so does whoever may stop at a long pause.
        """
        end = min(start + WINDOW_SAMPLES, run.end)
        timed = self._options.timestamps or end < run.end or pauses_long(self._loudness, start, end)
        return self._unit(_Place(run, depth), start, end, timestamps=timed)

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
            samples=Stretch(self._samples, start, end),
            start=start,
            timestamps=timestamps,
            options=replace(self._options, language=self._language, timestamps=timestamps),
            history=self._history,
        )
        self._places[unit] = place
        return unit

    def _go_on(self, unit: Window, place: _Place, result: WindowResult) -> list[Window]:
        """Keep what a window said and start what follows from it: the chain's next window, or the tail it abandoned."""
        end = unit.start + len(unit.samples)
        resume = min(unit.start + round(result.resume * SAMPLE_RATE), end)
        decoded = end  # what is heard from here on is decoded again
        follow: Callable[[], Window] | None = None
        if end < place.run.end:
            # A model that closes almost nothing would be asked nearly the same again: only so many times.
            depth = 0 if resume - unit.start >= ADVANCE else place.depth + 1
            if unit.start < resume and depth <= CONTINUATION_DEPTH:
                decoded = resume
            else:
                self._warn_of_loss(place, resume, end)
                depth = 0
            if self._loudness.speech_seconds(decoded, place.run.end) > 0.0:
                follow = partial(self._window, place.run, decoded, depth)
            else:
                decoded = end
        elif unit.timestamps and self._left_speech(unit.start, resume, end):
            if unit.start < resume and place.depth < CONTINUATION_DEPTH:
                decoded = resume
                follow = partial(self._unit, _Place(place.run, place.depth + 1), resume, end, timestamps=True)
            else:
                self._warn_of_loss(place, resume, end)
        limit = (decoded - unit.start) / SAMPLE_RATE
        kept = result.pieces if follow is None else tuple(piece for piece in result.pieces if piece.start < limit)
        self._heard.append(_Heard(unit.start, end, result, kept, limit))
        self._remember(result, kept)
        return [] if follow is None else [follow()]

    def _left_speech(self, start: int, resume: int, end: int) -> bool:
        """True if there is speech from `resume` to `end` that is worth decoding again; words were heard before it."""
        if self._loudness.speech_seconds(resume, end) < CONTINUATION_SPEECH:
            return False
        if self._voice is None or self._voice.seconds(resume, end, CONTINUATION_SPEECH) >= CONTINUATION_SPEECH:
            return True
        # Voice activity that misses these words may miss the others too.
        return start < resume and self._voice.seconds(start, resume, HEARD_SPEECH) < HEARD_SPEECH

    def _remember(self, result: WindowResult, kept: Sequence[Piece]) -> None:
        """Let what was said lead the next window, unless it is of the kind that leads astray."""
        if not self._options.condition_on_previous_text:
            return
        misled = result.doubtful or result.temperature > MOST_TEMPERATURE  # a loop leads to loops
        said = tuple(token for piece in kept for token in piece.tokens)
        self._history = () if misled else (self._history + said)[-HISTORY:]


def _segments(heard: Sequence[_Heard], duration: float) -> tuple[Segment, ...]:
    """Pieces in file order as segments: times of the file, monotone and inside it, blank text dropped."""
    segments: list[Segment] = []
    reached = 0.0  # the end of the segment before
    for window in heard:
        result = window.result
        offset = window.start / SAMPLE_RATE
        window_end = min(window.end / SAMPLE_RATE, duration)
        ratio = result.compression_ratio
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
    """A piece's words in the file's time: in order, none before `low`, none behind `high` (unless `low` is).

    Attention may begin and end a word at the same moment; as far as there is room, each lasts as long as it can tell.
    """
    times: list[tuple[float, float]] = []
    at = low
    for word in piece.words:
        start = max(at, min(round(offset + word.start, 3), high))
        at = max(start, min(max(round(offset + word.end, 3), round(start + LEAST_WORD, 3)), high))
        times.append((start, at))
    before = max(low, high)  # when what comes next begins
    for index in reversed(range(len(times))):
        start, end = times[index]
        if end <= before and round(end - start, 3) >= LEAST_WORD:
            break  # so do all before it
        end = min(end, before)
        before = max(low, min(start, round(end - LEAST_WORD, 3)))
        times[index] = before, end
    return tuple(replace(word, start=start, end=end) for word, (start, end) in zip(piece.words, times, strict=True))
