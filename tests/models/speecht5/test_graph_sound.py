"""Upsampling as an ordinary convolution equals torch's transposed convolution."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from antiphon.models import layers as parts
from antiphon.models.speecht5.graph_sound import _upsample, batch_normed
from tests.support.tiny_speecht5 import SOUND, Tensors

INTO, OUT = 6, 3


class Arrays:
    """A source of a test's own arrays."""

    def __init__(self, tensors: Tensors) -> None:
        self._tensors = tensors

    def has(self, name: str) -> bool:
        return name in self._tensors

    def array(self, name: str) -> np.ndarray:
        return self._tensors[name]

    def quantized(self, array: np.ndarray, axis: int = 0) -> np.ndarray:
        return array


def compute(output: ov.Node, given: ov.Node, values: np.ndarray) -> np.ndarray:
    model = parts.build([(output, "made")], [given], "upsampling")
    made: np.ndarray = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([values])[0]
    return made


@pytest.mark.parametrize(
    ("rate", "size"), [(4, 8), (4, 4), (8, 16), (2, 6), (5, 9), (3, 7), (5, 11), (1, 1), (1, 3), (4, 14), (3, 3)]
)
@pytest.mark.parametrize("length", [1, 2, 13])
def test_upsampling_equals_the_transposed_convolution(rate: int, size: int, length: int) -> None:
    generator = np.random.default_rng(rate * 100 + size)
    kernel, bias = generator.standard_normal((INTO, OUT, size)), generator.standard_normal(OUT)
    weights = Arrays({"upsampler.0.weight": kernel.astype(np.float32), "upsampler.0.bias": bias.astype(np.float32)})
    values = generator.standard_normal((1, INTO, length)).astype(np.float32)
    half, given = (size - rate) // 2, parts.parameter([1, INTO, -1], "f32", "given")
    whole = ops.convolution_backprop_data(
        ops.prelu(given, ops.constant(np.array([SOUND.slope], np.float32))),
        ops.constant(weights.array("upsampler.0.weight")),
        [rate],
        None,
        [half],
        [half],
        [1],
        "explicit",
    )
    expected = compute(whole, given, values) + bias[None, :, None]
    given = parts.parameter([1, INTO, -1], "f32", "given")
    made = compute(_upsample(given, weights, 0, replace(SOUND, rates=(rate,), kernels=(size,))), given, values)
    assert made.shape == (1, OUT, length * rate)
    np.testing.assert_allclose(made, expected, rtol=0, atol=1e-5)


def test_folded_batch_norm_is_not_folded_again() -> None:
    kernel, bias = np.ones((2, 3, 5), np.float32), np.ones(2, np.float32)
    folded = batch_normed(Arrays({"layer.conv.weight": kernel, "layer.conv.bias": bias}), "layer")
    assert folded[0] is not None
    np.testing.assert_array_equal(folded[0], kernel)
    np.testing.assert_array_equal(folded[1], bias)
