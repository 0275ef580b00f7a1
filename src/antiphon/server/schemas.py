"""The shapes on the wire, as OpenAI's API defines them; nothing else in the project may use them.

They hold data and describe themselves for OpenAPI; they must not know how an answer is made.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from antiphon.types.options import MAX_SPEED, MIN_SPEED


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


class SegmentTimes(BaseModel):
    """A segment as OVMS writes it: seconds, and the text with its leading space."""

    text: str
    start: float
    end: float


class WordReply(BaseModel):
    """A word without the spaces around it; seconds."""

    word: str
    start: float
    end: float


class TimedReply(TranscriptionReply):
    """What `timestamp_granularities[]` adds to plain JSON: an extension that OVMS has."""

    segments: list[SegmentTimes] | None = None
    words: list[WordReply] | None = None


class SegmentReply(BaseModel):
    """Scores are the window's, as Whisper reports them; `seek` is its start in 10 ms frames."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


class VerboseReply(BaseModel):
    """`segments` and `words` are there if `timestamp_granularities` asks for them; it asks for segments unless it says."""

    task: Literal["transcribe", "translate"]
    language: str = Field(description="English name, in lower case.")
    duration: float
    text: str
    segments: list[SegmentReply] | None = None
    words: list[WordReply] | None = None
    usage: DurationUsage


class VoiceCard(BaseModel):
    id: str
    name: str


class VoiceList(BaseModel):
    voices: list[VoiceCard]


class ModelCard(BaseModel):
    """`voices` is there for models that speak: Home Assistant's bridge tells them from the others by it."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["antiphon"] = "antiphon"
    voices: list[VoiceCard] | None = None


class SpeechModel(BaseModel):
    id: str


class SpeechModelList(BaseModel):
    models: list[SpeechModel]


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelCard]


class HealthReply(BaseModel):
    status: Literal["loading", "ready", "draining"]


class VersionError(BaseModel):
    """`OK` twice, or a code of gRPC's and what is wrong."""

    error_code: Literal["OK", "FAILED_PRECONDITION"]
    error_message: str


class VersionStatus(BaseModel):
    version: str = "1"
    state: Literal["LOADING", "AVAILABLE", "UNLOADING", "END"]
    status: VersionError


class ModelStatus(BaseModel):
    """A model in OVMS's list of what is configured; there is one version of each."""

    model_version_status: list[VersionStatus]


class TranscriptionForm(BaseModel):
    """The form fields of both recognition routes. For the OpenAPI page: `form.py` reads the form itself."""

    file: str = Field(
        description="The audio, in any common container; the name and type sent with it are ignored.",
        json_schema_extra={"format": "binary"},
    )
    model: str = Field("", description="Name of the model; empty or an OpenAI name for the default one.")
    language: str = Field("", description="Language spoken: a code or an English name. Detected when empty.")
    prompt: str = Field("", description="Text that came before, or words to expect.")
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] = "json"
    temperature: float = Field(0, ge=0, le=1)
    timestamp_granularities: list[Literal["segment", "word"]] = Field(
        [],
        description="What verbose_json tells the times of; segments unless said. `segment` adds their times to plain JSON too.",
        alias="timestamp_granularities[]",
    )
    chunking_strategy: str = Field(
        "",
        description='auto, or JSON such as {"type": "server_vad", "threshold": 0.5}: voice activity says where speech is, in '
        "short files too. A part without speech is not heard. When empty, what the server does with files of more than 30 s.",
    )
    condition_on_previous_text: bool = Field(
        False,
        description="Whether each window of a long file is told the text before it; they are then decoded one by one. Ours.",
    )


class SpeechRequest(BaseModel):
    """The body of a speech request; fields that are not in here are ignored."""

    input: str = Field(description="The text to say.", json_schema_extra={"minLength": 1})
    model: str = Field("", description="Name of the model; empty or an OpenAI name for the default one.")
    voice: str | dict[str, str] = Field(
        "", description="A voice of the model, or one of OpenAI's names; or either as the `id` of an object."
    )
    response_format: str = Field(
        "", description="mp3, opus, aac, flac, wav or pcm; when empty mp3 under /v1 and wav under /v3."
    )
    speed: float = Field(
        1.0,
        description="From 0.25 to 4; the pitch stays.",
        json_schema_extra={"minimum": MIN_SPEED, "maximum": MAX_SPEED},
    )
    stream_format: str = Field("", description="audio, or sse for server-sent events.")
    language: str = Field("", description="What the text is written in, for models whose voices are languages.")
    seed: int = Field(
        0,
        description="Makes what is random about a SpeechT5 voice repeatable. eSpeak NG and the genai backend take no seed: "
        "it changes nothing there.",
        json_schema_extra={"minimum": 0},
    )


class SpeechDelta(BaseModel):
    type: Literal["speech.audio.delta"] = "speech.audio.delta"
    audio: str


class SpeechUsage(BaseModel):
    """Characters in; out, pieces of audio of 50 ms."""

    input_tokens: int
    output_tokens: int
    total_tokens: int


class SpeechDone(BaseModel):
    type: Literal["speech.audio.done"] = "speech.audio.done"
    usage: SpeechUsage
