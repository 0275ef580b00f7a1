"""Antiphon: a speech model server on OpenVINO. The public names are imported on first use."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from antiphon._version import __version__

if TYPE_CHECKING:
    from antiphon.errors import AntiphonError
    from antiphon.local import Model, load
    from antiphon.types.results import ModelInfo, Segment, Transcript, Word

__all__ = ["AntiphonError", "Model", "ModelInfo", "Segment", "Transcript", "Word", "__version__", "load"]


def __getattr__(name: str) -> object:
    modules = {
        "AntiphonError": "antiphon.errors",
        "Model": "antiphon.local",
        "ModelInfo": "antiphon.types.results",
        "Segment": "antiphon.types.results",
        "Transcript": "antiphon.types.results",
        "Word": "antiphon.types.results",
        "load": "antiphon.local",
    }
    if name not in modules:
        raise AttributeError(f"module 'antiphon' has no attribute {name!r}")
    return getattr(import_module(modules[name]), name)
