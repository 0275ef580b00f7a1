"""The shapes on the wire, as OpenAI's API defines them; nothing else in the project may use them.

They hold data and describe themselves for OpenAPI; they must not know how an answer is made.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field


class ErrorDetail(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorReply(BaseModel):
    error: ErrorDetail


class DurationUsage(BaseModel):
    type: Literal["duration"] = "duration"
    seconds: int


class TranscriptionReply(BaseModel):
    text: str
    usage: DurationUsage


class ModelCard(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["antiphon"] = "antiphon"


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelCard]


class HealthReply(BaseModel):
    status: Literal["loading", "ready", "draining"]


class TranscriptionForm(BaseModel):
    """The form fields of both recognition routes. For the OpenAPI page: `form.py` reads the form itself."""

    file: str = Field(
        description="The audio, in any common container; the name and type sent with it are ignored.",
        json_schema_extra={"format": "binary"},
    )
    model: str = Field("", description="Name of the model; empty or an OpenAI name for the default one.")
    language: str = Field("", description="Language spoken: a code or an English name. Detected when empty.")
    prompt: str = Field("", description="Text that came before, or words to expect.")
    response_format: Literal["json", "text"] = "json"
    temperature: float = Field(0, ge=0, le=1)
