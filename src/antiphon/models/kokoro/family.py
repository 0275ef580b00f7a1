"""Kokoro: text to speech with phonemes; served by OpenVINO GenAI."""

from __future__ import annotations

from antiphon.models.family import Config, Family


def _detect(config: Config) -> bool:
    # The original config.json has neither a model_type nor architectures.
    return config.get("model_type") == "kokoro" or ("istftnet" in config and "n_mels" in config)


FAMILY = Family("kokoro", task="text2speech", detect=_detect, takes=frozenset({"speaker", "voices", "speeds"}))
