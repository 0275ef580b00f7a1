"""Load a model for a test."""

from __future__ import annotations

from typing import Any

from antiphon.loader import LoadOptions, load_sessions
from antiphon.models.session import AnySession


def load_session(name_or_folder: str, **options: Any) -> AnySession:
    """The first session of a model; `options` are those of `LoadOptions`."""
    return load_sessions(str(name_or_folder), LoadOptions(**options))[0]
