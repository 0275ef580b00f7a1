"""Where a graph's tensors come from: the protocol every weight source answers, and int8 compression.

A source hands out OpenVINO nodes, so that whatever stands behind a name (a constant, a decompression subgraph) is
reused whole. It must not know which model it feeds.
"""

from __future__ import annotations

from typing import Protocol

import ml_dtypes
import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

Array = NDArray[np.generic]

_BLOCK = 1 << 18  # values quantised at a time: a block and its temporaries stay in the processor's cache
_LEVELS = 255


class ArraySource(Protocol):
    """Tensors by name as numpy arrays: for what is computed with them before a graph sees them."""

    def has(self, name: str) -> bool:
        """Whether a tensor of that name exists."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape. Raises WeightError if there is none of that name."""
        ...

    def array(self, name: str) -> Array:
        """The tensor's values, as stored. Raises WeightError or NotNative if there is none of that name."""
        ...


class RoundingSource(ArraySource, Protocol):
    """The same, for what is rounded only after it was computed."""

    def rounded(self, array: NDArray[np.float32], axis: int = 0) -> NDArray[np.float32]:
        """What is left of a kernel in the format asked for, with a scale for each of `axis`."""
        ...


class WeightSource(Protocol):
    """Tensors by name, as float32-valued OpenVINO nodes."""

    def has(self, name: str) -> bool:
        """Whether a tensor of that name exists."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape. Raises WeightError if there is none of that name."""
        ...

    def tensor(self, name: str) -> ov.Node:
        """The tensor itself, never rounded to int8: biases, norms, the encoder's positions."""
        ...

    def kernel(self, name: str) -> ov.Node:
        """What a convolution or a small layer reads: rounded as the source rounds, but never kept compressed."""
        ...

    def matrix(self, name: str) -> ov.Node:
        """A `[out, in]` matrix for a MatMul with `transpose_b`; compressed if the source compresses."""
        ...

    def rows(self, name: str, indices: ov.Output) -> ov.Node:
        """Rows of a `[rows, width]` matrix, looked up before decompression: `indices.shape + [width]`."""
        ...

    def entering(self, module: str, hidden: ov.Node, port: int = 0) -> ov.Node:
        """What a layer reads of `hidden`: as it is, or on the levels that the model was calibrated for.

        `module` is the layer's, or that of attention, whose `port` 0 is the query, 1 the key and 2 the value.
        """
        ...


class Weights(WeightSource, RoundingSource, Protocol):
    """A model's tensors as `weight_format` asks for them."""

    def format_of(self, name: str) -> str:
        """What the tensor is kept in: the format asked for, or with "auto" the one it is stored in."""
        ...

    def expanded(self) -> WeightSource:
        """The same values as float32 constants, for graphs that compute far more than they read."""
        ...


def quantize(array: Array) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint8]]:
    """Values, scales and zero points of a tensor in 8 bits, one scale for each of its first axis.

    The scheme is NNCF's INT8_ASYM, which optimum-intel takes for `--weight-format int8`: the range of a row and zero in
    255 steps, all in float32. An IR holds the scales in float16.
    """
    rows = array.reshape(array.shape[0], -1)
    values = np.empty(rows.shape, np.uint8)
    scales = np.empty((rows.shape[0], 1), np.float32)
    zeros = np.empty((rows.shape[0], 1), np.uint8)
    height = max(1, _BLOCK // rows.shape[1])
    for first in range(0, rows.shape[0], height):
        part = slice(first, first + height)
        block = rows[part].astype(np.float32)
        low = np.minimum(block.min(axis=1, keepdims=True), 0)
        scale = (np.maximum(block.max(axis=1, keepdims=True), 0) - low) / np.float32(_LEVELS)
        scale = np.maximum(scale, np.finfo(np.float32).eps)
        zero = np.clip(-np.rint(low / scale), 0, _LEVELS)
        block /= scale
        block += zero
        np.rint(block, out=block)
        np.clip(block, 0, _LEVELS, out=block)
        values[part], scales[part], zeros[part] = block, scale, zero
    ones = (1,) * (array.ndim - 1)
    return values.reshape(array.shape), scales.reshape(-1, *ones), zeros.reshape(-1, *ones)


def dequantize(values: NDArray[np.uint8], scales: NDArray[np.float32], zeros: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What `quantize` left of a tensor, as an IR has it: with scales that went through float16."""
    return (values.astype(np.float32) - zeros) * scales.astype(np.float16).astype(np.float32)


def constant(array: Array) -> ov.Node:
    """A constant with a copy of the array, in its own type; bfloat16 (ml_dtypes) goes in by its bits."""
    if array.dtype == ml_dtypes.bfloat16:
        # OpenVINO refuses the dtype, and a tensor over the array would not keep it alive: this one owns its memory.
        tensor = ov.Tensor(ov.Type.bf16, ov.Shape(list(array.shape)))
        tensor.data.view(np.uint16)[...] = array.view(np.uint16)
        return ops.constant(tensor)
    # np.ascontiguousarray would turn a 0-d array into a 1-d one.
    return ops.constant(array if array.flags.c_contiguous else np.ascontiguousarray(array))


def as_float32(node: ov.Node) -> ov.Node:
    """`node`, converted to float32 where it is not float32 already."""
    return node if node.get_element_type() == ov.Type.f32 else ops.convert(node, "f32")
