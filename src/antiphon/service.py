"""Admits requests, then transcribes their samples or synthesises their texts: the one way in for HTTP, shell and Python."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from threading import Event
from typing import Any, Generic, TypeVar, overload

import numpy as np

from antiphon.audio.time_stretch import TimeStretcher
from antiphon.errors import InvalidAudio
from antiphon.model_server import ModelServer
from antiphon.options import check_speak_options, check_text, check_transcribe_options
from antiphon.scheduling.policy import DEFAULT_POLICY, SchedulingPolicy
from antiphon.scheduling.scheduler import Scheduler
from antiphon.synthesis.plan import MAX_HELD_S, Listener, SpeakPlan, sentences_of
from antiphon.synthesis.stream import MAX_STREAM_S, AudioStream
from antiphon.synthesis.voices import choose_voice
from antiphon.transcription.plan import MAX_WINDOWS_IN_FLIGHT, Progress, TranscriptionPlan
from antiphon.transcription.vad import DetectorPool, available
from antiphon.types.audio import SAMPLE_RATE, Samples, Waveform
from antiphon.types.cancellation import CancelCheck, never
from antiphon.types.options import SpeakOptions, TranscribeOptions
from antiphon.types.results import ModelInfo, Transcript

logger = logging.getLogger(__name__)

OnModel = Callable[[ModelInfo], None]
Admitted = TypeVar("Admitted")


@dataclass(frozen=True, slots=True)
class TranscribeRequest:
    """A transcription or translation, without its audio. `model` None is the default one for the task."""

    model: str | None
    options: TranscribeOptions


@dataclass(frozen=True, slots=True)
class SpeakRequest:
    """A text to speak. `model` None is the default one for speech."""

    model: str | None
    text: str
    options: SpeakOptions


class Admission(Generic[Admitted]):
    """The context of one request, for `with` in a thread and `async with` in a task. Use it once."""

    def __init__(self, context: AbstractContextManager[Admitted]) -> None:
        self._context = context

    def __enter__(self) -> Admitted:
        return self._context.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)

    async def __aenter__(self) -> Admitted:
        return self.__enter__()

    async def __aexit__(self, *error: Any) -> None:
        self.__exit__(*error)


class SpeechService:
    """Admits requests to the models of a `ModelServer`. `admit` may be called from any thread."""

    def __init__(self, models: ModelServer, *, max_input_characters: int = 20_000) -> None:
        self.models = models
        self._max_input_characters = max_input_characters
        self._detectors = DetectorPool() if available() else None
        self._planners = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="antiphon-plan")
        self._numbers = itertools.count(1)

    @overload
    def admit(
        self, request: TranscribeRequest, policy: SchedulingPolicy = ..., *, on_model: OnModel | None = ...
    ) -> Admission[AdmittedTranscription]: ...
    @overload
    def admit(
        self, request: SpeakRequest, policy: SchedulingPolicy = ..., *, on_model: OnModel | None = ...
    ) -> Admission[AdmittedSpeech]: ...
    def admit(
        self,
        request: TranscribeRequest | SpeakRequest,
        policy: SchedulingPolicy = DEFAULT_POLICY,
        *,
        on_model: OnModel | None = None,
    ) -> Admission[Any]:
        """Find the request's model, check its options against it, and take a permit from the model's scheduler.

        The model stays loaded and the permit held until the context ends. Entering raises ModelNotFound,
        InvalidParameter, Overloaded or Unavailable. `on_model` is called once the model is found, before the checks.
        """
        return Admission(self._admit(request, policy, on_model))

    @contextmanager
    def _admit(
        self, request: TranscribeRequest | SpeakRequest, policy: SchedulingPolicy, on_model: OnModel | None
    ) -> Iterator[AdmittedTranscription | AdmittedSpeech]:
        task = request.options.task if isinstance(request, TranscribeRequest) else "speak"
        with self.models.use(request.model, task) as scheduler:
            info = scheduler.info
            if on_model is not None:
                on_model(info)
            admitted: AdmittedTranscription | AdmittedSpeech
            if isinstance(request, TranscribeRequest):
                request = replace(request, options=check_transcribe_options(info, request.options))
                number = next(self._numbers)
                admitted = AdmittedTranscription(request, policy, scheduler, number, self._detectors, self._planners)
            else:
                check_speak_options(info, request.options)
                check_text(request.text, self._max_input_characters)
                voice = choose_voice(info, request.options.voice, request.options.language)
                admitted = AdmittedSpeech(request, policy, scheduler, next(self._numbers), voice)
            with scheduler.permit():
                yield admitted


class AdmittedTranscription:
    """A transcription with a permit: its audio may now be decoded."""

    def __init__(
        self,
        request: TranscribeRequest,
        policy: SchedulingPolicy,
        scheduler: Scheduler,
        number: int,
        detectors: DetectorPool | None,
        planners: ThreadPoolExecutor,
    ) -> None:
        self.info = scheduler.info
        self._options = request.options
        self._policy = policy
        self._scheduler = scheduler
        self._number = number
        self._detectors = detectors
        self._planners = planners

    async def transcribe(self, samples: Waveform, progress: Progress | None = None) -> Transcript:
        """Transcribe mono samples at 16 kHz; cancelling the task cancels the work. InvalidAudio if there are none.

        `progress` gets (done, total) seconds on the worker thread: it must be quick and must not raise.
        """
        cancelled = Event()
        # Finding the pauses of a long file takes a while, and must block neither the event loop nor the threads of speech.
        planning = asyncio.get_running_loop().run_in_executor(
            self._planners, partial(self._plan, samples, progress, cancelled.is_set)
        )
        try:
            plan = await planning
        except asyncio.CancelledError:
            cancelled.set()
            raise
        transcript = await self._scheduler.run(plan, self._policy)
        self._observe(plan)
        return transcript

    def transcribe_blocking(self, samples: Waveform, progress: Progress | None = None) -> Transcript:
        """The same, in the calling thread."""
        plan = self._plan(samples, progress)
        transcript = self._scheduler.run_blocking(plan, self._policy)
        self._observe(plan)
        return transcript

    def _plan(self, samples: Waveform, progress: Progress | None, cancelled: CancelCheck = never) -> TranscriptionPlan:
        if not len(samples):
            raise InvalidAudio("The audio holds no samples.")
        plan = TranscriptionPlan(
            self._number,
            samples,
            self._options,
            self.info,
            progress=progress,
            ahead=max(MAX_WINDOWS_IN_FLIGHT, 2 * self._scheduler.slots),
            detectors=self._detectors,
            cancelled=cancelled,
        )
        logger.debug("%s: %.2f s of audio in %d chunks", self.info.name, len(samples) / SAMPLE_RATE, len(plan.chunks))
        return plan

    def _observe(self, plan: TranscriptionPlan) -> None:
        _, total = plan.progress
        hooks = self._scheduler.hooks
        hooks.record("antiphon_audio_heard_seconds_total", total)
        hooks.record("antiphon_audio_skipped_seconds_total", max(0.0, total - plan.seconds))
        hooks.record("antiphon_segments_dropped_total", plan.dropped)


class AdmittedSpeech:
    """A text with a permit."""

    def __init__(
        self, request: SpeakRequest, policy: SchedulingPolicy, scheduler: Scheduler, number: int, voice: str
    ) -> None:
        self.info = scheduler.info
        self._request = request
        self._policy = policy
        self._scheduler = scheduler
        self._number = number
        self._voice = voice

    async def speak(self) -> AsyncGenerator[Samples, None]:
        """Mono samples at `info.sample_rate`, as they are made; closing the iterator cancels the work."""
        speed = self._request.options.speed
        stretch = TimeStretcher(self.info.sample_rate, speed)
        stream = AudioStream(round(MAX_STREAM_S * self.info.sample_rate), self._scheduler.resume)
        plan = self._plan(stream.put)
        max_held = round(MAX_HELD_S * self.info.sample_rate)
        running = self._scheduler.run(plan, self._policy, lambda: stream.full or plan.held_samples > max_held)
        speaking = asyncio.create_task(running)
        speaking.add_done_callback(lambda _: stream.end())
        try:
            async for samples in stream:
                self._observe(len(samples))
                if speed != 1.0:
                    samples = await asyncio.to_thread(stretch.push, samples)
                if len(samples):
                    yield samples
            await speaking  # raises the error that ended it
            if speed != 1.0 and len(rest := await asyncio.to_thread(stretch.finish)):
                yield rest
        finally:
            speaking.cancel()
            await asyncio.gather(speaking, return_exceptions=True)

    def speak_blocking(self) -> Samples:
        """All samples of the text, in the calling thread."""
        stretch = TimeStretcher(self.info.sample_rate, self._request.options.speed)
        pieces: list[Samples] = [np.zeros(0, np.float32)]
        self._scheduler.run_blocking(self._plan(pieces.append), self._policy)
        samples = np.concatenate(pieces)
        self._observe(len(samples))
        return np.concatenate([stretch.push(samples), stretch.finish()])

    def _plan(self, listener: Listener) -> SpeakPlan:
        info, text, voice = self.info, self._request.text, self._voice
        sentences = sentences_of(text, info, voice)
        logger.debug("%s: %d characters in %d sentences, voice %s", info.name, len(text), len(sentences), voice)
        return SpeakPlan(self._number, sentences, voice, self._request.options, info.sample_rate, listener)

    def _observe(self, samples: int) -> None:
        self._scheduler.hooks.record("antiphon_audio_spoken_seconds_total", samples / self.info.sample_rate)
