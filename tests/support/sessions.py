"""Load a model for a test."""

from __future__ import annotations

from typing import Any

from antiphon.loader import LoadOptions, load_sessions
from antiphon.models.session import AnySession

# Properties for computing in f32 on every processor. With VNNI or AMX, OpenVINO otherwise rounds the activations of layers with
# int8 or int4 weights to 8 bits, even where the precision is f32.
EXACT_F32 = {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}


def load_session(name_or_folder: str, **options: Any) -> AnySession:
    """The first session of a model; `options` are those of `LoadOptions`."""
    return load_sessions(str(name_or_folder), LoadOptions(**options))[0]
