"""POST audio/transcriptions and audio/translations: a form in, OpenAI's answer out.

It decodes off the event loop and asks the service; it must not know models or batches.
"""

from __future__ import annotations

import math
from dataclasses import asdict

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from antiphon.api.connection import while_connected
from antiphon.api.decoders import Decoders
from antiphon.api.door import door_of
from antiphon.api.form import SpeechForm, read_form
from antiphon.api.schemas import (
    DurationUsage,
    ErrorReply,
    SegmentReply,
    SegmentTimes,
    TimedReply,
    TranscriptionForm,
    TranscriptionReply,
    VerboseReply,
)
from antiphon.languages import NAMES
from antiphon.service.render import to_srt, to_vtt
from antiphon.settings import Settings
from antiphon.types import Task, TranscribeOptions, Transcript

_PLAIN = ("text/plain", "application/x-subrip", "text/vtt")


async def transcriptions(request: Request) -> Response:
    """Speech in any language the model knows, written in that language."""
    return await _recognise(request, "transcribe")


async def translations(request: Request) -> Response:
    """Speech in any language the model knows, written in English. `language` names what is spoken: an extension."""
    return await _recognise(request, "translate")


async def _recognise(request: Request, task: Task) -> Response:
    service = door_of(request).service  # no upload is read for a server that cannot serve it
    settings: Settings = request.app.state.settings
    decoders: Decoders = request.app.state.decoders
    async with request.form() as fields:
        form = read_form(fields)
        service.check_room(form.model)  # before the decoding, where the queue would say so after it
        decoding = decoders.decode(form.file, max_seconds=settings.max_audio_seconds)
        samples = await while_connected(request, decoding)
    options = TranscribeOptions(task, form.language, form.prompt, form.temperature, timestamps=form.timestamps)
    work = service.transcribe(samples, form.model, options)
    return _render(await while_connected(request, work), form)


def _render(transcript: Transcript, form: SpeechForm) -> Response:
    text = transcript.text.strip()
    usage = DurationUsage(seconds=math.ceil(transcript.duration))
    match form.response_format:
        case "text":
            return PlainTextResponse(text + "\n")
        case "srt":
            return PlainTextResponse(to_srt(transcript), media_type="application/x-subrip; charset=utf-8")
        case "vtt":
            return PlainTextResponse(to_vtt(transcript), media_type="text/vtt")
        case "verbose_json":
            return JSONResponse(_verbose(transcript, text, usage).model_dump())
        case "json" if form.timestamps:
            segments = [SegmentTimes(text=each.text, start=each.start, end=each.end) for each in transcript.segments]
            return JSONResponse(TimedReply(text=text, usage=usage, segments=segments).model_dump())
        case "json":
            return JSONResponse(TranscriptionReply(text=text, usage=usage).model_dump())


def _verbose(transcript: Transcript, text: str, usage: DurationUsage) -> VerboseReply:
    # What is written is English, whatever was spoken: that is what OpenAI says of a translation.
    language = "en" if transcript.task == "translate" else transcript.language
    return VerboseReply(
        task=transcript.task,
        language=NAMES.get(language, language),
        duration=transcript.duration,
        text=text,
        segments=[SegmentReply.model_validate(asdict(segment)) for segment in transcript.segments],
        usage=usage,
    )


def routes() -> APIRouter:
    """The router with both routes under /v1, /v3 and, for clients given a bare address, no prefix."""
    router = APIRouter(tags=["audio"])
    body = {"required": True, "content": {"multipart/form-data": {"schema": TranscriptionForm.model_json_schema()}}}
    for prefix in ("/v1", "/v3", ""):
        for name, handler in (("transcriptions", transcriptions), ("translations", translations)):
            router.add_api_route(
                f"{prefix}/audio/{name}",
                handler,
                methods=["POST"],
                response_model=TranscriptionReply | TimedReply | VerboseReply,
                responses={
                    200: {"content": {kind: {"schema": {"type": "string"}} for kind in _PLAIN}},
                    **{status: {"model": ErrorReply} for status in (400, 401, 404, 413, 429, 500, 503)},
                },
                openapi_extra={"requestBody": body},
                include_in_schema=bool(prefix),
            )
    return router
