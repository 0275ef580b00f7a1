"""The body of a speech request as clients really send it, read into one frozen value.

It knows JSON habits and spelling; it must not know models or how speech is made.
"""

from __future__ import annotations

import json
import reprlib
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import ValidationError

from antiphon.audio.encode import AUDIO_FORMATS, AudioFormat
from antiphon.errors import InvalidParameter
from antiphon.server.schemas import SpeechRequest
from antiphon.settings import right_of
from antiphon.types.options import SpeakOptions


@dataclass(frozen=True, slots=True)
class SpeechFields:
    """What the caller asked for; None where a field was absent or empty."""

    input: str
    model: str | None
    options: SpeakOptions
    response_format: AudioFormat
    stream_format: Literal["audio", "sse"]


def asked_of(fields: dict[str, Any]) -> tuple[str | None, bool]:
    """The model that fields name, and whether they want a stream of events, whatever is wrong with the rest of them."""
    model = fields.get("model")
    return model if isinstance(model, str) else None, fields.get("stream_format") == "sse"


def read_fields(fields: dict[str, Any], default: str) -> SpeechFields:
    """Check what needs no model. `default` is the format of one that names none. InvalidParameter names what is wrong."""
    request = _validated(fields)
    voice = request.voice.get("id") if isinstance(request.voice, dict) else request.voice
    if voice is None:
        raise InvalidParameter("voice is an object without an 'id'.", param="voice")
    wanted = (request.response_format or default).lower()
    form = next((each for each in AUDIO_FORMATS if each == wanted), None)
    if form is None:
        raise InvalidParameter(
            f"response_format {request.response_format!r} is not available; use one of: {', '.join(AUDIO_FORMATS)}.",
            param="response_format",
        )
    if request.stream_format not in ("", "audio", "sse"):
        raise InvalidParameter(
            f"stream_format {request.stream_format!r} is not available; use one of: audio, sse.", param="stream_format"
        )
    return SpeechFields(
        input=request.input,
        model=request.model or None,
        options=SpeakOptions(voice or None, request.language or None, request.seed, request.speed),
        response_format=form,
        stream_format="sse" if request.stream_format == "sse" else "audio",
    )


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object of a body; what its Content-Type says is left out of account, for curl sends a wrong one."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidParameter(f"The body is not JSON: {error}.", code="invalid_json") from error
    if not isinstance(fields, dict):
        raise InvalidParameter("The body must be a JSON object with 'input'.", code="invalid_json")
    return {name: value for name, value in fields.items() if value is not None}


def _validated(fields: dict[str, Any]) -> SpeechRequest:
    try:
        return SpeechRequest.model_validate(fields)
    except ValidationError as error:
        first, *others = error.errors()
        name = str(first["loc"][0])
        if first["type"] == "missing":
            raise InvalidParameter(f"{name} is missing.", param=name, code="missing_field") from error
        # Of a field that may be one thing or another, both are told.
        right = dict.fromkeys(right_of(each) for each in (first, *others) if each["loc"][0] == name)
        message = f"{name} is {reprlib.repr(fields[name])}: {', or '.join(right)}."
        raise InvalidParameter(message, param=name, code="invalid_value") from error
