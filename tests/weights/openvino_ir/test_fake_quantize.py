"""Exports with 8-bit activations: the fake quantization of each layer's input is found, or the file is not native."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from antiphon.errors import NotNative
from antiphon.weights.openvino_ir.graph import read_ir_graph
from antiphon.weights.openvino_ir.source import IrPart, IrTensors, IrWeights, open_part
from tests.support.small_ir import ROWS, WIDTH, Floats, draw, inputs, linear, named, write

MATRIX = draw(WIDTH, WIDTH)
LOW, HIGH, LEVELS = -1.5, 2.0, 256


def fake_quantized(given: ov.Node, scale: float = 1.0, low: Floats | float = LOW) -> ov.Node:
    ends = [ops.constant(np.float32(scale) * np.asarray(end, np.float32)) for end in (low, HIGH, low, HIGH)]
    return ops.fake_quantize(given, *ends, LEVELS)


def on_levels(values: Floats, scale: float = 1.0) -> Floats:
    """The values after fake quantization."""
    step = scale * (HIGH - LOW) / (LEVELS - 1)
    return np.clip(np.rint((values - scale * LOW) / step), 0, LEVELS - 1) * step + scale * LOW


def source(path: Path) -> IrWeights:
    return IrWeights(IrTensors(path.parent, [IrPart(read_ir_graph(path, quantized_inputs=True), "", "")], {}))


def quantized_input(weights: IrWeights, module: str, values: Floats, port: int = 0) -> Floats:
    """The input of a module for `values`."""
    given = ops.parameter(list(values.shape), ov.Type.f32)
    node = weights.quantized_input(module, given, port)
    model = ov.Model([ops.result(node)], [given], "quantized_input")
    return np.array(ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(values)[0])


def attention(query: ov.Node, key: ov.Node) -> ov.Node:
    """Attention of two heads as a module of an export has it; the keys are the values too."""
    heads = ops.constant(np.array([0, 0, 2, WIDTH // 2]))
    sides = [ops.transpose(ops.reshape(side, heads, True), ops.constant([0, 2, 1, 3])) for side in (query, key, key)]
    mixed = ops.scaled_dot_product_attention(*sides, ops.constant(np.float32(0)), ops.constant(np.float32(1)), False)
    return named(mixed, "__module.layers.0.self_attn/aten::scaled_dot_product_attention/ScaledDotProductAttention")


def test_layer_input_is_fake_quantized(tmp_path: Path) -> None:
    given = inputs()
    both = (linear(fake_quantized(given), "fc1", ops.constant(MATRIX)), linear(given, "fc2", ops.constant(MATRIX)))
    weights = source(write(tmp_path, ops.add(*both), given))
    values = draw(2, 3, WIDTH, seed=1)
    np.testing.assert_allclose(quantized_input(weights, "fc1", values), on_levels(values), atol=1e-5)
    np.testing.assert_array_equal(quantized_input(weights, "fc2", values), values)


def test_layers_with_the_same_input_share_one_fake_quantize(tmp_path: Path) -> None:
    given = inputs()
    shared = fake_quantized(given)
    both = (linear(shared, "fc1", ops.constant(MATRIX)), linear(shared, "fc2", ops.constant(MATRIX)))
    weights = source(write(tmp_path, ops.add(*both), given))
    hidden = inputs()
    assert weights.quantized_input("fc1", hidden).get_name() == weights.quantized_input("fc2", hidden).get_name()


def test_smoothquant_factor_comes_before_fake_quantize(tmp_path: Path) -> None:
    given, factor = inputs(), 1 + np.abs(draw(1, 1, WIDTH, seed=2))
    smoothed = ops.multiply(given, ops.constant(factor))
    weights = source(write(tmp_path, linear(fake_quantized(smoothed), "fc1", ops.constant(MATRIX)), given))
    values = draw(2, 3, WIDTH, seed=3)
    np.testing.assert_allclose(quantized_input(weights, "fc1", values), on_levels(values * factor), atol=1e-5)


def test_gain_of_a_norm_is_not_a_smoothquant_factor(tmp_path: Path) -> None:
    given = inputs()
    normed = ops.mvn(given, ops.constant(np.array([-1])), True, 1e-5, "inside_sqrt")
    normed = ops.multiply(named(normed, "__module.norm/aten::layer_norm/MVN"), ops.constant(1 + draw(1, 1, WIDTH)))
    weights = source(write(tmp_path, linear(fake_quantized(normed), "fc1", ops.constant(MATRIX)), given))
    values = draw(1, 2, WIDTH, seed=4)
    np.testing.assert_allclose(quantized_input(weights, "fc1", values), on_levels(values), atol=1e-5)


def test_fake_quantize_of_a_query_before_scaling_and_splitting_is_found(tmp_path: Path) -> None:
    given = inputs()
    query = ops.multiply(
        fake_quantized(linear(given, "layers.0.self_attn.q_proj", ops.constant(MATRIX))), np.float32(0.5)
    )
    weights = source(write(tmp_path, attention(query, given), given))
    values = draw(1, 2, 3, WIDTH // 2, seed=5)
    module = "layers.0.self_attn"
    np.testing.assert_allclose(quantized_input(weights, module, values), on_levels(values, scale=0.5), atol=1e-5)
    np.testing.assert_array_equal(quantized_input(weights, module, values, port=1), values)


def test_layer_with_8_bit_input_keeps_its_matrix_in_8_bits(tmp_path: Path) -> None:
    """While all other matrices are expanded to float32, as for an encoder that computes in it."""
    given = inputs()
    kept = ops.multiply(ops.convert(ops.constant(np.ones((ROWS, WIDTH), np.int8)), "f32"), ops.constant(draw(ROWS, 1)))
    both = (linear(fake_quantized(given), "fc1", kept), linear(given, "fc2", kept))
    weights = source(write(tmp_path, ops.add(*both), given)).expanded()
    assert weights.matrix("fc1.weight").get_type_name() == "Multiply"
    assert weights.matrix("fc2.weight").get_type_name() == "Constant"


def test_fake_quantize_elsewhere_than_at_layer_inputs_is_not_native(tmp_path: Path) -> None:
    given = inputs()
    layer = linear(fake_quantized(given), "fc1", ops.constant(MATRIX))
    for name, output in {
        "added": ops.add(fake_quantized(given), layer),
        "a range a channel": linear(
            fake_quantized(given, low=-1 - np.abs(draw(1, 1, WIDTH))), "fc1", ops.constant(MATRIX)
        ),
        "the output": fake_quantized(layer),
    }.items():
        path = write(tmp_path / name, output, given)
        with pytest.raises(NotNative, match="activations are quantized"):
            read_ir_graph(path, quantized_inputs=True)


def test_fake_quantize_is_not_native_for_a_family_without_quantized_inputs(tmp_path: Path) -> None:
    given = inputs()
    path = write(tmp_path, linear(fake_quantized(given), "fc1", ops.constant(MATRIX)), given)
    with pytest.raises(NotNative, match="activations are quantized"):
        open_part(path, "", "fc1")
    assert open_part(path, "", "fc1", quantized_inputs=True).root == ""
