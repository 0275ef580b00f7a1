"""Says in words what a value must be, from the errors of pydantic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# What pydantic's error types ask for.
_KINDS = {
    "bool_parsing": "true or false",
    "dict_type": "a valid dictionary",
    "finite_number": "a finite number",
    "float_parsing": "a valid number",
    "float_type": "a valid number",
    "int_from_float": "a valid integer, got a number with a fractional part",
    "int_parsing": "a valid integer",
    "int_type": "a valid integer",
    "string_type": "a valid string",
}
_BOUNDS = {
    "greater_than": ("greater than", "gt"),
    "greater_than_equal": ("greater than or equal to", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("less than or equal to", "le"),
}


def requirement(wrong: Mapping[str, Any]) -> str:
    """What a value must be, from one of the `errors()` of a pydantic ValidationError: "it must be a valid integer"."""
    kind, context = wrong["type"], wrong.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"it must be {context['expected']}"
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return f"it must be {words} {context[key]:g}"
    return f"it must be {_KINDS[kind]}" if kind in _KINDS else str(wrong["msg"])


def one_of(choices: Sequence[object]) -> str:
    """What a value must be that is one of some words."""
    return f"it must be {'one of ' if len(choices) > 1 else ''}{', '.join(map(str, choices))}"
