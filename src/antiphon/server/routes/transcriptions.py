"""POST audio/transcriptions and audio/translations: a form in, OpenAI's answer out.

It decodes off the event loop and asks the service; it must not know models or batches.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import asdict

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from antiphon.languages import NAMES
from antiphon.scheduling.policy import SchedulingPolicy
from antiphon.server.middleware.metrics import asked
from antiphon.server.requests.disconnect import while_connected
from antiphon.server.requests.scheduling import in_time, scheduling_policy
from antiphon.server.requests.transcription import TranscriptionRequest, asked_of, read_form
from antiphon.server.requests.upload import Decoders
from antiphon.server.schemas import (
    DurationUsage,
    ErrorReply,
    SegmentReply,
    SegmentTimes,
    TimedReply,
    TranscriptionForm,
    TranscriptionReply,
    VerboseReply,
    WordReply,
)
from antiphon.server.state import state_of
from antiphon.service import SpeechService
from antiphon.settings import Settings
from antiphon.transcription.subtitles import to_srt, to_vtt
from antiphon.types.options import Task, TranscribeOptions, VadOptions
from antiphon.types.results import Transcript

_PLAIN = ("text/plain", "application/x-subrip", "text/vtt")


async def transcriptions(request: Request) -> Response:
    """Speech in any language the model knows, written in that language."""
    return await _recognise(request, "transcribe")


async def translations(request: Request) -> Response:
    """Speech in any language the model knows, written in English. `language` names what is spoken: an extension."""
    return await _recognise(request, "translate")


async def _recognise(request: Request, task: Task) -> Response:
    service = state_of(request).service  # no upload is read for a server that cannot serve it
    terms = scheduling_policy(request)
    async with in_time(terms):
        return await _answer(request, service, task, terms)


async def _answer(request: Request, service: SpeechService, task: Task, terms: SchedulingPolicy) -> Response:
    settings: Settings = request.app.state.settings
    decoders: Decoders = request.app.state.decoders
    with ExitStack() as inside:
        async with request.form() as fields:
            model, streamed = asked_of(fields)
            asked(request, model, task, streamed=streamed)
            form = read_form(fields)
            # A place before the decoding, which is most of what a request costs outside the model.
            inside.enter_context(service.permit(form.model, task))
            options = _options(form, task, settings)

            async def work() -> Transcript:
                samples = await decoders.decode(form.file, max_seconds=settings.max_audio_seconds)
                await fields.close()  # while it waits for its turn, the samples are all that is needed
                return await service.transcribe(samples, form.model, options, terms=terms)

            return _render(await while_connected(request, work()), form)


def _options(form: TranscriptionRequest, task: Task, settings: Settings) -> TranscribeOptions:
    return TranscribeOptions(
        task,
        form.language,
        form.prompt,
        form.temperature,
        timestamps=form.timestamps,
        words=form.words,
        condition_on_previous_text=form.condition_on_previous_text,
        vad=form.vad or VadOptions(settings.vad),
    )


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
    # What is written is English, whatever was spoken: that is what OpenAI says of a translation.
    language = "en" if transcript.task == "translate" else transcript.language
    return VerboseReply(
        task=transcript.task,
        language=NAMES.get(language, language),
        duration=transcript.duration,
        text=text,
        # With words alone no segments, as OpenAI answers: a client that finds some looks for the words in them.
        segments=[SegmentReply.model_validate(asdict(each)) for each in transcript.segments] if form.segments else None,
        words=_words(transcript) if form.words else None,
        usage=usage,
    )


def _words(transcript: Transcript) -> list[WordReply]:
    bare = [(each.text.strip(), each) for each in transcript.words]
    return [WordReply(word=text, start=each.start, end=each.end) for text, each in bare if text]


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
                    **{status: {"model": ErrorReply} for status in (400, 401, 404, 413, 429, 500, 503, 504)},
                },
                openapi_extra={"requestBody": body},
                include_in_schema=bool(prefix),
            )
    return router
