"""A recognition form as clients really send it, read into one frozen value.

It knows multipart habits and spelling; it must not know models, or open the audio.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import BinaryIO, Literal

from starlette.datastructures import FormData, UploadFile

from antiphon.errors import InvalidParameter
from antiphon.server.requests.chunking_strategy import read_chunking
from antiphon.types.options import VadOptions

ResponseFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]
_FORMATS: tuple[ResponseFormat, ...] = ("json", "text", "srt", "verbose_json", "vtt")
_TIMED = ("srt", "verbose_json", "vtt")
_WITH_WORDS = (
    "verbose_json",
    "json",
)  # OpenAI has them in the first alone, OVMS in its one format, which is the second
_TRUE = ("true", "1")
_FALSE = ("false", "0", "")


@dataclass(frozen=True, slots=True)
class TranscriptionRequest:
    """What the caller filled in; None where a field was absent or empty."""

    file: BinaryIO
    model: str | None
    language: str | None
    prompt: str | None
    response_format: ResponseFormat
    temperature: float
    timestamps: bool  # segments with times are asked for, by the format or by name
    segments: bool  # an answer that has room for segments shall have them
    words: bool
    condition_on_previous_text: bool
    vad: VadOptions | None  # None: as the server usually does


def read_form(form: FormData) -> TranscriptionRequest:
    """Check the fields that need no model. InvalidParameter names the first one that cannot be used."""
    wanted = (_text(form, "response_format") or "json").lower()
    response_format = next((each for each in _FORMATS if each == wanted), None)
    if response_format is None:
        raise InvalidParameter(
            f"response_format {wanted!r} is not available; use one of: {', '.join(_FORMATS)}.",
            param="response_format",
        )
    if _flag(form, "stream"):
        raise InvalidParameter("stream=true is not available yet: leave it out.", param="stream")
    granularities = _granularities(form)
    if "word" in granularities and response_format not in _WITH_WORDS:
        raise InvalidParameter(
            f"timestamp_granularities 'word' needs response_format verbose_json or json, not {response_format}.",
            param="timestamp_granularities",
        )
    return TranscriptionRequest(
        file=_file(form),
        model=_text(form, "model"),
        language=_text(form, "language"),
        prompt=_text(form, "prompt"),
        response_format=response_format,
        temperature=_number(form, "temperature"),
        timestamps="segment" in granularities or response_format in _TIMED,
        segments="segment" in granularities or not granularities,
        words="word" in granularities,
        condition_on_previous_text=_flag(form, "condition_on_previous_text"),
        vad=read_chunking(form),
    )


def asked_of(form: FormData) -> tuple[str | None, bool]:
    """The model a form names, and whether it wants a stream, whatever is wrong with the rest of it."""
    return _text(form, "model"), (_text(form, "stream") or "").lower() in _TRUE


def _text(form: FormData, name: str) -> str | None:
    values = [value for key in (name, f"{name}[]") for value in form.getlist(key) if isinstance(value, str)]
    return values[-1].strip() or None if values else None


def _file(form: FormData) -> BinaryIO:
    values = [value for key in ("file", "file[]") for value in form.getlist(key)]
    files = [value for value in values if isinstance(value, UploadFile)]
    if not files:
        message = "'file' is missing: send the audio as a whole multipart/form-data part of that name."
        if values:
            message = "'file' came as a plain text field: send it as a file, with a filename."
        raise InvalidParameter(message, param="file", code="missing_file")
    return files[-1].file


def _number(form: FormData, name: str) -> float:
    text = _text(form, name)
    try:
        number = float(text or 0)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidParameter(f"{name} {text!r} is not a number.", param=name)
    return number


def _granularities(form: FormData) -> set[str]:
    """What `timestamp_granularities` asks for, "segment", "word" or both. Anything else is refused, not left out."""
    names = ("timestamp_granularities", "timestamp_granularities[]")
    given = [value for name in names for value in form.getlist(name) if isinstance(value, str)]
    granularities = {word for value in given for word in re.findall(r"[^\s,\[\]\"']+", value)}  # JSON's spelling too
    for each in granularities - {"segment", "word"}:
        raise InvalidParameter(
            f"timestamp_granularities {each!r} is not available; use segment, word or both.",
            param="timestamp_granularities",
        )
    return granularities


def _flag(form: FormData, name: str) -> bool:
    value = (_text(form, name) or "").lower()
    if value not in (*_TRUE, *_FALSE):
        raise InvalidParameter(f"{name} {value!r} is neither true nor false.", param=name)
    return value in _TRUE
