"""The protocols of weight sources: what a new weight format must implement."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

from antiphon.models.whisper.config import read_config
from antiphon.types.options import WeightFormat
from antiphon.weights.quantized import QuantizedWeights
from antiphon.weights.safetensors import open_checkpoint
from antiphon.weights.source import StoredTensors, Weights
from tests.support.encoder_states import compile_exact, whisper_states_model
from tests.support.tiny_whisper import MELS, write_tiny


class ArrayTensors:
    """The smallest reader of a format: tensors that are in memory already."""

    def __init__(self, tensors: dict[str, NDArray[np.float32]]) -> None:
        self._tensors = tensors

    def has(self, name: str) -> bool:
        return name in self._tensors

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensors[name].shape

    def stored(self, name: str) -> str:
        return "fp32"

    def array(self, name: str) -> NDArray[np.float32]:
        return self._tensors[name]


@pytest.mark.parametrize("weight_format", ["auto", "fp16", "int8"])
def test_stored_tensors_are_all_that_a_new_weight_format_implements(
    tmp_path: Path, weight_format: WeightFormat
) -> None:
    folder = write_tiny(tmp_path / "tiny")
    config = read_config(folder)
    tensors: StoredTensors = ArrayTensors(load_file(folder / "model.safetensors"))
    features = np.random.default_rng(0).standard_normal((1, MELS, 3000)).astype(np.float32)

    def states(weights: Weights) -> NDArray[np.float32]:
        result: NDArray[np.float32] = compile_exact(whisper_states_model(config, weights))(features)["states"]
        return result

    with open_checkpoint(folder, weight_format) as checkpoint:
        np.testing.assert_array_equal(states(QuantizedWeights(tensors, weight_format)), states(checkpoint))
