"""The only door for the HTTP API, the command line and the Python API: names, checks, a request's way to its answer.

It must not know HTTP, files or containers; samples in and transcripts out, text in and samples out.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from threading import Condition

import numpy as np

from antiphon.errors import InvalidAudio, InvalidParameter, ModelNotFound, Unavailable
from antiphon.models.session import AnySession
from antiphon.options import check_options, check_seed, check_task, check_text
from antiphon.scheduling.hooks import Hooks, no_hooks
from antiphon.scheduling.policy import DEFAULT_POLICY, SchedulingPolicy
from antiphon.scheduling.queue import Limits
from antiphon.scheduling.scheduler import Scheduler
from antiphon.synthesis.normalise.numbers import spell_numbers
from antiphon.synthesis.plan import Listener, SpeakPlan
from antiphon.synthesis.sentences import LONGEST, split_sentences
from antiphon.synthesis.stream import AudioStream
from antiphon.synthesis.voices import choose_voice, language_of
from antiphon.transcription.plan import AHEAD, Progress, TranscriptionPlan
from antiphon.transcription.silero import Detectors, available
from antiphon.types.audio import SAMPLE_RATE, Samples, Waveform
from antiphon.types.options import ModelTask, SpeakOptions, TranscribeOptions
from antiphon.types.results import ModelInfo, Transcript

logger = logging.getLogger(__name__)

# Names OpenAI's own clients send when their user chose none; here they mean the default model for the job.
TRANSCRIPTION_ALIASES = frozenset(
    {
        "whisper-1",
        "gpt-transcribe",
        "gpt-4o-transcribe",
        "gpt-4o-mini-transcribe",
        "gpt-4o-mini-transcribe-2025-12-15",
        "gpt-4o-transcribe-diarize",
    }
)
SPEECH_ALIASES = frozenset({"tts-1", "tts-1-hd", "gpt-4o-mini-tts", "gpt-4o-mini-tts-2025-12-15"})
RETRY_AFTER_LOADING = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """How busy a model is: requests and seconds of audio not done; in units: waiting, in flight, and how many can be."""

    name: str
    requests: int
    seconds: float
    waiting: int
    in_flight: int
    slots: int


class SpeechService:
    """The loaded models by name; the first one loaded that can do a job is the default for it.

    `max_waiting` units, `max_requests` and `max_seconds` of audio are what may be ahead of a newcomer, for each model;
    requests count as long as they hold a `permit`, which `speak` takes for itself.
    Every method may be called from any thread.
    """

    def __init__(
        self,
        *,
        max_waiting: int = 512,
        max_requests: int = sys.maxsize,
        max_seconds: float = math.inf,
        joins_per_step: int = 1,
        max_input_characters: int = 20_000,
    ) -> None:
        self._limits = Limits(max_waiting, max_requests, max_seconds)
        self._max_input_characters = max_input_characters
        self._joins_per_step = joins_per_step
        self._schedulers: dict[str, Scheduler] = {}
        self._leaving: list[Scheduler] = []  # served no more, but with requests inside
        self._inside: Counter[Scheduler] = Counter()  # how many requests have chosen it and have no answer yet
        self._changed = Condition()  # guards the three above
        self._closed = False
        self._hooks: Callable[[str], Hooks] = no_hooks
        self._detectors = Detectors() if available() else None
        self._requests = itertools.count(1)

    def observe(self, hooks: Callable[[str], Hooks]) -> None:
        """Report from now on how each model's work goes to `hooks(name)`."""
        with self._changed:
            self._hooks = cache(hooks)
            for name in self._schedulers:
                self._hooks(name)

    def load(self, session: AnySession) -> ModelInfo:
        """Serve a session under its own name, on a worker thread of its own."""
        with self._changed:
            if session.info.name in self._schedulers:
                raise ValueError(f"a model named {session.info.name!r} is loaded already")
            self._begin(session)
        return session.info

    def replace(self, session: AnySession) -> Callable[[], None]:
        """Serve a session instead of the one of its name, and lose no request over it.

        What is returned waits until the old one has answered all it was asked.
        """
        with self._changed:
            old = self._schedulers[session.info.name]
            self._begin(session)
            self._leaving.append(old)
        return lambda: self._drain(old)

    def withdraw(self, name: str) -> Callable[[], None]:
        """Serve a model no more: whoever asks for it from now on is told so.

        What is returned waits until it has answered all it was asked.
        """
        with self._changed:
            old = self._schedulers.pop(name)
            self._leaving.append(old)
        return lambda: self._drain(old)

    def close(self, *, drain: bool = True, timeout: float | None = None) -> None:
        """Refuse new requests and end the worker threads, after finishing what was admitted if `drain`.

        `timeout` bounds the draining, in seconds a model; what is left then ends with `Unavailable`.
        """
        with self._changed:
            self._closed = True
            all_of_them = (*self._schedulers.values(), *self._leaving)
        for scheduler in all_of_them:
            scheduler.close(drain=drain, timeout=timeout)

    def abandon(self) -> None:
        """End the worker threads without waiting for them; nobody can ask for their work any more."""
        for scheduler in (*self._schedulers.values(), *self._leaving):
            scheduler.abandon()

    def info(self) -> tuple[ModelInfo, ...]:
        """The loaded models, in the order they were loaded."""
        return tuple(scheduler.info for scheduler in tuple(self._schedulers.values()))

    def loads(self) -> tuple[ModelLoad, ...]:
        """How busy each model is, for metrics."""
        return tuple(
            ModelLoad(
                name, scheduler.requests, scheduler.seconds, scheduler.waiting, scheduler.in_flight, scheduler.slots
            )
            for name, scheduler in tuple(self._schedulers.items())
        )

    def resolve(self, name: str | None, task: ModelTask = "transcribe") -> ModelInfo:
        """The model a request means: by its name, or a default if it names none (the one for `task`) or one of OpenAI's."""
        return self._scheduler(name, task).info

    def check_room(self, task: ModelTask) -> None:
        """Raise `Overloaded` or `Unavailable` if a request could not be taken now, whichever model it names."""
        able = [scheduler for scheduler in tuple(self._schedulers.values()) if task in scheduler.info.tasks]
        if able and all(scheduler.full for scheduler in able):
            able[0].check_room()

    @contextmanager
    def permit(self, name: str | None, task: ModelTask) -> Iterator[None]:
        """A place for a request from before its file is decoded, or `Overloaded` or `Unavailable`."""
        try:
            permit: AbstractContextManager[None] = self._scheduler(name, task).permit()
        except ModelNotFound:
            permit = nullcontext()  # what is wrong with the file is told before what is wrong with the name
        with permit:
            yield

    async def transcribe(
        self,
        samples: Waveform,
        model: str | None,
        options: TranscribeOptions,
        progress: Progress | None = None,
        terms: SchedulingPolicy = DEFAULT_POLICY,
    ) -> Transcript:
        """Hear `samples` (mono, 16 kHz) out; cancelling the task frees what the request holds.

        `progress` is told (done, total) seconds on the worker thread: it must be quick and must not raise.
        """
        with self._chosen(model, options.task) as scheduler:
            checked = _checked(scheduler.info, samples, options)
            # Finding the pauses of a long file takes a while; the event loop has other callers.
            plan = await asyncio.to_thread(self._plan, samples, checked, scheduler, progress)
            transcript = await scheduler.run(plan, terms)
            _tell_heard(scheduler, plan)
            return transcript

    def transcribe_blocking(
        self, samples: Waveform, model: str | None, options: TranscribeOptions, progress: Progress | None = None
    ) -> Transcript:
        """The same from a thread of one's own."""
        with self._chosen(model, options.task) as scheduler:
            checked = _checked(scheduler.info, samples, options)
            plan = self._plan(samples, checked, scheduler, progress)
            transcript = scheduler.run_blocking(plan)
            _tell_heard(scheduler, plan)
            return transcript

    async def speak(
        self, text: str, model: str | None, options: SpeakOptions, terms: SchedulingPolicy = DEFAULT_POLICY
    ) -> AsyncGenerator[Samples, None]:
        """Say `text`: its audio as it is made, mono at the model's `sample_rate`; closing the iterator frees what it holds."""
        channel = AudioStream()
        with self._chosen(model, "speak") as scheduler, scheduler.permit():
            plan = self._speak_plan(text, scheduler.info, options, channel.put)
            speaking = asyncio.create_task(scheduler.run(plan, terms))
            speaking.add_done_callback(lambda _: channel.end())
            try:
                async for samples in channel:
                    scheduler.hooks.record(
                        "antiphon_audio_spoken_seconds_total", len(samples) / scheduler.info.sample_rate
                    )
                    yield samples
                await speaking  # an error that ended it is raised here
            finally:
                speaking.cancel()
                await asyncio.gather(speaking, return_exceptions=True)

    def speak_blocking(self, text: str, model: str | None, options: SpeakOptions) -> Samples:
        """The whole of it, from a thread of one's own."""
        pieces: list[Samples] = [np.zeros(0, np.float32)]
        with self._chosen(model, "speak") as scheduler:
            scheduler.run_blocking(self._speak_plan(text, scheduler.info, options, pieces.append))
            seconds = sum(map(len, pieces)) / scheduler.info.sample_rate
            scheduler.hooks.record("antiphon_audio_spoken_seconds_total", seconds)
        return np.concatenate(pieces)

    def _begin(self, session: AnySession) -> None:
        if self._closed:
            raise Unavailable("The server is shutting down.", retry_after=RETRY_AFTER_LOADING)
        scheduler = Scheduler(
            (session, *session.twins),
            limits=self._limits,
            joins_per_step=self._joins_per_step,
            hooks=_CurrentHooks(self, session.info.name),
        )
        self._hooks(session.info.name)
        scheduler.start()
        self._schedulers[session.info.name] = scheduler

    def _drain(self, scheduler: Scheduler) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._inside[scheduler])
        scheduler.close(drain=True)
        with self._changed:
            self._leaving.remove(scheduler)
            del self._inside[scheduler]

    @contextmanager
    def _chosen(self, name: str | None, task: ModelTask) -> Iterator[Scheduler]:
        """The model a request means, which is kept for as long as the request is inside."""
        with self._changed:
            scheduler = self._scheduler(name, task)
            self._inside[scheduler] += 1
        try:
            yield scheduler
        finally:
            with self._changed:
                self._inside[scheduler] -= 1
                self._changed.notify_all()

    def _scheduler(self, name: str | None, task: ModelTask) -> Scheduler:
        named = self._schedulers.get(name) if name else None
        if named is not None:
            return named
        if name in TRANSCRIPTION_ALIASES:
            task = "transcribe"
        elif name in SPEECH_ALIASES:
            task = "speak"
        elif name:
            raise ModelNotFound(name, tuple(info.name for info in self.info()))
        for scheduler in tuple(self._schedulers.values()):
            if task in scheduler.info.tasks:
                return scheduler
        if not self._schedulers:
            raise Unavailable("No model is loaded.", retry_after=RETRY_AFTER_LOADING)
        served = ", ".join(info.name for info in self.info())
        raise InvalidParameter(
            f"No model that can {task} is served here. Served: {served}.", param="model", code="unsupported_task"
        )

    def _plan(
        self, samples: Waveform, options: TranscribeOptions, scheduler: Scheduler, progress: Progress | None
    ) -> TranscriptionPlan:
        ahead = max(AHEAD, 2 * scheduler.slots)
        plan = TranscriptionPlan(
            next(self._requests),
            samples,
            options,
            scheduler.info,
            progress=progress,
            ahead=ahead,
            detectors=self._detectors,
        )
        logger.debug("%s: %.2f s of audio in %d runs", scheduler.info.name, len(samples) / SAMPLE_RATE, len(plan.runs))
        return plan

    def _speak_plan(self, text: str, info: ModelInfo, options: SpeakOptions, listener: Listener) -> SpeakPlan:
        check_task(info, "speak")
        check_text(text, self._max_input_characters)
        check_seed(options.seed)
        voice = choose_voice(info, options.voice, options.language)
        language = language_of(info, voice)
        longest = min(LONGEST, info.longest_sentence or LONGEST)
        sentences = split_sentences(text, language, longest=longest)
        if not info.reads_digits:
            # Spelt sentence by sentence, because "1999. five" no longer looks like an end; then cut again, for it is longer.
            spelt = [spell_numbers(sentence, language) for sentence in sentences]
            again = partial(split_sentences, language=language, first_longest=longest, longest=longest)
            sentences = [part for each in spelt for part in again(each)]
        logger.debug("%s: %d characters in %d sentences, voice %s", info.name, len(text), len(sentences), voice)
        return SpeakPlan(next(self._requests), sentences, voice, options, info.sample_rate, listener)


@dataclass(frozen=True, slots=True)
class _CurrentHooks:
    """The hooks that the service has at the moment: telemetry is made after the models were loaded."""

    service: SpeechService
    name: str

    def record(self, metric: str, value: float = 1.0, **labels: str) -> None:
        self.service._hooks(self.name).record(metric, value, **labels)


def _checked(info: ModelInfo, samples: Waveform, options: TranscribeOptions) -> TranscribeOptions:
    if not len(samples):
        raise InvalidAudio("The audio holds no samples.")
    return check_options(info, options)


def _tell_heard(scheduler: Scheduler, plan: TranscriptionPlan) -> None:
    _, total = plan.progress
    scheduler.hooks.record("antiphon_audio_heard_seconds_total", total)
    scheduler.hooks.record("antiphon_audio_skipped_seconds_total", max(0.0, total - plan.seconds))
    scheduler.hooks.record("antiphon_segments_dropped_total", plan.dropped)
