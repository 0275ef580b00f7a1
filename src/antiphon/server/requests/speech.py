"""The JSON body of a speech request."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema, field_validator

from antiphon.audio.encode import AudioFormat
from antiphon.errors import InvalidParameter
from antiphon.types.options import MAX_SPEED, MIN_SPEED, SpeakOptions

_VOICE_OBJECT = {"type": "object", "properties": {"id": {"type": "string"}}, "required": ["id"]}
_VOICE = {"anyOf": [{"type": "string"}, _VOICE_OBJECT, {"type": "null"}]}


class SpeechRequest(BaseModel):
    """The body of a speech request. A field that is null or empty counts as absent; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True)

    input: str = Field(description="The text to speak.", json_schema_extra={"minLength": 1})
    model: str | None = Field(None, description="Name of the model; if empty or a name of OpenAI's, the default model.")
    voice: Annotated[str | None, WithJsonSchema(_VOICE)] = Field(
        None, description="A voice of the model, or one of OpenAI's names; or an object with either as its `id`."
    )
    response_format: AudioFormat | None = Field(None, description="By default mp3 under /v1 and wav under /v3.")
    speed: float = Field(1.0, ge=MIN_SPEED, le=MAX_SPEED, description="The pitch stays the same.")
    stream_format: Literal["audio", "sse"] = Field("audio", description="audio, or sse for server-sent events.")
    language: str | None = Field(None, description="Language of the text, for models whose voices are languages.")
    seed: int = Field(
        0,
        ge=0,
        description="Repeats the random part of a SpeechT5 voice. eSpeak NG and the genai backend take no seed: it has no "
        "effect there.",
    )

    def options(self) -> SpeakOptions:
        return SpeakOptions(self.voice or None, self.language, self.seed, self.speed)

    @field_validator("response_format", mode="before")
    @classmethod
    def _ignore_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("voice", mode="before")
    @classmethod
    def _voice_id(cls, value: object) -> object:
        if isinstance(value, dict) and "id" not in value:
            raise InvalidParameter("voice is an object without an 'id'.", param="voice")
        return value["id"] if isinstance(value, dict) else value


def model_and_stream(fields: dict[str, Any]) -> tuple[str | None, bool]:
    """The model that a body names and whether it asks for server-sent events, even if other fields are invalid."""
    model = fields.get("model")
    return model if isinstance(model, str) else None, fields.get("stream_format") == "sse"


def json_fields(body: bytes) -> dict[str, Any]:
    """The fields of a JSON object, without those that are absent. Any Content-Type will do: curl sends a wrong one."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        message = f'The body must be JSON, such as {{"input": "A sentence."}}: {error}.'
        raise InvalidParameter(message, code="invalid_json") from error
    if not isinstance(fields, dict):
        raise InvalidParameter("The body must be a JSON object with 'input'.", code="invalid_json")
    return {name: value for name, value in fields.items() if value is not None and (value != "" or name == "input")}
