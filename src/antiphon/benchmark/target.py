"""What a benchmark measures: the Target protocol, and a model in this process as one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Protocol

from antiphon.benchmark.clips import Clip
from antiphon.benchmark.load_generator import OK, REFUSED, Response
from antiphon.errors import EngineFailed, Overloaded
from antiphon.model_server import ModelServer
from antiphon.models.session import AnySession
from antiphon.scheduling.queue import Limits
from antiphon.service import SpeakRequest, SpeechService, TranscribeRequest
from antiphon.types.options import SpeakOptions, TranscribeOptions

FAILED = "500"


class Target(Protocol):
    """Transcribes clips, each in its own language if it has one, and synthesises texts.

    Failures are reported in the response's status, not raised.
    """

    async def transcribe(self, clip: Clip) -> Response: ...

    async def speak(self, text: str) -> Response: ...

    async def close(self) -> None: ...


class InProcess:
    """A model in this process, with the same queue as in a server. Clips are decoded beforehand."""

    def __init__(
        self, sessions: Sequence[AnySession], *, language: str = "", voice: str = "", max_waiting: int = 512
    ) -> None:
        self._service = SpeechService(ModelServer(limits=Limits(units=max_waiting)))
        self._rate = self._service.models.add(*sessions).sample_rate
        self._name = sessions[0].info.name
        self._transcribe_options = TranscribeOptions(language=language or None)
        self._speak_options = SpeakOptions(voice or None, language or None)

    async def transcribe(self, clip: Clip) -> Response:
        options = self._transcribe_options
        if clip.language:
            options = replace(options, language=clip.language)
        try:
            async with self._service.admit(TranscribeRequest(self._name, options)) as admitted:
                transcript = await admitted.transcribe(clip.samples)
        except (Overloaded, EngineFailed) as error:
            return _failure(error)
        return Response(OK, transcript.text, clip.seconds)

    async def speak(self, text: str) -> Response:
        first_audio, samples = None, 0
        try:
            request = SpeakRequest(self._name, text, self._speak_options)
            async with self._service.admit(request) as admitted, aclosing(admitted.speak()) as blocks:
                async for block in blocks:
                    first_audio = first_audio or time.perf_counter()
                    samples += len(block)
        except (Overloaded, EngineFailed) as error:
            return _failure(error)
        return Response(OK, seconds=samples / self._rate, first_audio=first_audio)

    async def close(self) -> None:
        self._service.models.close(drain=False)


def _failure(error: Exception) -> Response:
    return Response(REFUSED if isinstance(error, Overloaded) else FAILED, str(error))
