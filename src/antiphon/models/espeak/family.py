"""eSpeak NG: text to speech by rules, from an installed library without a model folder."""

from __future__ import annotations

from antiphon.models.family import Family, deferred

FAMILY = Family(
    "espeak",
    task="text2speech",
    detect=None,
    load=deferred("antiphon.models.espeak.load", "load"),
    backend="espeak-ng",
)
