"""The only door for the HTTP API, the command line and the Python API: names, checks, a request's way to its text.

It must not know HTTP, files or containers; it takes samples and gives transcripts.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from dataclasses import dataclass

from antiphon.errors import InvalidAudio, ModelNotFound, Unavailable
from antiphon.models.base import AnySession
from antiphon.scheduler.scheduler import Scheduler
from antiphon.service.options import check_options
from antiphon.service.stitch import Progress, TranscriptionPlan
from antiphon.types import SAMPLE_RATE, ModelInfo, Samples, TranscribeOptions, Transcript

logger = logging.getLogger(__name__)

# Names OpenAI's own clients send when their user chose none; here they mean the configured default.
DEFAULT_NAMES = frozenset(
    {
        "whisper-1",
        "gpt-transcribe",
        "gpt-4o-transcribe",
        "gpt-4o-mini-transcribe",
        "gpt-4o-mini-transcribe-2025-12-15",
        "gpt-4o-transcribe-diarize",
    }
)
RETRY_AFTER_LOADING = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """How busy a model is, in units: waiting, in flight, and how many can be in flight."""

    name: str
    waiting: int
    in_flight: int
    slots: int


class SpeechService:
    """The loaded models by name. Every method may be called from any thread; `load` a session before asking for it."""

    def __init__(self, default: str, *, max_waiting: int = 512, joins_per_step: int = 1) -> None:
        self._default = default
        self._max_waiting = max_waiting
        self._joins_per_step = joins_per_step
        self._schedulers: dict[str, Scheduler] = {}
        self._requests = itertools.count(1)

    def load(self, session: AnySession) -> ModelInfo:
        """Serve a session under its own name, on a worker thread of its own."""
        if session.info.name in self._schedulers:
            raise ValueError(f"a model named {session.info.name!r} is loaded already")
        scheduler = Scheduler(session, max_waiting=self._max_waiting, joins_per_step=self._joins_per_step)
        scheduler.start()
        self._schedulers[session.info.name] = scheduler
        return session.info

    def close(self, *, drain: bool = True, timeout: float | None = None) -> None:
        """Refuse new requests and end the worker threads, after finishing what was admitted if `drain`.

        `timeout` bounds the draining, in seconds a model; what is left then ends with `Unavailable`.
        """
        for scheduler in self._schedulers.values():
            scheduler.close(drain=drain, timeout=timeout)

    def abandon(self) -> None:
        """End the worker threads without waiting for them; nobody can ask for their work any more."""
        for scheduler in self._schedulers.values():
            scheduler.abandon()

    def info(self) -> tuple[ModelInfo, ...]:
        """The loaded models, the default first."""
        infos = (scheduler.info for scheduler in tuple(self._schedulers.values()))
        return tuple(sorted(infos, key=lambda info: (info.name != self._default, info.name)))

    def loads(self) -> tuple[ModelLoad, ...]:
        """How busy each model is, for metrics."""
        return tuple(
            ModelLoad(name, scheduler.waiting, scheduler.in_flight, scheduler.slots)
            for name, scheduler in tuple(self._schedulers.items())
        )

    def resolve(self, name: str | None) -> ModelInfo:
        """The model a request means: by its name, or the default if it names none or one of OpenAI's own."""
        return self._scheduler(name).info

    def check_room(self, name: str | None) -> None:
        """Raise `Overloaded` or `Unavailable` if the model could not take a request now; an unknown name is told later."""
        try:
            scheduler = self._scheduler(name)
        except ModelNotFound:
            return  # the file is looked at first: what is wrong with it is told before what is wrong with the name
        scheduler.check_room()

    async def transcribe(
        self, samples: Samples, model: str | None, options: TranscribeOptions, progress: Progress | None = None
    ) -> Transcript:
        """Hear `samples` (mono, 16 kHz) out; cancelling the task frees what the request holds.

        `progress` is told (done, total) seconds on the worker thread: it must be quick and must not raise.
        """
        scheduler, checked = self._prepare(samples, model, options)
        # Finding the pauses of a long file takes a while; the event loop has other callers.
        plan = await asyncio.to_thread(self._plan, samples, checked, scheduler.info, progress)
        return await scheduler.run(plan)

    def transcribe_blocking(
        self, samples: Samples, model: str | None, options: TranscribeOptions, progress: Progress | None = None
    ) -> Transcript:
        """The same from a thread of one's own."""
        scheduler, checked = self._prepare(samples, model, options)
        return scheduler.run_blocking(self._plan(samples, checked, scheduler.info, progress))

    def _scheduler(self, name: str | None) -> Scheduler:
        if not self._schedulers:
            raise Unavailable("No model is loaded yet.", retry_after=RETRY_AFTER_LOADING)
        wanted = name or self._default
        if wanted in DEFAULT_NAMES and wanted not in self._schedulers:
            wanted = self._default
        scheduler = self._schedulers.get(wanted)
        if scheduler is None:
            raise ModelNotFound(wanted, tuple(info.name for info in self.info()))
        return scheduler

    def _prepare(
        self, samples: Samples, model: str | None, options: TranscribeOptions
    ) -> tuple[Scheduler, TranscribeOptions]:
        scheduler = self._scheduler(model)
        if not len(samples):
            raise InvalidAudio("The audio holds no samples.")
        return scheduler, check_options(scheduler.info, options)

    def _plan(
        self, samples: Samples, options: TranscribeOptions, info: ModelInfo, progress: Progress | None
    ) -> TranscriptionPlan:
        plan = TranscriptionPlan(next(self._requests), samples, options, info, progress=progress)
        logger.debug("%s: %.2f s of audio in %d runs", info.name, len(samples) / SAMPLE_RATE, len(plan.runs))
        return plan
