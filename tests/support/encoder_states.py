"""The encoders' last hidden states, which our own graphs keep inside: as models of their own, for tests that compare them."""

from __future__ import annotations

import openvino as ov

from antiphon.models import layers as parts
from antiphon.models.speecht5 import graph as speecht5
from antiphon.models.speecht5.config import SpeechT5Config
from antiphon.models.whisper import graph as whisper
from antiphon.models.whisper.config import WhisperConfig
from antiphon.weights.source import WeightSource
from tests.support.sessions import EXACT_F32


def whisper_states_model(config: WhisperConfig, weights: WeightSource) -> ov.Model:
    """`features [1, mels, 3000]` -> `states [1, 1500, width]`."""
    features = parts.parameter([1, config.mels, 2 * config.source_positions], "f32", "features")
    return parts.build([(whisper.encoder_states(features, config, weights), "states")], [features], "states")


def speecht5_states_model(config: SpeechT5Config, weights: WeightSource) -> ov.Model:
    """`ids [b, n]`, `distances [n, n]`, `mask [b, 1, 1, n]` -> `states [b, n, width]`."""
    ids = parts.parameter([-1, -1], "i32", "ids")
    distances = parts.parameter([-1, -1], "i32", "distances")
    mask = parts.parameter([-1, 1, 1, -1], "f32", "mask")
    states = speecht5.encoder_states(ids, distances, mask, config, weights)
    return parts.build([(states, "states")], [ids, distances, mask], "states")


def compile_exact(model: ov.Model) -> ov.CompiledModel:
    """Compile for computing in f32, whatever the processor."""
    return ov.Core().compile_model(model, "CPU", EXACT_F32)
