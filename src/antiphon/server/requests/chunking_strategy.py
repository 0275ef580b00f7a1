"""How a client spells `chunking_strategy`: as OpenAI's SDKs write it into a form, or as people do.

It must not know what voice activity is made of.
"""

from __future__ import annotations

import json
import math
import re

from starlette.datastructures import FormData

from antiphon.errors import InvalidParameter
from antiphon.types.options import VadOptions

_PARAM = "chunking_strategy"
_NESTED = re.compile(r"chunking_strategy\[(\w+)\]")
_KNOWN = ("type", "threshold", "prefix_padding_ms", "silence_duration_ms")
_LONGEST = 10_000  # ms; more is not what either of the two can be meant for


def read_chunking(form: FormData) -> VadOptions | None:
    """What `chunking_strategy` asks for: None if nothing, "auto", or an object of the type `server_vad`.

    The object comes as JSON or as fields of its own (`chunking_strategy[threshold]`). What it leaves out is as it is
    without it.
    """
    fields: dict[str, object] = {
        found[1]: value
        for key, value in form.multi_items()
        if isinstance(value, str) and (found := _NESTED.fullmatch(key))
    }
    given = [value.strip() for value in form.getlist(_PARAM) if isinstance(value, str)]
    if not fields and given and given[-1] not in ("", "null"):
        if given[-1] == "auto":
            return VadOptions("always")
        fields = _object(given[-1])
    return _options(fields) if fields else None


def _object(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not value:
        raise InvalidParameter(
            f'{_PARAM} {text!r} is not available; use auto, or JSON such as {{"type": "server_vad"}}.', param=_PARAM
        )
    return value


def _options(fields: dict[str, object]) -> VadOptions:
    if fields.get("type") != "server_vad":
        raise InvalidParameter(f"{_PARAM} must have the type server_vad, not {fields.get('type')!r}.", param=_PARAM)
    for name in fields:
        if name not in _KNOWN:
            raise InvalidParameter(f"{_PARAM} has no {name!r}; it has: {', '.join(_KNOWN)}.", param=_PARAM)
    usual = VadOptions()
    threshold = _number(fields, "threshold", 1)
    padding = _number(fields, "prefix_padding_ms", _LONGEST)
    silence = _number(fields, "silence_duration_ms", _LONGEST)
    return VadOptions(
        "always",
        usual.threshold if threshold is None else threshold,
        usual.padding if padding is None else padding / 1000,
        usual.silence if silence is None else silence / 1000,
    )


def _number(fields: dict[str, object], name: str, most: float) -> float | None:
    value = fields.get(name)
    if value is None:
        return None
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except ValueError:
        number = math.nan
    if not 0.0 <= number <= most:
        raise InvalidParameter(f"{_PARAM}: {name} must be from 0 to {most}, not {value!r}.", param=_PARAM)
    return number
