"""The constants of an IR with their decompression: the stored format, the values, and lookups of rows.

In every weight format a tensor is a small tree of operations over constants.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from antiphon.errors import NotNative
from antiphon.weights.source import as_float32

Floats = NDArray[np.float32]

# The operations of decompression. With constants as inputs, their output is constant too.
DECOMPRESSION = ("Convert", "Subtract", "Multiply", "Add", "Divide", "Reshape", "Transpose", "Squeeze", "Unsqueeze")

_ARITHMETIC: dict[str, Callable[[Floats, Floats], Floats]] = {
    "Add": np.add,
    "Subtract": np.subtract,
    "Multiply": np.multiply,
    "Divide": np.divide,
}
FORMAT_NAMES = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "u8": "int8", "i8": "int8", "u4": "int4", "i4": "int4"}


def stored_format(tensor: ov.Output) -> str:
    """The format of the stored values: "fp32", "fp16", "int8", "int4", … or OpenVINO's name of the type."""
    node = tensor.get_node()
    while node.get_type_name() != "Constant":
        node = node.input(0).get_source_output().get_node()
    name: str = node.get_output_element_type(0).get_type_name()
    return FORMAT_NAMES.get(name, name)


def fold(tensor: ov.Output) -> Floats:
    """Compute the values in float32, whatever precision the decompression names (OpenVINO's CPU does so too)."""
    node = tensor.get_node()
    kind = node.get_type_name()
    if kind == "Constant":
        return _values(node)
    inputs = [port.get_source_output() for port in node.inputs()]
    if kind == "Convert":
        return fold(inputs[0])
    if kind in _ARITHMETIC:
        return _ARITHMETIC[kind](fold(inputs[0]), fold(inputs[1]))
    if kind == "Transpose":
        return np.transpose(fold(inputs[0]), inputs[1].get_node().get_data())
    return fold(inputs[0]).reshape(tuple(tensor.get_shape()))


def gather_rows(tensor: ov.Output, indices: ov.Output) -> ov.Node:
    """Rows of a `[rows, width]` matrix in float32: `indices.shape + [width]`, looked up before decompression.

    4-bit rows are looked up after it, because their values share bytes; OpenVINO fuses that lookup itself.
    """
    if stored_format(tensor) == "int4":
        return ops.gather(as_float32(tensor.get_node()), indices, ops.constant(np.int32(0)))
    return as_float32(_gathered(tensor, indices, tensor.get_shape()[0]))


def _gathered(tensor: ov.Output, indices: ov.Output, rows: int) -> ov.Node:
    node = tensor.get_node()
    kind, shape = node.get_type_name(), list(tensor.get_shape())
    if not shape or shape[0] != rows:
        return node  # the same value or row for all
    inputs = [port.get_source_output() for port in node.inputs()]
    if kind == "Convert":
        return ops.convert(_gathered(inputs[0], indices, rows), node.get_output_element_type(0))
    if kind in _ARITHMETIC and all(len(source.get_shape()) in (0, len(shape)) for source in inputs):
        make = {"Add": ops.add, "Subtract": ops.subtract, "Multiply": ops.multiply, "Divide": ops.divide}[kind]
        return make(*(_gathered(source, indices, rows) for source in inputs))
    if kind == "Reshape" and inputs[0].get_shape()[0] == rows:
        kept = [0] * len(indices.get_partial_shape())
        return ops.reshape(_gathered(inputs[0], indices, rows), ops.constant(np.array(kept + shape[1:])), True)
    return ops.gather(node, indices, ops.constant(np.int32(0)))


def _values(constant: ov.Node) -> Floats:
    view = constant.get_tensor_view()
    if view.get_element_type() == ov.Type.f32:
        return np.array(view.data)
    converted = ov.Tensor(ov.Type.f32, view.get_shape())
    if not ops.convert(constant, "f32").evaluate([converted], [view]):
        raise NotNative(f"{constant.get_friendly_name()} is stored as {view.get_element_type()}, which cannot be read.")
    return np.array(converted.data)
