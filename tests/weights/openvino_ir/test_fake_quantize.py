"""Exports that round activations too: what goes into each layer is told, however far away it stands, or the file is refused."""

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


def rounded(given: ov.Node, scale: float = 1.0, low: Floats | float = LOW) -> ov.Node:
    ends = [ops.constant(np.float32(scale) * np.asarray(end, np.float32)) for end in (low, HIGH, low, HIGH)]
    return ops.fake_quantize(given, *ends, LEVELS)


def on_levels(values: Floats, scale: float = 1.0) -> Floats:
    """What rounding leaves of values."""
    step = scale * (HIGH - LOW) / (LEVELS - 1)
    return np.clip(np.rint((values - scale * LOW) / step), 0, LEVELS - 1) * step + scale * LOW


def source(path: Path) -> IrWeights:
    return IrWeights(IrTensors(path.parent, [IrPart(read_ir_graph(path, quantized_inputs=True), "", "")], {}))


def quantized_input(weights: IrWeights, module: str, values: Floats, port: int = 0) -> Floats:
    """What a module is given, where `values` come in."""
    given = ops.parameter(list(values.shape), ov.Type.f32)
    node = weights.quantized_input(module, given, port)
    model = ov.Model([ops.result(node)], [given], "quantized_input")
    return np.array(ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(values)[0])


def attention(query: ov.Node, key: ov.Node) -> ov.Node:
    """As a module of two heads writes it, over keys that are values too."""
    heads = ops.constant(np.array([0, 0, 2, WIDTH // 2]))
    sides = [ops.transpose(ops.reshape(side, heads, True), ops.constant([0, 2, 1, 3])) for side in (query, key, key)]
    mixed = ops.scaled_dot_product_attention(*sides, ops.constant(np.float32(0)), ops.constant(np.float32(1)), False)
    return named(mixed, "__module.layers.0.self_attn/aten::scaled_dot_product_attention/ScaledDotProductAttention")


def test_what_goes_into_a_layer_is_on_levels(tmp_path: Path) -> None:
    given = inputs()
    both = (linear(rounded(given), "fc1", ops.constant(MATRIX)), linear(given, "fc2", ops.constant(MATRIX)))
    weights = source(write(tmp_path, ops.add(*both), given))
    values = draw(2, 3, WIDTH, seed=1)
    np.testing.assert_allclose(quantized_input(weights, "fc1", values), on_levels(values), atol=1e-5)
    np.testing.assert_array_equal(quantized_input(weights, "fc2", values), values)


def test_layers_that_read_the_same_share_it(tmp_path: Path) -> None:
    given = inputs()
    shared = rounded(given)
    both = (linear(shared, "fc1", ops.constant(MATRIX)), linear(shared, "fc2", ops.constant(MATRIX)))
    weights = source(write(tmp_path, ops.add(*both), given))
    hidden = inputs()
    assert weights.quantized_input("fc1", hidden).get_name() == weights.quantized_input("fc2", hidden).get_name()


def test_a_smoothed_layer_is_smoothed_before_it_is_rounded(tmp_path: Path) -> None:
    given, factor = inputs(), 1 + np.abs(draw(1, 1, WIDTH, seed=2))
    smoothed = ops.multiply(given, ops.constant(factor))
    weights = source(write(tmp_path, linear(rounded(smoothed), "fc1", ops.constant(MATRIX)), given))
    values = draw(2, 3, WIDTH, seed=3)
    np.testing.assert_allclose(quantized_input(weights, "fc1", values), on_levels(values * factor), atol=1e-5)


def test_the_gain_of_a_norm_is_not_taken_for_smoothing(tmp_path: Path) -> None:
    given = inputs()
    normed = ops.mvn(given, ops.constant(np.array([-1])), True, 1e-5, "inside_sqrt")
    normed = ops.multiply(named(normed, "__module.norm/aten::layer_norm/MVN"), ops.constant(1 + draw(1, 1, WIDTH)))
    weights = source(write(tmp_path, linear(rounded(normed), "fc1", ops.constant(MATRIX)), given))
    values = draw(1, 2, WIDTH, seed=4)
    np.testing.assert_allclose(quantized_input(weights, "fc1", values), on_levels(values), atol=1e-5)


def test_attention_reads_a_query_that_was_rounded_before_it_was_scaled_and_split(tmp_path: Path) -> None:
    given = inputs()
    query = ops.multiply(rounded(linear(given, "layers.0.self_attn.q_proj", ops.constant(MATRIX))), np.float32(0.5))
    weights = source(write(tmp_path, attention(query, given), given))
    values = draw(1, 2, 3, WIDTH // 2, seed=5)
    module = "layers.0.self_attn"
    np.testing.assert_allclose(quantized_input(weights, module, values), on_levels(values, scale=0.5), atol=1e-5)
    np.testing.assert_array_equal(quantized_input(weights, module, values, port=1), values)


def test_a_layer_that_reads_levels_keeps_its_matrix_in_8_bits(tmp_path: Path) -> None:
    """Where all others are handed out in float32, as for an encoder that computes in it."""
    given = inputs()
    kept = ops.multiply(ops.convert(ops.constant(np.ones((ROWS, WIDTH), np.int8)), "f32"), ops.constant(draw(ROWS, 1)))
    both = (linear(rounded(given), "fc1", kept), linear(given, "fc2", kept))
    weights = source(write(tmp_path, ops.add(*both), given)).expanded()
    assert weights.matrix("fc1.weight").get_type_name() == "Multiply"
    assert weights.matrix("fc2.weight").get_type_name() == "Constant"


def test_what_cannot_be_put_in_its_place_is_for_another_backend(tmp_path: Path) -> None:
    given = inputs()
    layer = linear(rounded(given), "fc1", ops.constant(MATRIX))
    for name, output in {
        "added": ops.add(rounded(given), layer),
        "a range a channel": linear(rounded(given, low=-1 - np.abs(draw(1, 1, WIDTH))), "fc1", ops.constant(MATRIX)),
        "the output": rounded(layer),
    }.items():
        path = write(tmp_path / name, output, given)
        with pytest.raises(NotNative, match="activations are quantized"):
            read_ir_graph(path, quantized_inputs=True)


def test_a_family_that_does_not_ask_what_goes_into_its_layers_is_not_given_such_a_file(tmp_path: Path) -> None:
    given = inputs()
    path = write(tmp_path, linear(rounded(given), "fc1", ops.constant(MATRIX)), given)
    with pytest.raises(NotNative, match="activations are quantized"):
        open_part(path, "", "fc1")
    assert open_part(path, "", "fc1", quantized_inputs=True).root == ""
