"""A small OpenVINO model folder built with openvino's operations, named as in optimum-intel's exports."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from antiphon.weights.openvino_ir.files import DECODER_MODEL

Floats = NDArray[np.float32]

ROWS, WIDTH, GROUP = 8, 12, 4
FILE = DECODER_MODEL


def draw(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def named(node: ov.Node, name: str) -> ov.Node:
    node.friendly_name = name
    return node


def write(folder: Path, output: ov.Node, *parameters: ov.Node, file: str = FILE) -> Path:
    folder.mkdir(exist_ok=True)
    ov.save_model(ov.Model([ops.result(output)], list(parameters), "small"), folder / file, compress_to_fp16=False)
    return folder / file


def inputs() -> ov.Node:
    return ops.parameter([-1, -1, WIDTH], ov.Type.f32)


def linear(given: ov.Node, module: str, weights: ov.Node, *, transposed: bool = True) -> ov.Node:
    return named(ops.matmul(given, weights, False, transposed), f"__module.{module}/aten::linear/MatMul")


def stored(values: Floats, name: str, form: str) -> tuple[ov.Node, Floats]:
    """A `[rows, width]` matrix as exporters store it in a format, and its values then."""
    if form == "fp32":
        return named(ops.constant(values), f"self.{name}"), values
    if form == "fp16":
        half = named(ops.constant(values.astype(np.float16)), f"self.{name}_compressed")
        return named(ops.convert(half, "f32"), f"self.{name}"), values.astype(np.float16).astype(np.float32)
    if form == "int4":
        return _by_group(values, name)
    return _by_row(values, name, symmetric=form == "int8_sym")


def _by_row(values: Floats, name: str, *, symmetric: bool) -> tuple[ov.Node, Floats]:
    low, high = values.min(1, keepdims=True), values.max(1, keepdims=True)
    scale = (np.abs(values).max(1, keepdims=True) / 127 if symmetric else (high - low) / 255).astype(np.float16)
    zero = np.zeros_like(low) if symmetric else np.rint(-low / scale.astype(np.float32))
    levels = np.clip(np.rint(values / scale.astype(np.float32)) + zero, -127 if symmetric else 0, 255)
    kept = named(ops.constant(levels.astype(np.int8 if symmetric else np.uint8)), f"self.{name}")
    node = ops.convert(kept, "f16")
    if not symmetric:
        point = named(ops.constant(zero.astype(np.uint8)), f"self.{name}/zero_point")
        node = ops.subtract(node, ops.convert(point, "f16"))
    node = ops.multiply(node, named(ops.constant(scale), f"self.{name}/scale"))
    return ops.convert(node, "f32"), (levels - zero) * scale.astype(np.float32)


def _by_group(values: Floats, name: str) -> tuple[ov.Node, Floats]:
    """4 bits a value, two values a byte, one scale for each `GROUP` values of a row."""
    groups = values.reshape(ROWS, WIDTH // GROUP, GROUP)
    scale = ((groups.max(2, keepdims=True) - groups.min(2, keepdims=True)) / 15).astype(np.float16)
    zero = np.rint(-groups.min(2, keepdims=True) / scale.astype(np.float32))
    levels = np.clip(np.rint(groups / scale.astype(np.float32)) + zero, 0, 15).astype(np.uint8)
    kept = named(ops.constant(_packed(levels)), f"self.{name}")
    point = ops.constant(_packed(np.clip(zero, 0, 15).astype(np.uint8)))
    node = ops.subtract(ops.convert(kept, "f16"), ops.convert(point, "f16"))
    node = ops.multiply(node, ops.constant(scale))
    node = ops.convert(ops.reshape(node, ops.constant(np.array([ROWS, WIDTH])), False), "f32")
    made = (levels - np.clip(zero, 0, 15)) * scale.astype(np.float32)
    return node, made.reshape(ROWS, WIDTH).astype(np.float32)


def _packed(levels: NDArray[np.uint8]) -> ov.Tensor:
    tensor = ov.Tensor(ov.Type.u4, ov.Shape(list(levels.shape)))
    flat = levels.reshape(-1)
    pairs = np.append(flat, np.zeros(flat.size % 2, np.uint8)).reshape(-1, 2)
    tensor.data.view(np.uint8).reshape(-1)[...] = pairs[:, 0] | pairs[:, 1] << 4
    return tensor


def evaluate(node: ov.Node) -> Floats:
    model = ov.Model([ops.result(node)], [], "constant")
    return np.array(ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([])[0])
