"""A service over given sessions, and whole requests to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager

from antiphon.model_server import ModelServer
from antiphon.models.session import AnySession
from antiphon.scheduling.hooks import Hooks, no_hooks
from antiphon.scheduling.policy import DEFAULT_POLICY, SchedulingPolicy
from antiphon.scheduling.queue import UNLIMITED, Limits
from antiphon.service import SpeakRequest, SpeechService, TranscribeRequest
from antiphon.transcription.plan import Progress
from antiphon.types.audio import Samples, Waveform
from antiphon.types.options import SpeakOptions, TranscribeOptions
from antiphon.types.results import Transcript


def new_service(
    *sessions: AnySession | tuple[AnySession, ...], limits: Limits = UNLIMITED, hooks: Callable[[str], Hooks] = no_hooks
) -> SpeechService:
    """A service with these models, a tuple being the replicas of one; close it by `service.models.close`."""
    models = ModelServer(limits=limits, hooks=hooks)
    for session in sessions:
        models.add(*(session if isinstance(session, tuple) else (session,)))
    return SpeechService(models)


@contextmanager
def serving(
    *sessions: AnySession | tuple[AnySession, ...], limits: Limits = UNLIMITED, hooks: Callable[[str], Hooks] = no_hooks
) -> Iterator[SpeechService]:
    """The same, closed at the end of the block without waiting for its requests."""
    service = new_service(*sessions, limits=limits, hooks=hooks)
    try:
        yield service
    finally:
        service.models.close(drain=False)


def transcribe(
    service: SpeechService,
    samples: Waveform,
    options: TranscribeOptions,
    model: str | None = None,
    progress: Progress | None = None,
) -> Transcript:
    with service.admit(TranscribeRequest(model, options)) as admitted:
        return admitted.transcribe_blocking(samples, progress)


async def transcribe_async(
    service: SpeechService,
    samples: Waveform,
    options: TranscribeOptions,
    model: str | None = None,
    policy: SchedulingPolicy = DEFAULT_POLICY,
) -> Transcript:
    async with service.admit(TranscribeRequest(model, options), policy) as admitted:
        return await admitted.transcribe(samples)


def speak(service: SpeechService, text: str, options: SpeakOptions, model: str | None = None) -> Samples:
    with service.admit(SpeakRequest(model, text, options)) as admitted:
        return admitted.speak_blocking()


async def speak_async(
    service: SpeechService, text: str, options: SpeakOptions, policy: SchedulingPolicy = DEFAULT_POLICY
) -> AsyncGenerator[Samples, None]:
    async with (
        service.admit(SpeakRequest(None, text, options), policy) as admitted,
        aclosing(admitted.speak()) as speaking,
    ):
        async for samples in speaking:
            yield samples
