"""Antiphon: a speech model server on OpenVINO. The public names are imported on first use."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING

from antiphon._version import __version__

if TYPE_CHECKING:
    from antiphon.errors import AntiphonError
    from antiphon.local import Model, load
    from antiphon.types.results import ModelInfo, Segment, Transcript, Word

# `import openvino` sends a usage event to Google Analytics with this package, and NNCF does when it is used. Marked as missing,
# it is replaced by an empty class in both. A program that imports OpenVINO before Antiphon decides that by itself.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

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
