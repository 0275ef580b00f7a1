"""What a model can be asked: options are checked and brought to one spelling before any work is done.

It must not know HTTP; errors name the field as the OpenAI API spells it.
"""

from __future__ import annotations

import math
from dataclasses import replace

from antiphon.errors import InvalidParameter
from antiphon.languages import normalise
from antiphon.types import ModelInfo, TranscribeOptions


def check_options(info: ModelInfo, options: TranscribeOptions) -> TranscribeOptions:
    """The options as `info`'s model takes them, or `InvalidParameter` naming the field and the valid values."""
    if options.task not in info.tasks:
        raise InvalidParameter(
            f"The model {info.name!r} cannot {options.task}; it can: {', '.join(info.tasks)}.",
            param="model",
            code="unsupported_task",
        )
    if not (math.isfinite(options.temperature) and 0.0 <= options.temperature <= 1.0):
        raise InvalidParameter(f"temperature must be from 0 to 1, not {options.temperature}.", param="temperature")
    if options.max_new_tokens is not None and options.max_new_tokens < 1:
        raise InvalidParameter(
            f"max_new_tokens must be at least 1, not {options.max_new_tokens}.", param="max_new_tokens"
        )
    if not 0 <= options.seed < 2**63:
        raise InvalidParameter(f"seed must be from 0 to {2**63 - 1}, not {options.seed}.", param="seed")
    return replace(options, language=_language(info, options.language))


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
