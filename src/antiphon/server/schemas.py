"""The JSON answers, as OpenAI's API and OVMS define them; OpenAPI describes them from here."""

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


class SegmentTimes(BaseModel):
    """A segment as OVMS writes it: times in seconds, and the text with its leading space."""

    text: str
    start: float
    end: float


class WordReply(BaseModel):
    """A word without surrounding spaces; times in seconds."""

    word: str
    start: float
    end: float


class TimedReply(TranscriptionReply):
    """Plain JSON with the times that `timestamp_granularities[]` asks for; an extension, as in OVMS."""

    segments: list[SegmentTimes] | None = None
    words: list[WordReply] | None = None


class SegmentReply(BaseModel):
    """A segment with its window's scores, as Whisper reports them; `seek` is the window's start in frames of 10 ms."""

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
    """`segments` and `words` are present if `timestamp_granularities` includes them; its default is segments."""

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
    """`voices` is present for speech models only; Home Assistant's bridge recognises them by it."""

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
    status: Literal["loading", "ready", "unhealthy", "draining"]


class VersionError(BaseModel):
    """`OK` in both fields, or a gRPC status code and the reason."""

    error_code: Literal["OK", "FAILED_PRECONDITION"]
    error_message: str


class VersionStatus(BaseModel):
    version: str = "1"
    state: Literal["LOADING", "AVAILABLE", "UNLOADING", "END"]
    status: VersionError


class ModelStatus(BaseModel):
    """A configured model in OVMS's list; every model has one version."""

    model_version_status: list[VersionStatus]


class SpeechDelta(BaseModel):
    type: Literal["speech.audio.delta"] = "speech.audio.delta"
    audio: str


class SpeechUsage(BaseModel):
    """Input tokens are characters; output tokens are pieces of 50 ms of audio."""

    input_tokens: int
    output_tokens: int
    total_tokens: int


class SpeechDone(BaseModel):
    type: Literal["speech.audio.done"] = "speech.audio.done"
    usage: SpeechUsage
