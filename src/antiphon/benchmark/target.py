"""What a benchmark sends its requests to; one of them is a model in this process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import aclosing
from typing import Protocol

from antiphon.benchmark.clips import Clip
from antiphon.benchmark.load_generator import OK, REFUSED, Answer
from antiphon.errors import EngineFailed, Overloaded
from antiphon.model_server import ModelServer
from antiphon.models.session import AnySession
from antiphon.scheduling.queue import Limits
from antiphon.service import SpeakRequest, SpeechService, TranscribeRequest
from antiphon.types.options import SpeakOptions, TranscribeOptions

FAILED = "500"


class Target(Protocol):
    """Answers clips with their words and texts with sound. What goes wrong is an answer's status, not an error."""

    async def transcribe(self, clip: Clip) -> Answer: ...

    async def speak(self, text: str) -> Answer: ...

    async def close(self) -> None: ...


class InProcess:
    """A model without a server, behind the same queue; clips are not decoded again for each request."""

    def __init__(
        self, sessions: Sequence[AnySession], *, language: str = "", voice: str = "", max_waiting: int = 512
    ) -> None:
        self._service = SpeechService(ModelServer(limits=Limits(units=max_waiting)))
        self._rate = self._service.models.add(*sessions).sample_rate
        self._name = sessions[0].info.name
        self._hearing = TranscribeOptions(language=language or None)
        self._speaking = SpeakOptions(voice or None, language or None)

    async def transcribe(self, clip: Clip) -> Answer:
        try:
            async with self._service.admit(TranscribeRequest(self._name, self._hearing)) as admitted:
                transcript = await admitted.transcribe(clip.samples)
        except (Overloaded, EngineFailed) as error:
            return _failure(error)
        return Answer(OK, transcript.text, clip.seconds)

    async def speak(self, text: str) -> Answer:
        first, samples = None, 0
        try:
            request = SpeakRequest(self._name, text, self._speaking)
            async with self._service.admit(request) as admitted, aclosing(admitted.speak()) as speaking:
                async for piece in speaking:
                    first = first or time.perf_counter()
                    samples += len(piece)
        except (Overloaded, EngineFailed) as error:
            return _failure(error)
        return Answer(OK, seconds=samples / self._rate, first=first)

    async def close(self) -> None:
        self._service.models.close(drain=False)


def _failure(error: Exception) -> Answer:
    return Answer(REFUSED if isinstance(error, Overloaded) else FAILED, str(error))
