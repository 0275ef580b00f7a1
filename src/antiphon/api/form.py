"""A recognition form as clients really send it, read into one frozen value.

It knows multipart habits and spelling; it must not know models, or open the audio.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import BinaryIO, Literal

from starlette.datastructures import FormData, UploadFile

from antiphon.errors import InvalidParameter

ResponseFormat = Literal["json", "text"]
_FORMATS: dict[str, ResponseFormat] = {"json": "json", "text": "text"}
_TRUE = ("true", "1")
_FALSE = ("false", "0", "")


@dataclass(frozen=True, slots=True)
class SpeechForm:
    """What the caller filled in; None where a field was absent or empty."""

    file: BinaryIO
    model: str | None
    language: str | None
    prompt: str | None
    response_format: ResponseFormat
    temperature: float


def read_form(form: FormData) -> SpeechForm:
    """Check the fields that need no model. InvalidParameter names the first one that cannot be used."""
    response_format = _text(form, "response_format") or "json"
    if response_format not in _FORMATS:
        raise InvalidParameter(
            f"response_format {response_format!r} is not available; use one of: {', '.join(_FORMATS)}.",
            param="response_format",
        )
    _refuse_stream((_text(form, "stream") or "").lower())
    return SpeechForm(
        file=_file(form),
        model=_text(form, "model"),
        language=_text(form, "language"),
        prompt=_text(form, "prompt"),
        response_format=_FORMATS[response_format],
        temperature=_number(form, "temperature"),
    )


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


def _refuse_stream(value: str) -> None:
    if value in _TRUE:
        raise InvalidParameter("stream=true is not available yet: leave it out.", param="stream")
    if value not in _FALSE:
        raise InvalidParameter(f"stream {value!r} is neither true nor false.", param="stream")
