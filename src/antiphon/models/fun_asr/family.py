"""Fun-ASR: recognition by a language model; served by OpenVINO GenAI."""

from __future__ import annotations

from antiphon.models.family import Config, Family


def _detect(config: Config) -> bool:
    return config.get("model_type") == "fun_asr"


FAMILY = Family("fun_asr", task="speech2text", detect=_detect)
