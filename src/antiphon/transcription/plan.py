"""One recognition request as a state machine: runs become units, results become more units, and at last a transcript.

Pure: it must not know threads, queues, sessions or how a transcript is rendered.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from antiphon.audio.sample_store import Stretch
from antiphon.errors import EngineFailed
from antiphon.languages import SPACELESS
from antiphon.transcription.chunking import is_searched, pauses_long, resume_at
from antiphon.transcription.chunking import plan as plan_runs
from antiphon.transcription.energy import Energy, Span, measure
from antiphon.transcription.hallucinations import is_hallucination, is_sparse, unhurried
from antiphon.transcription.segments import WindowText, arrange
from antiphon.transcription.silero import Detectors
from antiphon.transcription.vad import Voice
from antiphon.types.audio import SAMPLE_RATE, WINDOW_SAMPLES, Waveform
from antiphon.types.events import Event, Failed, LanguageDetected, Window
from antiphon.types.options import TranscribeOptions
from antiphon.types.results import ModelInfo, Piece, Transcript, WindowResult

logger = logging.getLogger(__name__)

ADVANCE = SAMPLE_RATE // 2  # samples; follow-ups that get on by less are counted, so that every chain ends
CONTINUATION_SPEECH = 0.5  # seconds of speech after the last closed segment that are worth decoding again
CONTINUATION_DEPTH = 4
LANGUAGE_SPEECH = 1.0  # seconds of speech a window should have for its language to be trusted
AHEAD = 32  # windows out at a time; a model should decode at most half as many side by side
HISTORY = 224  # sampled ids that a window is told of those before it: Whisper's prompt has room for one less
MOST_TEMPERATURE = 0.5  # of a window whose text is to lead the next one, as in the reference
HEARD_SPEECH = 0.1  # seconds of speech where words were heard, or voice activity is not asked about what follows

Progress = Callable[[float, float], None]


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a unit stands: its run, and how many continuations led to it."""

    run: Span
    depth: int


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
        self._loudness: Energy = measure(samples)
        vad = options.vad
        asked = detectors is not None and vad.mode in ("auto", "always")
        self._voice = Voice(samples, self._loudness, detectors, vad) if detectors is not None and asked else None
        self._runs = plan_runs(self._loudness, vad, self._voice)
        # Who is asked whether somebody said what was heard. Of a file that was not searched nothing is left out either; nor
        # does an answer that has to be of some length (benchmarks) tell what was heard.
        self._judge = self._voice if is_searched(len(samples), vad) and not options.min_new_tokens else None
        self.dropped = 0  # segments that nobody said
        self._unstarted: list[Span] = list(self._runs)
        self._history: tuple[int, ...] = ()
        self._places: dict[Window, _Place] = {}  # of the units that have not ended
        self._heard: list[WindowText] = []
        self._language = options.language
        self._error: Exception | None = None
        self._first = self._first_run()

    @property
    def runs(self) -> tuple[Span, ...]:
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
        segments = arrange(self._heard, self._loudness)
        return Transcript(
            task=self._options.task,
            language=self._language or self._info.default_language,
            duration=len(self._samples) / SAMPLE_RATE,
            text="".join(segment.text for segment in segments).strip(),
            segments=segments,
        )

    def _first_run(self) -> Span | None:
        """The run that tells the language: the first one with enough speech. Chosen here, for it may take a look."""
        side_by_side = not self._options.condition_on_previous_text
        if self._language is None and self._info.languages and side_by_side and len(self._runs) > 1:
            return next(filter(self._tells_language, self._runs), self._runs[0])
        return self._runs[0] if self._runs else None

    def _tells_language(self, run: Span) -> bool:
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

    def _window(self, run: Span, start: int, depth: int = 0) -> Window:
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
        if self._gave_up(unit, result):
            return [self._unit(_Place(place.run, place.depth + 1), unit.start, end, timestamps=True)]
        result = unhurried(result, unit.seconds)
        closed = min(unit.start + round(result.resume * SAMPLE_RATE), end)
        decoded = end  # what is heard from here on is decoded again
        follow: Callable[[], Window] | None = None
        if end < place.run.end:
            decoded = self._resume_at(unit, closed)
            # A model that closes almost nothing would be asked nearly the same again: only so many times.
            depth = 0 if decoded - unit.start >= ADVANCE else place.depth + 1
            if unit.start >= decoded or depth > CONTINUATION_DEPTH:
                self._warn_of_loss(place, closed, end)
                decoded = closed = end
                depth = 0
            if self._loudness.speech_seconds(decoded, place.run.end) > 0.0:
                follow = partial(self._window, place.run, decoded, depth)
            else:
                decoded = end
        elif unit.options.timestamps and self._left_speech(unit.start, closed, end):
            if unit.start < closed and place.depth < CONTINUATION_DEPTH:
                decoded = self._resume_at(unit, closed)
                follow = partial(self._unit, _Place(place.run, place.depth + 1), decoded, end, timestamps=True)
            else:
                self._warn_of_loss(place, closed, end)
        reached = min(closed, decoded) - unit.start
        kept = [piece for piece in result.pieces if follow is None or piece.start < reached / SAMPLE_RATE]
        kept = [piece for piece in kept if not self._drops(unit, result, piece)]
        self._heard.append(WindowText(unit.start, end, result, tuple(kept), (decoded - unit.start) / SAMPLE_RATE))
        self._remember(result, kept)
        return [] if follow is None else [follow()]

    def _spaced(self, result: WindowResult) -> bool:
        """True if the words of the text have spaces between them."""
        return self._options.task == "translate" or result.language not in SPACELESS

    def _gave_up(self, unit: Window, result: WindowResult) -> bool:
        """True if a window has next to no text for the voice in it, and was asked for no times, which might tell why."""
        if self._judge is None or unit.options.timestamps or self._options.max_new_tokens is not None:
            return False
        end = unit.start + len(unit.samples)
        loud = self._loudness.speech_seconds(unit.start, end)
        return is_sparse(self._judge, unit.start, end, result, loud, spaces=self._spaced(result))

    def _drops(self, unit: Window, result: WindowResult, piece: Piece) -> bool:
        """True for what nobody said, which is counted and told."""
        if self._judge is None or not is_hallucination(
            self._judge, unit.start, piece, result, spaces=self._spaced(result)
        ):
            return False
        self.dropped += 1
        begin = unit.start / SAMPLE_RATE
        logger.info(
            "request %d: what was heard from %.2f s to %.2f s is left out: nobody speaks there",
            self._request,
            begin + piece.start,
            begin + piece.end,
        )
        return True

    def _resume_at(self, unit: Window, closed: int) -> int:
        """Where what comes after the last segment that a window closed is decoded, or `closed` if that got nowhere."""
        begin = resume_at(self._loudness, self._voice, closed, unit.start + len(unit.samples))
        return begin if begin > unit.start else closed

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
        misled = result.is_unreliable or result.temperature > MOST_TEMPERATURE  # a loop leads to loops
        said = tuple(token for piece in kept for token in piece.tokens)
        self._history = () if misled else (self._history + said)[-HISTORY:]
