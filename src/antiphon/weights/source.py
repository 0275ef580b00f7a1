"""The protocols through which graphs get their tensors, and int8 quantization.

A source returns OpenVINO nodes, so a graph can use a stored constant or a whole decompression subgraph as it is. To add a
weight format, implement `StoredTensors` over its files; `quantized.QuantizedWeights` then makes a `Weights` of it. Names
are those of the Hugging Face checkpoint, whatever the format.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import ml_dtypes
import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

Array = NDArray[np.generic]

_BLOCK = 1 << 18  # values quantized at a time: a block and its temporaries stay in the processor's cache
_LEVELS = 255


class ArraySource(Protocol):
    """Tensors by name as numpy arrays, for values that are computed before a graph is built."""

    def has(self, name: str) -> bool:
        """Whether a tensor of that name exists."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape. Raises WeightError or NotNative if it does not exist."""
        ...

    def array(self, name: str) -> Array:
        """The tensor's values, as stored. Raises WeightError or NotNative if it does not exist."""
        ...


class StoredTensors(ArraySource, Protocol):
    """The tensors of a weight format: all that a reader of its files must implement."""

    def stored(self, name: str) -> str:
        """The format the tensor is stored in: "fp32", "fp16", "bf16", "int8", …"""
        ...


@runtime_checkable
class Int8Tensors(Protocol):
    """What a format implements besides `StoredTensors` if it stores matrices in symmetric int8, one scale a row."""

    def int8_rows(self, name: str) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """A tensor that is stored in int8: its values `[rows, …]`, and the factor of each row `[rows]`."""
        ...


class QuantizingSource(ArraySource, Protocol):
    """Tensors by name, and the source's quantization for arrays that are computed from them."""

    def quantized(self, array: NDArray[np.float32], axis: int = 0) -> NDArray[np.float32]:
        """The values of a kernel once it is in the source's format; int8 has one scale for each index of `axis`."""
        ...


class WeightSource(Protocol):
    """Tensors by name, as float32-valued OpenVINO nodes: all that a transformer graph needs."""

    def has(self, name: str) -> bool:
        """Whether a tensor of that name exists."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape. Raises WeightError or NotNative if it does not exist."""
        ...

    def tensor(self, name: str) -> ov.Node:
        """The tensor, never in int8: biases, norms, position embeddings."""
        ...

    def kernel(self, name: str) -> ov.Node:
        """The kernel of a convolution or a small layer: quantized as the source quantizes, but never kept compressed."""
        ...

    def matrix(self, name: str) -> ov.Node:
        """A `[out, in]` matrix for a MatMul with `transpose_b`; compressed if the source compresses."""
        ...

    def rows(self, name: str, indices: ov.Output) -> ov.Node:
        """Rows of a `[rows, width]` matrix, looked up before decompression: `indices.shape + [width]`."""
        ...

    def quantized_input(self, module: str, hidden: ov.Node, port: int = 0) -> ov.Node:
        """The input `hidden` of a layer: unchanged, or fake-quantized if the model was calibrated for 8-bit activations.

        `module` is that of the layer or of attention, where `port` 0 is the query, 1 the key and 2 the value.
        """
        ...


class Weights(WeightSource, QuantizingSource, Protocol):
    """A model's tensors in the format that `weight_format` selects."""

    def format_of(self, name: str) -> str:
        """The format the tensor is kept in: the selected one, or with "auto" the one it is stored in."""
        ...

    def expanded(self) -> WeightSource:
        """The same values as float32 constants, for graphs that compute far more than they read."""
        ...


def quantize(array: Array) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.uint8]]:
    """Quantize a tensor to 8 bits: values, scales and zero points, one scale for each index of the first axis.

    The scheme is NNCF's INT8_ASYM, which optimum-intel uses for `--weight-format int8`: the range of a row, extended to
    zero, in 255 steps, computed in float32. An IR holds the scales in float16.
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
    """The float32 values of a quantized tensor, with scales rounded to float16 as in an IR."""
    return (values.astype(np.float32) - zeros) * scales.astype(np.float16).astype(np.float32)


def constant(array: Array) -> ov.Node:
    """A constant with a copy of the array, in the array's type; bfloat16 (ml_dtypes) is copied by its bits."""
    if array.dtype == ml_dtypes.bfloat16:
        # OpenVINO does not accept the dtype, and a tensor over the array would not keep it alive: this one owns its memory.
        tensor = ov.Tensor(ov.Type.bf16, ov.Shape(list(array.shape)))
        tensor.data.view(np.uint16)[...] = array.view(np.uint16)
        return ops.constant(tensor)
    # np.ascontiguousarray would turn a 0-d array into a 1-d one.
    return ops.constant(array if array.flags.c_contiguous else np.ascontiguousarray(array))


def as_float32(node: ov.Node) -> ov.Node:
    """`node`, converted to float32 where it is not float32 already."""
    return node if node.get_element_type() == ov.Type.f32 else ops.convert(node, "f32")
