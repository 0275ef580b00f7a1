"""Whisper: recognition and translation in windows of 30 s."""

from __future__ import annotations

from antiphon.models.family import Config, Family, deferred, has_architecture

_LOAD = "antiphon.models.whisper.load"


def _detect(config: Config) -> bool:
    return config.get("model_type") == "whisper" or has_architecture(config, "WhisperForConditionalGeneration")


FAMILY = Family(
    "whisper",
    task="speech2text",
    detect=_detect,
    load=deferred(_LOAD, "load"),
    check_ir=deferred(_LOAD, "check_ir"),
    export=deferred("antiphon.models.whisper.export", "export"),
    takes=frozenset({"audio_context", "calibration", "words"}),
)
