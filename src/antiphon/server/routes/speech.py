"""POST audio/speech: reads the JSON body, takes admission, synthesises, and streams the file while it is encoded."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, closing
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from antiphon.audio.encode import AudioFormat, content_type
from antiphon.errors import AntiphonError, InvalidParameter
from antiphon.scheduling.policy import SchedulingPolicy
from antiphon.server.errors import error_body
from antiphon.server.middleware.metrics import count_for_model, count_stream_failure, count_unadmitted
from antiphon.server.middleware.request_id import request_id_of
from antiphon.server.requests.disconnect import while_connected
from antiphon.server.requests.scheduling import in_time, scheduling_policy
from antiphon.server.requests.speech import SpeechRequest, json_fields, model_and_stream
from antiphon.server.requests.validation import validated
from antiphon.server.schemas import ErrorReply, SpeechDelta, SpeechDone, SpeechUsage
from antiphon.server.state import state_of
from antiphon.service import AdmittedSpeech, SpeakRequest
from antiphon.synthesis.output import AudioFileWriter
from antiphon.synthesis.stream import MAX_STREAM_S
from antiphon.types.audio import Samples

COMPLETE_WITHIN_S = 0.02  # an answer that is whole by then is sent with its true length; any other is streamed
LAST_WRITE_S = 1.0  # for an error event after the deadline, and what was encoded before it
TOKENS_PER_S = 20  # of audio before `speed` is applied: there are no real audio tokens to report in a usage


class StreamedSpeech(StreamingResponse):
    """A streamed body. `resources` are closed when the sending ends, however it ends.

    DeadlineMissed if the client has not taken the body shortly after the deadline of the policy.
    """

    def __init__(
        self, body: AsyncGenerator[bytes, None], media_type: str, policy: SchedulingPolicy, resources: AsyncExitStack
    ) -> None:
        super().__init__(body, media_type=media_type)
        self._body = body
        self._policy = policy
        self._resources = resources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._resources, aclosing(self._body), in_time(self._policy, LAST_WRITE_S):
            await super().__call__(scope, receive, send)


async def speech_v1(request: Request) -> Response:
    """Speak a text; an mp3 unless `response_format` names another format."""
    return await _speak(request, "mp3")


async def speech_v3(request: Request) -> Response:
    """Speak a text; a wav unless `response_format` names another format, as in the OpenVINO Model Server."""
    return await _speak(request, "wav")


async def _speak(request: Request, default_format: AudioFormat) -> Response:
    service = state_of(request).service
    policy = scheduling_policy(request)
    async with in_time(policy):
        body = await request.body()
    fields = json_fields(body)
    model, streamed = model_and_stream(fields)
    try:
        form = validated(SpeechRequest, fields)
    except InvalidParameter:
        count_unadmitted(request, model, "speak", streamed=streamed)
        raise
    audio_format = form.response_format or default_format
    admission = service.admit(
        SpeakRequest(form.model, form.input, form.options()),
        policy,
        on_model=lambda info: count_for_model(request, info.name, streamed=streamed),
    )
    async with AsyncExitStack() as resources:
        admitted = await resources.enter_async_context(admission)
        writer = resources.enter_context(closing(AudioFileWriter(audio_format, admitted.info.sample_rate)))
        speech = SpeechStream(admitted)
        resources.push_async_callback(speech.aclose)
        # Errors before the first byte still have a status of their own.
        first = await while_connected(request, speech.begin())
        media_type = content_type(audio_format)
        if speech.complete and form.stream_format == "audio":
            return Response(await asyncio.to_thread(writer.whole, first), media_type=media_type)
        encoded = _encoded(speech, writer)
        if form.stream_format == "sse":
            events = _events(request, encoded, form, speech)
            return StreamedSpeech(events, "text/event-stream", policy, resources.pop_all())
        return StreamedSpeech(encoded, media_type, policy, resources.pop_all())


class SpeechStream:
    """The samples of an admitted text. The first ones are awaited before the answer begins."""

    def __init__(self, admitted: AdmittedSpeech) -> None:
        self.complete = False
        self.seconds = 0.0  # of audio taken so far
        self._rate = admitted.info.sample_rate
        self._samples = admitted.speak()
        self._first = np.zeros(0, np.float32)
        self._next: asyncio.Task[Samples | None] | None = None

    async def begin(self) -> Samples:
        """The first samples. Sets `complete` if they are all, which is waited for `COMPLETE_WITHIN_S`."""
        pieces: list[Samples] = []
        self._next = asyncio.create_task(self._take())
        await self._next
        deadline = time.monotonic() + COMPLETE_WITHIN_S
        # A fast model may always have a next piece, so the deadline alone does not end this.
        while not self.complete and sum(map(len, pieces)) < MAX_STREAM_S * self._rate:
            ready, _ = await asyncio.wait((self._next,), timeout=max(0.0, deadline - time.monotonic()))
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

    async def all(self) -> AsyncIterator[Samples]:
        """The first samples again, and all that follow."""
        self.seconds += len(self._first) / self._rate
        yield self._first
        piece = await self._next if self._next is not None else None
        while piece is not None:
            self.seconds += len(piece) / self._rate
            yield piece
            piece = await self._take()

    async def aclose(self) -> None:
        """Cancel the work that is left."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
        await self._samples.aclose()

    async def _take(self) -> Samples | None:
        return await anext(self._samples, None)


async def _encoded(speech: SpeechStream, writer: AudioFileWriter) -> AsyncGenerator[bytes, None]:
    """The file's bytes as they become ready."""
    async for samples in speech.all():
        if data := await asyncio.to_thread(writer.add, samples):
            yield data
    if data := await asyncio.to_thread(writer.finish):
        yield data


async def _events(
    request: Request, encoded: AsyncGenerator[bytes, None], form: SpeechRequest, speech: SpeechStream
) -> AsyncGenerator[bytes, None]:
    """The file's bytes in base64, as server-sent events."""
    async with aclosing(encoded):
        try:
            async for data in encoded:
                yield _event(SpeechDelta(audio=base64.b64encode(data).decode()).model_dump_json())
        except AntiphonError as error:
            count_stream_failure(request)
            yield _event(error_body(error, request_id_of(request.scope)).model_dump_json())
            return
    output = round(speech.seconds * form.speed * TOKENS_PER_S)
    usage = SpeechUsage(input_tokens=len(form.input), output_tokens=output, total_tokens=len(form.input) + output)
    yield _event(SpeechDone(usage=usage).model_dump_json())


def _event(data: str) -> bytes:
    return f"data: {data}\n\n".encode()


def routes() -> APIRouter:
    """The router with the route under /v1 and /v3."""
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
