"""One transcription request as a state machine: chunks become windows, results become more windows, then a transcript."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from antiphon.audio.sample_store import SampleSlice
from antiphon.errors import EngineFailed
from antiphon.languages import SPACELESS
from antiphon.transcription.chunking import has_misleading_pause, is_scanned, plan_chunks, resume_position
from antiphon.transcription.energy import Energy, Span, measure
from antiphon.transcription.hallucinations import is_hallucination, is_sparse, repair_impossible_times
from antiphon.transcription.segments import WindowText, build_segments
from antiphon.transcription.vad import DetectorPool, SpeechActivity
from antiphon.types.audio import SAMPLE_RATE, WINDOW_SAMPLES, Waveform
from antiphon.types.cancellation import CancelCheck, never
from antiphon.types.events import Event, Failed, LanguageDetected, Window
from antiphon.types.options import TranscribeOptions
from antiphon.types.results import ModelInfo, Piece, Transcript, WindowResult

logger = logging.getLogger(__name__)

MIN_ADVANCE_SAMPLES = SAMPLE_RATE // 2  # windows of a chain that advance by less are limited, so that every chain ends
MIN_CONTINUATION_SPEECH_S = 0.5  # after the last closed segment; less is not decoded again
MAX_CONTINUATIONS = 4
MIN_LANGUAGE_SPEECH_S = 1.0  # a window needs this much speech for its language to be trusted
MAX_WINDOWS_IN_FLIGHT = 32  # of one request; at least twice the number a model decodes at a time
MAX_HISTORY_TOKENS = 224  # half of Whisper's text context (n_text_ctx // 2); its prompt has room for one less
MAX_HISTORY_TEMPERATURE = 0.5  # text sampled at a higher one is not used as history, as in openai-whisper
MIN_CONFIRMED_SPEECH_S = 0.1  # if VAD finds less under decoded words, it is not trusted about the audio after them

Progress = Callable[[float, float], None]


@dataclass(frozen=True, slots=True)
class _Origin:
    """The chunk a window belongs to, and how many continuations led to it."""

    chunk: Span
    depth: int


class TranscriptionPlan:
    """The state of one request. Call `start` once, `receive` for every event of its windows until `done`, then `result`.

    If the language is known, chunks are decoded concurrently, at most `ahead` windows at a time, so memory does not grow
    with the length of the file; otherwise one window with speech goes first, and its language is used for the rest. With
    `condition_on_previous_text` there is one window at a time. `progress` is called with (done, total) seconds after
    each window, on the thread that calls `receive`. Without `detectors` speech is found by signal level alone. `cancelled`
    is called between stretches of the file while it is scanned; if it returns True, Cancelled is raised.
    """

    def __init__(
        self,
        request: int,
        samples: Waveform,
        options: TranscribeOptions,
        info: ModelInfo,
        *,
        progress: Progress | None = None,
        ahead: int = MAX_WINDOWS_IN_FLIGHT,
        detectors: DetectorPool | None = None,
        cancelled: CancelCheck = never,
    ) -> None:
        self._request = request
        self._samples = samples
        self._options = options
        self._info = info
        self._progress = progress
        self._ahead = 1 if options.condition_on_previous_text else ahead
        self._energy: Energy = measure(samples)
        vad = options.vad
        self._activity: SpeechActivity | None = None
        if detectors is not None and vad.mode in ("auto", "always"):
            self._activity = SpeechActivity(samples, self._energy, detectors, vad, cancelled)
        self._chunks = plan_chunks(self._energy, vad, self._activity)
        # VAD for the hallucination filter: off if the file was not scanned, or if a benchmark forces the length.
        self._filter = self._activity if is_scanned(len(samples), vad) and not options.min_new_tokens else None
        self.dropped = 0  # segments left out as hallucinations
        self._pending: list[Span] = list(self._chunks)
        self._history: tuple[int, ...] = ()
        self._in_flight: dict[Window, _Origin] = {}
        self._texts: list[WindowText] = []
        self._language = options.language
        self._error: Exception | None = None
        self._first = self._first_chunk()

    @property
    def chunks(self) -> tuple[Span, ...]:
        return self._chunks

    @property
    def expected(self) -> int:
        """The number of windows, if no continuations are needed."""
        return sum(-(-(chunk.end - chunk.start) // WINDOW_SAMPLES) for chunk in self._chunks)

    @property
    def seconds(self) -> float:
        """Seconds of audio that are not skipped."""
        return sum(chunk.end - chunk.start for chunk in self._chunks) / SAMPLE_RATE

    @property
    def done(self) -> bool:
        return self._error is not None or not (self._pending or self._in_flight)

    @property
    def progress(self) -> tuple[float, float]:
        """Seconds decoded or skipped, and seconds in all."""
        total = len(self._samples)
        starts = {origin.chunk: unit.start for unit, origin in self._in_flight.items()} | {
            chunk: chunk.start for chunk in self._pending
        }
        left = sum(chunk.end - start for chunk, start in starts.items())
        return (total - left) / SAMPLE_RATE, total / SAMPLE_RATE

    def start(self) -> list[Window]:
        if self._language is not None or not self._info.languages:
            return self._start_pending()
        if not self._pending:
            return []
        assert self._first is not None
        self._pending.remove(self._first)
        return [self._window(self._first, self._first.start)]

    def receive(self, event: Event) -> list[Window]:
        if self.done or event.unit not in self._in_flight:
            return []
        if isinstance(event, Failed):
            self._error = event.error
            return []
        if isinstance(event, LanguageDetected):
            self._set_language(event.language)
            return self._start_pending()
        origin = self._in_flight.pop(event.unit)
        self._set_language(event.result.language)
        following = self._finish_window(event.unit, origin, event.result)
        following += self._start_pending()
        if self._progress is not None:
            self._progress(*self.progress)
        return following

    def result(self) -> Transcript:
        if self._error is not None:
            raise self._error
        if not self.done:
            raise EngineFailed("The transcript was requested before it was ready. This is a bug.")
        segments = build_segments(self._texts, self._energy)
        return Transcript(
            task=self._options.task,
            language=self._language or self._info.default_language,
            duration=len(self._samples) / SAMPLE_RATE,
            text="".join(segment.text for segment in segments).strip(),
            segments=segments,
        )

    def _first_chunk(self) -> Span | None:
        """The chunk whose language is detected: the first with enough speech. May run VAD, so it is chosen up front."""
        concurrent = not self._options.condition_on_previous_text
        if self._language is None and self._info.languages and concurrent and len(self._chunks) > 1:
            return next(filter(self._has_language_speech, self._chunks), self._chunks[0])
        return self._chunks[0] if self._chunks else None

    def _has_language_speech(self, chunk: Span) -> bool:
        end = min(chunk.end, chunk.start + WINDOW_SAMPLES)
        if self._energy.loud_seconds(chunk.start, end) < MIN_LANGUAGE_SPEECH_S:
            return False
        least = MIN_LANGUAGE_SPEECH_S
        return self._activity is None or self._activity.seconds(chunk.start, end, least) >= least

    def _set_language(self, language: str) -> None:
        """Use the first language reported for the whole request."""
        if self._language is None and self._info.languages:
            self._language = language

    def _start_pending(self) -> list[Window]:
        room = max(0, self._ahead - len(self._in_flight))
        chunks, self._pending = self._pending[:room], self._pending[room:]
        return [self._window(chunk, chunk.start) for chunk in chunks]

    def _window(self, chunk: Span, start: int, depth: int = 0) -> Window:
        """The window of a chunk that begins at `start`.

        It needs timestamps if its end is a hard cut, to know where to continue, or if a pause may stop the model early.
        """
        end = min(start + WINDOW_SAMPLES, chunk.end)
        timestamps = self._options.timestamps or end < chunk.end or has_misleading_pause(self._energy, start, end)
        return self._unit(_Origin(chunk, depth), start, end, timestamps=timestamps)

    def _unit(self, origin: _Origin, start: int, end: int, *, timestamps: bool) -> Window:
        unit = Window(
            request=self._request,
            samples=SampleSlice(self._samples, start, end),
            start=start,
            options=replace(self._options, language=self._language, timestamps=timestamps),
            history=self._history,
        )
        self._in_flight[unit] = origin
        return unit

    def _finish_window(self, unit: Window, origin: _Origin, result: WindowResult) -> list[Window]:
        """Store the text of a window and return what follows it: the next window of a chain, or one for its rest."""
        end = unit.start + len(unit.samples)
        if self._was_abandoned(unit, result):
            return [self._unit(_Origin(origin.chunk, origin.depth + 1), unit.start, end, timestamps=True)]
        result = repair_impossible_times(result, unit.seconds)
        closed = min(unit.start + round(result.resume * SAMPLE_RATE), end)
        resume = end  # the audio from here on is decoded again
        follow: Callable[[], Window] | None = None
        if end < origin.chunk.end:
            resume = self._resume_position(unit, closed)
            # A model that closes almost nothing gets nearly the same window again: only a limited number of times.
            depth = 0 if resume - unit.start >= MIN_ADVANCE_SAMPLES else origin.depth + 1
            if unit.start >= resume or depth > MAX_CONTINUATIONS:
                self._warn_of_loss(origin, closed, end)
                resume = closed = end
                depth = 0
            if self._energy.loud_seconds(resume, origin.chunk.end) > 0.0:
                follow = partial(self._window, origin.chunk, resume, depth)
            else:
                resume = end
        elif unit.options.timestamps and self._has_speech_left(unit.start, closed, end):
            if unit.start < closed and origin.depth < MAX_CONTINUATIONS:
                resume = self._resume_position(unit, closed)
                follow = partial(self._unit, _Origin(origin.chunk, origin.depth + 1), resume, end, timestamps=True)
            else:
                self._warn_of_loss(origin, closed, end)
        limit = (min(closed, resume) - unit.start) / SAMPLE_RATE
        kept = [piece for piece in result.pieces if follow is None or piece.start < limit]
        kept = [piece for piece in kept if not self._drop_hallucination(unit, result, piece)]
        self._texts.append(WindowText(unit.start, end, result, tuple(kept), (resume - unit.start) / SAMPLE_RATE))
        self._update_history(result, kept)
        return [] if follow is None else [follow()]

    def _warn_of_loss(self, origin: _Origin, start: int, end: int) -> None:
        logger.warning(
            "request %d: speech from %.2f s to %.2f s may be missing: the model left it out %d times",
            self._request,
            start / SAMPLE_RATE,
            end / SAMPLE_RATE,
            origin.depth + 1,
        )

    def _has_spaces(self, result: WindowResult) -> bool:
        """True if the words of the text are separated by spaces."""
        return self._options.task == "translate" or result.language not in SPACELESS

    def _was_abandoned(self, unit: Window, result: WindowResult) -> bool:
        """True if a window decoded without timestamps has almost no text for its speech; timestamps may show why."""
        if self._filter is None or unit.options.timestamps or self._options.max_new_tokens is not None:
            return False
        end = unit.start + len(unit.samples)
        loud_seconds = self._energy.loud_seconds(unit.start, end)
        return is_sparse(self._filter, unit.start, end, result, loud_seconds, spaces=self._has_spaces(result))

    def _drop_hallucination(self, unit: Window, result: WindowResult, piece: Piece) -> bool:
        """True if a piece is a hallucination; counts and logs it."""
        if self._filter is None or not is_hallucination(
            self._filter, unit.start, piece, result, spaces=self._has_spaces(result)
        ):
            return False
        self.dropped += 1
        begin = unit.start / SAMPLE_RATE
        logger.info(
            "request %d: text from %.2f s to %.2f s is left out as a hallucination: no speech there",
            self._request,
            begin + piece.start,
            begin + piece.end,
        )
        return True

    def _resume_position(self, unit: Window, closed: int) -> int:
        """Where the audio after the last closed segment of a window is decoded again; `closed` if that makes no progress."""
        position = resume_position(self._energy, self._activity, closed, unit.start + len(unit.samples))
        return position if position > unit.start else closed

    def _has_speech_left(self, start: int, closed: int, end: int) -> bool:
        """True if [closed, end) holds enough speech to decode it again, after text in [start, closed)."""
        least = MIN_CONTINUATION_SPEECH_S
        if self._energy.loud_seconds(closed, end) < least:
            return False
        if self._activity is None or self._activity.seconds(closed, end, least) >= least:
            return True
        # If VAD misses the words before `closed`, it may miss those after it too.
        confirmed = MIN_CONFIRMED_SPEECH_S
        return start < closed and self._activity.seconds(start, closed, confirmed) < confirmed

    def _update_history(self, result: WindowResult, kept: Sequence[Piece]) -> None:
        """Add the text to the history of the next window, or clear it after a bad window: a loop would repeat itself."""
        if not self._options.condition_on_previous_text:
            return
        bad = result.is_unreliable or result.temperature > MAX_HISTORY_TEMPERATURE
        tokens = tuple(token for piece in kept for token in piece.tokens)
        self._history = () if bad else (self._history + tokens)[-MAX_HISTORY_TOKENS:]
