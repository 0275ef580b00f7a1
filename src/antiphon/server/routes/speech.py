"""POST audio/speech: a JSON body in, a sound file out, sent while it is still being spoken.

It asks the service and encodes off the event loop; it must not know models or batches.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from antiphon.audio.encode import content_type
from antiphon.errors import AntiphonError
from antiphon.server.errors import body_of
from antiphon.server.middleware.metrics import asked, broke
from antiphon.server.requests.disconnect import while_connected
from antiphon.server.requests.scheduling import in_time, scheduling_policy
from antiphon.server.requests.speech import asked_of, read_fields, read_object
from antiphon.server.schemas import ErrorReply, SpeechDelta, SpeechDone, SpeechRequest, SpeechUsage
from antiphon.server.state import state_of
from antiphon.synthesis.output import AudioFileWriter, check_speed
from antiphon.types.audio import Samples

PATIENCE = 0.02  # seconds to wait for the end of what may be whole already; then it is sent as it comes
TOKENS_A_SECOND = 20  # what a usage calls an audio token; there are no real ones


class Sound(StreamingResponse):
    """A streamed body that is closed, and with it the work behind it, however the sending ends."""

    def __init__(self, body: AsyncGenerator[bytes, None], media_type: str) -> None:
        super().__init__(body, media_type=media_type)
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._body.aclose()


async def speech_v1(request: Request) -> Response:
    """Text spoken aloud; an mp3 unless `response_format` asks for something else."""
    return await _speak(request, "mp3")


async def speech_v3(request: Request) -> Response:
    """Text spoken aloud; a wav unless `response_format` asks for something else, as the OpenVINO Model Server has it."""
    return await _speak(request, "wav")


async def _speak(request: Request, default: str) -> Response:
    service = state_of(request).service
    terms = scheduling_policy(request)
    async with in_time(terms):
        body = await request.body()
    fields = read_object(body)
    model, streamed = asked_of(fields)
    asked(request, model, "speak", streamed=streamed)
    form = read_fields(fields, default)
    info = service.resolve(form.model, "speak")
    check_speed(form.speed, *info.speeds)
    recording = AudioFileWriter(form.response_format, info.sample_rate, form.speed)
    speaking = Speaking(service.speak(form.input, form.model, form.options, terms), info.sample_rate)
    try:
        # Whatever is wrong with the request is told now: once the first byte has left, the status cannot change.
        first = await while_connected(request, speaking.begin())
        if speaking.complete and form.stream_format == "audio":
            return Response(
                await asyncio.to_thread(recording.whole, first), media_type=content_type(form.response_format)
            )
    except BaseException:
        await speaking.aclose()
        recording.close()
        raise
    if form.stream_format == "sse":
        return Sound(_events(request, _encoded(speaking, recording), len(form.input), speaking), "text/event-stream")
    return Sound(_encoded(speaking, recording), content_type(form.response_format))


class Speaking:
    """A request to the service, the first of whose samples are taken before the rest are streamed."""

    def __init__(self, samples: AsyncGenerator[Samples, None], rate: int) -> None:
        self.complete = False
        self.seconds = 0.0
        self._rate = rate
        self._samples = samples
        self._first = np.zeros(0, np.float32)
        self._next: asyncio.Task[Samples | None] | None = None

    async def begin(self) -> Samples:
        """The first samples; all of them, and `complete`, if that takes no longer than a moment."""
        pieces: list[Samples] = []
        self._next = asyncio.create_task(self._take())
        await self._next
        until = time.monotonic() + PATIENCE
        while not self.complete:
            ready, _ = await asyncio.wait((self._next,), timeout=max(0.0, until - time.monotonic()))
            if not ready:
                break
            piece = self._next.result()
            if piece is None:
                self.complete = True
            else:
                pieces.append(piece)
                self._next = asyncio.create_task(self._take())
        self._first = np.concatenate(pieces) if pieces else self._first
        return self._first

    async def rest(self) -> AsyncIterator[Samples]:
        """Those first samples again, and all that follow."""
        self.seconds += len(self._first) / self._rate
        yield self._first
        piece = await self._next if self._next is not None else None
        while piece is not None:
            self.seconds += len(piece) / self._rate
            yield piece
            piece = await self._take()

    async def aclose(self) -> None:
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
        await self._samples.aclose()

    async def _take(self) -> Samples | None:
        return await anext(self._samples, None)


async def _encoded(speaking: Speaking, recording: AudioFileWriter) -> AsyncGenerator[bytes, None]:
    """The file's bytes as they become ready."""
    try:
        async for samples in speaking.rest():
            if data := await asyncio.to_thread(recording.add, samples):
                yield data
        if data := await asyncio.to_thread(recording.finish):
            yield data
    finally:
        await speaking.aclose()
        recording.close()


async def _events(
    request: Request, sound: AsyncGenerator[bytes, None], characters: int, speaking: Speaking
) -> AsyncGenerator[bytes, None]:
    """The same as server-sent events, base64 inside."""
    async with aclosing(sound):
        try:
            async for data in sound:
                yield _event(SpeechDelta(audio=base64.b64encode(data).decode()).model_dump_json())
        except AntiphonError as error:
            broke(request)
            yield _event(body_of(error).model_dump_json())
            return
    said = round(speaking.seconds * TOKENS_A_SECOND)
    usage = SpeechUsage(input_tokens=characters, output_tokens=said, total_tokens=characters + said)
    yield _event(SpeechDone(usage=usage).model_dump_json())


def _event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()


def routes() -> APIRouter:
    """The router with the route under both prefixes."""
    router = APIRouter(tags=["speech"])
    sound: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
    responses: dict[int | str, dict[str, Any]] = {
        200: {"content": {"audio/*": sound, "text/event-stream": {"schema": {"type": "string"}}}},
        **{status: {"model": ErrorReply} for status in (400, 401, 404, 413, 429, 500, 503, 504)},
    }
    body = {"content": {"application/json": {"schema": SpeechRequest.model_json_schema()}}, "required": True}
    for prefix, answer in (("/v1", speech_v1), ("/v3", speech_v3)):
        router.add_api_route(
            f"{prefix}/audio/speech",
            answer,
            methods=["POST"],
            response_class=Response,
            responses=responses,
            openapi_extra={"requestBody": body},
        )
    return router
