"""Start the helper process of the installed eSpeak NG library: its voices, and the ones that OpenAI's voice names stand for."""

from __future__ import annotations

import importlib.util
import re
import time

from antiphon.errors import ConfigError
from antiphon.models.espeak.session import EspeakSession
from antiphon.models.espeak.synthesiser import Synthesiser
from antiphon.models.folder import ModelFolder
from antiphon.runtime.openvino import Device
from antiphon.types.options import Report, WeightFormat
from antiphon.types.results import ModelInfo

DEFAULT_VOICE = "en-us"

# The variants for OpenAI's thirteen voice names in alphabetical order: the plain voice, then male and female variants to
# match the names.
_OPENAI_VARIANTS = ("", "m1", "m2", "m3", "f1", "m4", "m5", "f2", "f3", "m6", "f4", "f5", "m7")

_INSTALL = "espeak: the eSpeak NG library is not installed; pip install 'antiphon[espeak]' brings it (GPL-3.0)."

# The numbered male and female variants; the others are whispers, robots and the like.
_PLAIN_VARIANT = re.compile(r"[mf]\d")


def load(
    folder: ModelFolder, *, name: str, runtime: Device, weight_format: WeightFormat, slots: int, report: Report
) -> tuple[EspeakSession, ...]:
    """Start the helper with the installed library; there are no weights, so folder, runtime and format have no effect.

    The seed of a request has no effect either: the library's oscillators run on between sentences, so that repeated
    sentences differ slightly. The same sentences in the same order after `load` are the same each time. Raises ConfigError if
    the package is not installed.
    """
    began = time.monotonic()
    if importlib.util.find_spec("espeakng_loader") is None:  # finds it without an import
        raise ConfigError(_INSTALL)
    synthesiser = Synthesiser()
    languages = synthesiser.voices.languages
    variants = tuple(
        f"{DEFAULT_VOICE}+{variant}" for variant in synthesiser.voices.variants if _PLAIN_VARIANT.fullmatch(variant)
    )
    voices = (DEFAULT_VOICE, *(code for code in languages if code != DEFAULT_VOICE), *variants)
    openai_voices = tuple(f"{DEFAULT_VOICE}+{variant}" if variant else DEFAULT_VOICE for variant in _OPENAI_VARIANTS)
    info = ModelInfo(
        name=name,
        family="espeak",
        path=synthesiser.voices.path,
        backend="espeak-ng",
        device="CPU",
        precision="int16",
        weight_format="none",
        languages=languages,
        tasks=("speak",),
        default_language=DEFAULT_VOICE,
        voices=voices,
        openai_voices=tuple(voice for voice in openai_voices if voice in voices) or voices,
        sample_rate=synthesiser.voices.rate,
    )
    report(f"{name}: eSpeak NG (GPL-3.0) speaks {len(languages)} languages, ready in {time.monotonic() - began:.1f} s")
    return (EspeakSession(info, synthesiser, slots),)
