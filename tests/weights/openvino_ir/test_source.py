"""OpenVINO folders as weight sources: every format, what exporters fold or leave out, and errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from antiphon.errors import ConfigError, NotNative
from antiphon.types.options import WeightFormat
from antiphon.weights.openvino_ir.graph import read_ir_graph
from antiphon.weights.openvino_ir.source import IrPart, IrTensors, IrWeights, open_part
from antiphon.weights.source import dequantize, quantize
from tests.support.small_ir import FILE, ROWS, WIDTH, draw, evaluate, inputs, linear, named, stored, write

MATRIX = draw(ROWS, WIDTH)
NAME = "decoder.fc1.weight"
FORMS = ("fp32", "fp16", "int8", "int8_sym", "int4")


def source(path: Path, weight_format: WeightFormat = "auto") -> IrWeights:
    return IrWeights(IrTensors(path.parent, [IrPart(read_ir_graph(path), "", "")], {}), weight_format)


def write_linear(folder: Path, form: str = "fp32") -> tuple[Path, np.ndarray]:
    """One linear layer without a bias, and the values of its matrix."""
    given = inputs()
    matrix, values = stored(MATRIX, NAME, form)
    return write(folder, linear(given, "decoder.fc1", matrix), given), values


@pytest.mark.parametrize("form", FORMS)
def test_matrix_rows_and_array_have_the_same_values_in_every_format(tmp_path: Path, form: str) -> None:
    path, values = write_linear(tmp_path, form)
    weights = source(path)
    assert np.abs(values - MATRIX).max() < 0.5
    assert weights.has(NAME)
    assert weights.shape(NAME) == (ROWS, WIDTH)
    assert weights.format_of(NAME) == form.removesuffix("_sym")
    np.testing.assert_allclose(weights.array(NAME), values, rtol=1e-6)
    for one in (weights.matrix(NAME), weights.tensor(NAME), weights.kernel(NAME), weights.expanded().matrix(NAME)):
        np.testing.assert_allclose(evaluate(one), values, rtol=1e-3)
    rows = weights.rows(NAME, ops.constant(np.array([[5, 0], [5, 7]], np.int32)).output(0))
    np.testing.assert_allclose(evaluate(rows), values[[[5, 0], [5, 7]]], rtol=1e-3)


@pytest.mark.parametrize("form", ["int8", "int8_sym", "int4"])
def test_compressed_matrix_stays_compressed_in_the_graph(tmp_path: Path, form: str) -> None:
    path, _ = write_linear(tmp_path, form)
    weights = source(path)
    kinds = [node.get_type_name() for node in ov.Model([ops.result(weights.matrix(NAME))], [], "m").get_ops()]
    assert "Multiply" in kinds
    assert weights.expanded().matrix(NAME).get_type_name() == "Constant"


def test_rows_are_looked_up_before_decompression(tmp_path: Path) -> None:
    path, _ = write_linear(tmp_path, "int8")
    indices = ops.parameter([-1, -1], ov.Type.i32)
    rows = source(path).rows(NAME, indices.output(0))
    gathers = [
        node for node in ov.Model([ops.result(rows)], [indices], "m").get_ops() if node.get_type_name() == "Gather"
    ]
    assert {str(node.get_output_element_type(0)) for node in gathers} == {"<Type: 'uint8_t'>", "<Type: 'float16'>"}


@pytest.mark.parametrize("form", ["fp32", "int8"])
def test_another_weight_format_quantizes_anew(tmp_path: Path, form: str) -> None:
    path, values = write_linear(tmp_path, form)
    assert source(path, "fp32").format_of(NAME) == "fp32"
    np.testing.assert_allclose(evaluate(source(path, "fp32").matrix(NAME)), values, rtol=1e-6)
    half = source(path, "fp16").matrix(NAME)
    np.testing.assert_array_equal(evaluate(half), values.astype(np.float16).astype(np.float32))
    expected = values if form == "int8" else dequantize(*quantize(values))  # stored int8 is kept as it is
    np.testing.assert_allclose(evaluate(source(path, "int8").matrix(NAME)), expected, rtol=1e-3)


def test_tied_matrices_share_one_node(tmp_path: Path) -> None:
    given, ids = inputs(), ops.parameter([-1, -1], ov.Type.i32)
    matrix, _ = stored(draw(WIDTH, WIDTH), "decoder.embed_tokens.weight", "int8")
    found = ops.gather(matrix, ids, ops.constant(np.int32(0)))
    found = named(found, "__module.decoder.embed_tokens/aten::embedding/Gather")
    weights = source(write(tmp_path, linear(ops.add(given, found), "proj_out", matrix), given, ids))
    kept = [weights.matrix(name) for name in ("decoder.embed_tokens.weight", "proj_out.weight")]
    assert kept[0].get_name() == kept[1].get_name()


def test_matrix_stored_transposed_is_transposed_back(tmp_path: Path) -> None:
    given = inputs()
    product = linear(given, "decoder.fc1", ops.constant(np.ascontiguousarray(MATRIX.T)), transposed=False)
    weights = source(write(tmp_path, product, given))
    assert weights.shape(NAME) == (ROWS, WIDTH)
    np.testing.assert_array_equal(weights.array(NAME), MATRIX)
    np.testing.assert_array_equal(evaluate(weights.matrix(NAME)), MATRIX)


@pytest.mark.parametrize("scale", [None, 0.25, 12**-0.5])
def test_scale_after_a_layer_is_divided_out_of_its_bias(tmp_path: Path, scale: float | None) -> None:
    """Attention scales its queries; the exporter moves the scale before the bias, and scales the bias."""
    given, bias = inputs(), draw(ROWS, seed=1)
    product = linear(given, "decoder.fc1", ops.constant(MATRIX))
    factor = np.float32(scale or 1)
    if scale is not None:
        product = ops.multiply(product, ops.constant(factor.reshape(1, 1, 1)))
    weights = source(write(tmp_path, ops.add(product, ops.constant((bias * factor)[None, None])), given))
    assert weights.has("decoder.fc1.bias")
    assert weights.shape("decoder.fc1.bias") == (ROWS,)
    np.testing.assert_allclose(weights.array("decoder.fc1.bias"), bias, rtol=1e-6)


def test_bias_of_zeros_does_not_exist(tmp_path: Path) -> None:
    path, _ = write_linear(tmp_path)
    weights = source(path)
    assert not weights.has("decoder.fc1.bias")
    np.testing.assert_array_equal(weights.array("decoder.fc1.bias"), np.zeros(ROWS))


def test_constant_added_to_many_rows_is_not_a_bias(tmp_path: Path) -> None:
    given = inputs()
    table = ops.add(linear(given, "decoder.fc1", ops.constant(MATRIX)), ops.constant(draw(1, 5, ROWS)))
    assert not source(write(tmp_path, table, given)).has("decoder.fc1.bias")


def norm(given: ov.Node, gain: np.ndarray | None, shift: np.ndarray | None) -> ov.Node:
    node = ops.mvn(given, ops.constant(np.array([-1])), True, 1e-5, "inside_sqrt")
    node = named(node, "__module.decoder.layer_norm/aten::layer_norm/MVN")
    if gain is not None:
        node = ops.multiply(node, ops.constant(gain[None, None]))
    return node if shift is None else ops.add(node, ops.constant(shift[None, None]))


@pytest.mark.parametrize("gain", [None, 1 + draw(WIDTH)])
@pytest.mark.parametrize("shift", [None, draw(WIDTH, seed=2)])
def test_norm_has_gain_and_shift_even_if_left_out(
    tmp_path: Path, gain: np.ndarray | None, shift: np.ndarray | None
) -> None:
    given = inputs()
    weights = source(write(tmp_path, linear(norm(given, gain, shift), "proj_out", ops.constant(MATRIX)), given))
    assert weights.has("decoder.layer_norm.weight")
    assert weights.has("decoder.layer_norm.bias")
    np.testing.assert_array_equal(weights.array("decoder.layer_norm.weight"), np.ones(WIDTH) if gain is None else gain)
    np.testing.assert_array_equal(weights.array("decoder.layer_norm.bias"), np.zeros(WIDTH) if shift is None else shift)


def test_layers_are_found_by_their_constants_names(tmp_path: Path) -> None:
    given = inputs()
    matrix, values = stored(MATRIX, NAME, "int8")
    weights = source(
        write(tmp_path, ops.add(ops.matmul(given, matrix, False, True), ops.constant(draw(1, 1, ROWS))), given)
    )
    np.testing.assert_allclose(weights.array(NAME), values, rtol=1e-6)
    np.testing.assert_array_equal(weights.array("decoder.fc1.bias"), draw(ROWS))


def test_root_is_the_exporters_prefix(tmp_path: Path) -> None:
    path, _ = write_linear(tmp_path)
    part = open_part(path, "model.", "model.fc1")
    assert (part.prefix, part.root, part.inner("model.fc1.weight")) == ("model.", "decoder.", NAME)
    with pytest.raises(NotNative, match=r"no operation is named after the module model\.fc2"):
        open_part(path, "model.", "model.fc2")


def test_unidentified_tensor_is_not_native_and_named(tmp_path: Path) -> None:
    path, _ = write_linear(tmp_path)
    weights = source(path)
    assert not weights.has("decoder.fc2.weight")
    with pytest.raises(NotNative, match=r"tensor decoder\.fc2\.weight cannot be found"):
        weights.matrix("decoder.fc2.weight")


def test_scale_before_a_layer_is_not_native(tmp_path: Path) -> None:
    """Activation-aware compression multiplies what goes into a layer, and divides its matrix."""
    given, scales = inputs(), ops.constant(1 + draw(1, 1, WIDTH))
    before = write(tmp_path, linear(ops.multiply(given, scales), "decoder.fc1", ops.constant(MATRIX)), given)
    with pytest.raises(NotNative, match="scales what goes into"):
        source(before).matrix(NAME)
    given = inputs()
    product = linear(given, "decoder.fc1", ops.constant(MATRIX))
    scaled_output = write(tmp_path, ops.multiply(product, ops.constant(1 + draw(1, 1, ROWS))), given)
    with pytest.raises(NotNative, match="scales what"):
        source(scaled_output).has("decoder.fc1.bias")


def test_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    path, _ = write_linear(tmp_path)
    path.with_suffix(".bin").rename(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=r"openvino_decoder_model\.bin: no such file"):
        read_ir_graph(path)
    (tmp_path / "elsewhere").rename(path.with_suffix(".bin"))
    (tmp_path / FILE).write_text("<net")
    with pytest.raises(ConfigError, match=r"openvino_decoder_model\.xml: cannot be read as an OpenVINO model"):
        read_ir_graph(path)
