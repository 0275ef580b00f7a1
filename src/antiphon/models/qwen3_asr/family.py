"""Qwen3-ASR: recognition by a language model; served by OpenVINO GenAI."""

from __future__ import annotations

from antiphon.models.family import Config, Family, has_architecture


def _detect(config: Config) -> bool:
    return config.get("model_type") == "qwen3_asr" or has_architecture(config, "Qwen3ASRForConditionalGeneration")


FAMILY = Family("qwen3_asr", task="speech2text", detect=_detect)
