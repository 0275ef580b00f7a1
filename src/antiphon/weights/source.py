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


class WeightSource(Protocol):
    """Tensors by name, as float32-valued OpenVINO nodes."""

    def has(self, name: str) -> bool:
        """Whether a tensor of that name exists."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape. Raises WeightError if there is none of that name."""
        ...

    def tensor(self, name: str) -> ov.Node:
        """The tensor itself, never compressed: biases, norms, positions, convolutions."""
        ...

    def matrix(self, name: str) -> ov.Node:
        """A `[out, in]` matrix for a MatMul with `transpose_b`; compressed if the source compresses."""
        ...

    def rows(self, name: str, indices: ov.Output) -> ov.Node:
        """Rows of a `[rows, width]` matrix, looked up before decompression: `indices.shape + [width]`."""
        ...


class Weights(WeightSource, ArraySource, Protocol):
    """A model's tensors as `weight_format` asks for them."""

    def format_of(self, name: str) -> str:
        """What the tensor is kept in: the format asked for, or with "auto" the one it is stored in."""
        ...

    def expanded(self) -> WeightSource:
        """The same values as float32 constants, for graphs that compute far more than they read."""
        ...


def quantize_rows(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 by output channel: `[out, in]` -> int8 `[out, in]` and float32 scales `[out, 1]`."""
    peak = np.abs(matrix).max(axis=1, keepdims=True)
    scale = np.where(peak > 0, peak / 127.0, 1.0).astype(np.float32)
    return np.rint(matrix / scale).astype(np.int8), scale


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
