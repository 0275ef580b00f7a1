"""The form of a transcription or translation request."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from typing import Annotated, Any, BinaryIO, Literal, Self

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SkipValidation,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from starlette.datastructures import FormData, UploadFile

from antiphon.errors import InvalidParameter
from antiphon.server.requests.form import NO_FILE
from antiphon.server.requests.validation import validated
from antiphon.types.options import Task, TranscribeOptions, Vad, VadOptions

ResponseFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]
_WITH_SEGMENTS = ("srt", "verbose_json", "vtt")
_WITH_WORDS = ("verbose_json", "json")  # OpenAI has words in the first only, OVMS in its one format, the second
_VAD = VadOptions()
_MAX_MS = 10_000  # more is a mistake
_STRATEGY_PART = re.compile(r"chunking_strategy\[(\w+)\]")
# ServerVad's own schema would be a $ref that leads nowhere inside the OpenAPI description.
_TEXT_OR_NULL = {"anyOf": [{"type": "string"}, {"type": "null"}]}


def _not_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("it must be a number")
    return value


_Number = Annotated[float, BeforeValidator(_not_bool)]


class ServerVad(BaseModel):
    """OpenAI's `chunking_strategy` object; the defaults are those of `VadOptions`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["server_vad"]
    threshold: _Number = Field(_VAD.threshold, ge=0, le=1)  # a frame is speech from this probability
    prefix_padding_ms: _Number = Field(_VAD.padding * 1000, ge=0, le=_MAX_MS)
    silence_duration_ms: _Number | None = Field(None, ge=0, le=_MAX_MS)  # the shortest pause to cut in

    def options(self) -> VadOptions:
        silence = None if self.silence_duration_ms is None else self.silence_duration_ms / 1000
        return VadOptions("always", self.threshold, self.prefix_padding_ms / 1000, silence)


class TranscriptionRequest(BaseModel):
    """The form fields of both routes. An empty field counts as absent; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)

    file: Annotated[SkipValidation[BinaryIO], WithJsonSchema({"type": "string", "format": "binary"})] = Field(
        description="The audio, in any common container; the name and type sent with it are ignored."
    )
    model: str | None = Field(None, description="Name of the model; if empty or a name of OpenAI's, the default model.")
    language: str | None = Field(None, description="Language spoken: a code or an English name. Detected if empty.")
    prompt: str | None = Field(None, description="Text that came before, or words to expect.")
    response_format: ResponseFormat = "json"
    temperature: float = Field(0.0, ge=0, le=1)
    timestamp_granularities: frozenset[Literal["segment", "word"]] = Field(
        frozenset(),
        description="Which times verbose_json has; by default those of segments. As an extension, plain json has them too.",
        validation_alias=AliasChoices("timestamp_granularities[]", "timestamp_granularities"),
    )
    chunking_strategy: Annotated[Literal["auto"] | ServerVad | None, WithJsonSchema(_TEXT_OR_NULL)] = Field(
        None,
        description='auto, or JSON such as {"type": "server_vad", "threshold": 0.5}: cut the file by voice activity (VAD), '
        "even if it is short, and skip the parts without speech. By default only files of more than 30 s are.",
    )
    condition_on_previous_text: bool = Field(
        False,
        description="Give each window of a long file the text before it; windows are then decoded one by one. An extension.",
    )
    stream: bool = Field(False, description="Only false: streaming is not available yet.")

    @classmethod
    def from_form(cls, form: FormData) -> Self:
        """Validate a form. InvalidParameter names the first field that cannot be used."""
        return validated(cls, text_fields(form) | {"file": _file(form)})

    @property
    def timestamps(self) -> bool:
        """Whether the model must find the times of segments."""
        return "segment" in self.timestamp_granularities or self.response_format in _WITH_SEGMENTS

    @property
    def segments(self) -> bool:
        """Whether a verbose answer lists segments."""
        return "segment" in self.timestamp_granularities or not self.timestamp_granularities

    @property
    def words(self) -> bool:
        return "word" in self.timestamp_granularities

    def options(self, task: Task, vad: Vad) -> TranscribeOptions:
        """The request's options; `vad` is the mode where the form has no `chunking_strategy`."""
        strategy = self.chunking_strategy
        return TranscribeOptions(
            task,
            self.language,
            self.prompt,
            self.temperature,
            timestamps=self.timestamps,
            words=self.words,
            condition_on_previous_text=self.condition_on_previous_text,
            vad=strategy.options() if isinstance(strategy, ServerVad) else VadOptions("always" if strategy else vad),
        )

    @field_validator("response_format", mode="before")
    @classmethod
    def _ignore_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("timestamp_granularities", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Separated by commas, or as a JSON list."""
        return re.findall(r"[^\s,\[\]\"']+", value) if isinstance(value, str) else value

    @field_validator("chunking_strategy", mode="before")
    @classmethod
    def _parse_strategy(cls, value: object) -> object:
        """`auto`, JSON, or an object from `chunking_strategy[part]` fields."""
        if isinstance(value, str) and value != "auto":
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                value = {}
        if value in ("auto", None):
            return value
        if not isinstance(value, dict) or not value:
            message = 'chunking_strategy must be auto, or JSON such as {"type": "server_vad"}.'
            raise InvalidParameter(message, param="chunking_strategy")
        given = {name: part for name, part in value.items() if part is not None}
        return validated(ServerVad, {"type": None, **given}, parent="chunking_strategy")

    @model_validator(mode="after")
    def _check_combination(self) -> Self:
        if self.stream:
            raise InvalidParameter("stream=true is not available yet: leave it out.", param="stream")
        if self.words and self.response_format not in _WITH_WORDS:
            needed = " or ".join(_WITH_WORDS)
            message = f"timestamp_granularities 'word' needs response_format {needed}, not {self.response_format}."
            raise InvalidParameter(message, param="timestamp_granularities")
        return self


def model_and_stream(form: FormData) -> tuple[str | None, bool]:
    """The model that a form names and whether it asks for a stream, even if other fields are invalid."""
    fields = text_fields(form)
    return fields.get("model"), fields.get("stream", "").lower() in ("true", "1")


def text_fields(form: FormData) -> dict[str, Any]:
    """The text fields by name, without empty ones; `name[]` is `name`.

    Of several values the last counts. Those of `timestamp_granularities` add up, those of `chunking_strategy[part]` are one
    object.
    """
    values: dict[str, list[str]] = defaultdict(list)
    strategy: dict[str, str] = {}
    for key, value in form.multi_items():
        if isinstance(value, str) and (part := _STRATEGY_PART.fullmatch(key)):
            strategy[part[1]] = value.strip()
        elif isinstance(value, str):
            values[key.removesuffix("[]")].append(value.strip())
    fields: dict[str, Any] = {name: texts[-1] for name, texts in values.items()}
    fields["timestamp_granularities"] = ",".join(values["timestamp_granularities"])
    if strategy:
        fields["chunking_strategy"] = strategy
    return {name: value for name, value in fields.items() if value}


def _file(form: FormData) -> BinaryIO:
    values = [*form.getlist("file"), *form.getlist("file[]")]
    files = [value for value in values if isinstance(value, UploadFile)]
    if not files:
        message = NO_FILE
        if values:
            message = "'file' came as a text field: send it as a file, with a filename."
        raise InvalidParameter(message, param="file", code="missing_file")
    return files[-1].file
