"""SpeechT5: text to speech with speaker embeddings and a HiFi-GAN vocoder."""

from __future__ import annotations

from antiphon.models.family import Config, Family, deferred, has_architecture

_LOAD = "antiphon.models.speecht5.load"


def _detect(config: Config) -> bool:
    # SpeechT5 for recognition has the same model_type.
    return has_architecture(config, "SpeechT5ForTextToSpeech") or (
        config.get("model_type") == "speecht5" and not config.get("architectures")
    )


FAMILY = Family(
    "speecht5",
    task="text2speech",
    detect=_detect,
    load=deferred(_LOAD, "load"),
    check_ir=deferred(_LOAD, "check_ir"),
    export=deferred("antiphon.models.speecht5.export", "export"),
    takes=frozenset({"speaker", "speeds", "vocoder", "voices"}),
)
