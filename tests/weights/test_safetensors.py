"""Checkpoint folders as weight sources: stored formats, shards, int8, and errors."""

from __future__ import annotations

import json
from pathlib import Path

import ml_dtypes
import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops
from safetensors.numpy import save_file

from antiphon.errors import ConfigError, WeightError
from antiphon.weights.safetensors import open_checkpoint
from antiphon.weights.source import dequantize, quantize

MATRIX = np.random.default_rng(0).standard_normal((6, 10)).astype(np.float32)


def evaluate(node: ov.Node) -> np.ndarray:
    model = ov.Model([ops.result(node)], [], "constant")
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled([])[0])


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_every_stored_format_is_read(tmp_path: Path, dtype: type) -> None:
    stored = MATRIX.astype(dtype)
    save_file({"m": stored}, tmp_path / "model.safetensors")
    with open_checkpoint(tmp_path) as weights:
        assert weights.has("m")
        assert not weights.has("n")
        assert weights.shape("m") == (6, 10)
        np.testing.assert_array_equal(evaluate(weights.matrix("m")), stored.astype(np.float32))
        np.testing.assert_array_equal(evaluate(weights.tensor("m")), stored.astype(np.float32))


@pytest.mark.parametrize("expanded", [False, True])
def test_int8_matrix_rows_and_kernel_have_the_same_values(tmp_path: Path, expanded: bool) -> None:
    save_file({"m": MATRIX}, tmp_path / "model.safetensors")
    rounded = dequantize(*quantize(MATRIX))
    with open_checkpoint(tmp_path, "int8") as weights:
        source = weights.expanded() if expanded else weights
        np.testing.assert_allclose(evaluate(source.matrix("m")), rounded, rtol=1e-6)
        rows = source.rows("m", ops.constant(np.array([[4, 0]], np.int32)).output(0))
        np.testing.assert_allclose(evaluate(rows), rounded[[[4, 0]]], rtol=1e-6)
        np.testing.assert_array_equal(evaluate(source.kernel("m")), rounded)
        np.testing.assert_array_equal(source.quantized(MATRIX), rounded)
        np.testing.assert_array_equal(evaluate(source.tensor("m")), MATRIX)


def test_kernel_is_quantized_along_any_axis(tmp_path: Path) -> None:
    save_file({"m": MATRIX}, tmp_path / "model.safetensors")
    with open_checkpoint(tmp_path, "int8") as weights:
        np.testing.assert_array_equal(weights.quantized(MATRIX.T, axis=1), weights.quantized(MATRIX).T)


def test_int8_error_is_within_half_a_step() -> None:
    values, scales, zeros = quantize(np.vstack([MATRIX, np.zeros((1, 10), np.float32)]))
    exact = (values.astype(np.float32) - zeros) * scales
    assert values.dtype == np.uint8
    assert (exact[-1] == 0).all()
    # A step more than half: the zero point is rounded too.
    assert (np.abs(exact[:-1] - MATRIX) <= scales[:-1] + 1e-7).all()
    assert np.abs(exact[:-1] - MATRIX).mean() < scales.mean() / 2


def test_fp16_rounds_wider_tensors(tmp_path: Path) -> None:
    save_file({"m": MATRIX}, tmp_path / "model.safetensors")
    with open_checkpoint(tmp_path, "fp16") as weights:
        np.testing.assert_array_equal(weights.quantized(MATRIX), MATRIX.astype(np.float16).astype(np.float32))
        np.testing.assert_array_equal(evaluate(weights.matrix("m")), MATRIX.astype(np.float16).astype(np.float32))


def test_sharded_checkpoint_is_read_whole(tmp_path: Path) -> None:
    save_file({"a": MATRIX}, tmp_path / "one.safetensors")
    save_file({"b": 2 * MATRIX}, tmp_path / "two.safetensors")
    index = {"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with open_checkpoint(tmp_path) as weights:
        np.testing.assert_array_equal(weights.array("b"), 2 * weights.array("a").astype(np.float32))
    (tmp_path / "two.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"shard two\.safetensors is missing"), open_checkpoint(tmp_path):
        pass


def test_missing_tensor_is_named(tmp_path: Path) -> None:
    save_file({"m": MATRIX, "i": np.zeros(3, np.int64)}, tmp_path / "model.safetensors")
    with open_checkpoint(tmp_path) as weights:
        with pytest.raises(WeightError, match="tensor n is missing"):
            weights.matrix("n")
        with pytest.raises(WeightError, match="tensor i is int64"):
            weights.tensor("i")


def test_folders_without_safetensors_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no model\.safetensors"), open_checkpoint(tmp_path):
        pass
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ConfigError, match="pickled weights only"), open_checkpoint(tmp_path):
        pass
    (tmp_path / "model.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    with pytest.raises(ConfigError, match="cannot be read as safetensors"), open_checkpoint(tmp_path):
        pass
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(ConfigError, match="not a safetensors index"), open_checkpoint(tmp_path):
        pass
