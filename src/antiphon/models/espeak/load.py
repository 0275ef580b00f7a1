"""From the installed eSpeak NG library to a session: which voices it offers, and what OpenAI's names mean.

It must not know how the model was named or which thread will run the session.
"""

from __future__ import annotations

import re
import time
from pathlib import Path

from antiphon.models.espeak.session import EspeakSession
from antiphon.models.espeak.synthesiser import Synthesiser
from antiphon.models.session import Runtime
from antiphon.types.options import Report, WeightFormat
from antiphon.types.results import ModelInfo

DEFAULT_VOICE = "en-us"

# What OpenAI's thirteen names mean, in their alphabetical order: the plain voice, then men and women as those names suggest.
_STAND_IN_VARIANTS = ("", "m1", "m2", "m3", "f1", "m4", "m5", "f2", "f3", "m6", "f4", "f5", "m7")


# Numbered men and women; the others are whispers, robots and the like.
_PLAIN_VARIANT = re.compile(r"[mf]\d")


def load(
    folder: Path, *, name: str, runtime: Runtime, weight_format: WeightFormat, slots: int, report: Report
) -> EspeakSession:
    """Open the library that came with the wheel; there are no weights, so folder, runtime and format change nothing.

    Nor does a request's seed: the library's oscillators run on from one sentence to the next, so no two are quite alike.

    Raises ConfigError if the wheel is not installed.
    """
    began = time.monotonic()
    synthesiser = Synthesiser()
    languages = synthesiser.languages()
    variants = tuple(f"{DEFAULT_VOICE}+{each}" for each in synthesiser.variants() if _PLAIN_VARIANT.fullmatch(each))
    voices = (DEFAULT_VOICE, *(code for code in languages if code != DEFAULT_VOICE), *variants)
    stand_ins = tuple(f"{DEFAULT_VOICE}+{variant}" if variant else DEFAULT_VOICE for variant in _STAND_IN_VARIANTS)
    info = ModelInfo(
        name=name,
        family="espeak",
        path=synthesiser.path,
        backend="espeak-ng",
        device="CPU",
        precision="int16",
        weight_format="none",
        languages=languages,
        tasks=("speak",),
        default_language=DEFAULT_VOICE,
        voices=voices,
        stand_ins=tuple(voice for voice in stand_ins if voice in voices) or voices,
        sample_rate=synthesiser.rate,
    )
    report(f"{name}: eSpeak NG (GPL-3.0) speaks {len(languages)} languages, ready in {time.monotonic() - began:.1f} s")
    return EspeakSession(info, synthesiser, slots)
