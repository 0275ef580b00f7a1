"""Generates docs/settings.md from the settings (scripts/docs --write)."""

from __future__ import annotations

from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from antiphon.environment import PREFIX
from antiphon.settings import Settings

PAGE = Path(__file__).with_name("settings.md")

HEAD = """# Settings

Generated from `src/antiphon/settings.py` by `scripts/docs --write`; do not edit by hand.

Each setting is a flag of `antiphon serve`, or of `antiphon` without a command (hyphens and underscores are
interchangeable), and an environment variable. A flag has precedence over the variable, the variable over the default.
Flags of true-or-false settings take no value.
An unknown flag or variable is an error that suggests the nearest name. The variables that Kubernetes sets for a Service
called antiphon are ignored.

| flag | environment | default | value | description |
|---|---|---|---|---|
"""

WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}


def takes(annotation: Any) -> str:
    """The valid values in words."""
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(annotation))
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType] or [annotation]
    return " or ".join(takes(kind) if get_origin(kind) is Literal else WORDS[kind] for kind in kinds)


def limits(metadata: list[Any]) -> str:
    """The bounds of a number, as in ", at least 1"."""
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return "".join(
        f", {word} {getattr(limit, key)}" for limit in metadata for key, word in words.items() if hasattr(limit, key)
    )


def render() -> str:
    """The page as Markdown."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = "none" if field.default is None else f"`{field.default}`"
        extra = field.json_schema_extra
        unit = f" of {extra['unit']}" if isinstance(extra, dict) and extra.get("unit") else ""
        cells = [
            f"`--{name}`",
            f"`{PREFIX}{name.upper()}`",
            default,
            f"{takes(field.annotation)}{unit}{limits(field.metadata)}",
            field.description or "",
        ]
        rows.append("| " + " | ".join(cells) + " |\n")
    return HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(render())
