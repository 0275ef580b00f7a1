"""POST audio/transcriptions and audio/translations: reads the form, is admitted, decodes, transcribes, renders."""

from __future__ import annotations

import math

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from antiphon.errors import InvalidParameter
from antiphon.languages import NAMES
from antiphon.server.middleware.metrics import count_for_model, count_unadmitted
from antiphon.server.requests.disconnect import while_connected
from antiphon.server.requests.form import read_form
from antiphon.server.requests.scheduling import in_time, scheduling_policy
from antiphon.server.requests.transcription import TranscriptionRequest, model_and_stream
from antiphon.server.requests.upload import Decoders
from antiphon.server.schemas import (
    DurationUsage,
    ErrorReply,
    SegmentReply,
    SegmentTimes,
    TimedReply,
    TranscriptionReply,
    VerboseReply,
    WordReply,
)
from antiphon.server.state import state_of
from antiphon.service import TranscribeRequest
from antiphon.settings import Settings
from antiphon.transcription.subtitles import to_srt, to_vtt
from antiphon.types.options import Task
from antiphon.types.results import Transcript

_PLAIN = ("text/plain", "application/x-subrip", "text/vtt")


async def transcriptions(request: Request) -> Response:
    """Transcribe speech in the language it is spoken in."""
    return await _recognise(request, "transcribe")


async def translations(request: Request) -> Response:
    """Translate speech into English. `language`, the one spoken, is an extension of OpenAI's API."""
    return await _recognise(request, "translate")


async def _recognise(request: Request, task: Task) -> Response:
    service = state_of(request).service  # Unavailable before the upload is read
    settings: Settings = request.app.state.settings
    decoders: Decoders = request.app.state.decoders
    policy = scheduling_policy(request)
    async with in_time(policy), read_form(request, task) as fields:
        model, streamed = model_and_stream(fields)
        try:
            form = TranscriptionRequest.from_form(fields)
        except InvalidParameter:
            count_unadmitted(request, model, task, streamed=streamed)
            raise
        admission = service.admit(
            TranscribeRequest(form.model, form.options(task, settings.vad)),
            policy,
            on_model=lambda info: count_for_model(request, info.name, streamed=streamed),
        )
        async with admission as admitted:

            async def work() -> Transcript:
                samples = await decoders.decode(form.file, max_seconds=settings.max_audio_seconds)
                await fields.close()  # only the samples are needed while the request waits in the queue
                return await admitted.transcribe(samples)

            return _render(await while_connected(request, work()), form)


def _render(transcript: Transcript, form: TranscriptionRequest) -> Response:
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
            return JSONResponse(_verbose(transcript, text, usage, form).model_dump(exclude_none=True))
        case "json" if form.timestamps or form.words:
            return JSONResponse(_timed(transcript, text, usage, form).model_dump(exclude_none=True))
        case "json":
            return JSONResponse(TranscriptionReply(text=text, usage=usage).model_dump())


def _timed(transcript: Transcript, text: str, usage: DurationUsage, form: TranscriptionRequest) -> TimedReply:
    segments = [SegmentTimes(text=each.text, start=each.start, end=each.end) for each in transcript.segments]
    return TimedReply(
        text=text,
        usage=usage,
        segments=segments if form.timestamps else None,
        words=_words(transcript) if form.words else None,
    )


def _verbose(transcript: Transcript, text: str, usage: DurationUsage, form: TranscriptionRequest) -> VerboseReply:
    # The language of the text, as in OpenAI's answers: a translation is English.
    language = "en" if transcript.task == "translate" else transcript.language
    return VerboseReply(
        task=transcript.task,
        language=NAMES.get(language, language),
        duration=transcript.duration,
        text=text,
        # No segments with words alone, as in OpenAI's answers: a client that finds segments looks for words in them.
        segments=_segments(transcript) if form.segments else None,
        words=_words(transcript) if form.words else None,
        usage=usage,
    )


def _segments(transcript: Transcript) -> list[SegmentReply]:
    # By attributes: a copy of each segment with its words first holds the event loop up for 0.35 s at 4,000 segments.
    return [SegmentReply.model_validate(segment, from_attributes=True) for segment in transcript.segments]


def _words(transcript: Transcript) -> list[WordReply]:
    words = [(word.text.strip(), word) for word in transcript.words]
    return [WordReply(word=text, start=word.start, end=word.end) for text, word in words if text]


def routes() -> APIRouter:
    """The router with both routes under /v1, /v3 and, for clients configured with a bare address, no prefix."""
    router = APIRouter(tags=["audio"])
    body = {"required": True, "content": {"multipart/form-data": {"schema": TranscriptionRequest.model_json_schema()}}}
    for prefix in ("/v1", "/v3", ""):
        for name, handler in (("transcriptions", transcriptions), ("translations", translations)):
            router.add_api_route(
                f"{prefix}/audio/{name}",
                handler,
                methods=["POST"],
                response_model=TranscriptionReply | TimedReply | VerboseReply,
                responses={
                    200: {"content": {kind: {"schema": {"type": "string"}} for kind in _PLAIN}},
                    **{status: {"model": ErrorReply} for status in (400, 401, 404, 413, 429, 500, 503, 504)},
                },
                openapi_extra={"requestBody": body},
                include_in_schema=bool(prefix),
            )
    return router
