"""Weights for an OpenVINO IR that is exported, in the selected format and with optimum-intel's names.

Readers of such folders find a tensor by its constant's name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from antiphon.weights.source import Array, ArraySource, quantize

IrFormat = Literal["fp32", "fp16", "int8"]


class WrittenWeights:
    """A checkpoint's tensors as the float32-valued nodes of an IR.

    An IR holds one module, whose tensors have the prefix `prefix` in the checkpoint and none in the IR. Arrays are read on
    demand and passed to OpenVINO without a copy: memory holds what will be written, and of the checkpoint only the tensor
    that is being converted.
    """

    def __init__(self, tensors: ArraySource, form: IrFormat, prefix: str = "") -> None:
        self._tensors = tensors
        self._form = form
        self._prefix = prefix
        self._matrices: dict[str, ov.Node] = {}

    def has(self, name: str) -> bool:
        return self._tensors.has(name)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensors.shape(name)

    def array(self, name: str) -> NDArray[np.float32]:
        """The values in float32, for arrays that are computed before they are written."""
        return self._tensors.array(name).astype(np.float32)

    def label(self, name: str) -> str:
        """The first part of the names of a module's operations."""
        return f"__module.{name.removeprefix(self._prefix)}"

    def tensor(self, name: str, *shape: int) -> ov.Node:
        """A bias, norm or table, which is never in int8; reshaped if a `shape` is given."""
        array = self.array(name)
        return self.written(name, array.reshape(shape) if shape else array)

    def matrix(self, name: str) -> ov.Node:
        """The weights of a MatMul, Gather or convolution, in int8 with one scale for each row; tied uses share one node."""
        if name not in self._matrices:
            self._matrices[name] = self._compressed(name, self._tensors.array(name))
        return self._matrices[name]

    def kernel(self, name: str, array: NDArray[np.float32], axis: int = 0) -> ov.Node:
        """A matrix of computed values, in int8 with one scale for each index of `axis`."""
        return self._compressed(name, array, axis)

    def written(self, name: str, array: NDArray[np.float32]) -> ov.Node:
        """`array` under the checkpoint's `name`, never in int8."""
        return _plain(self._constant_name(name), array, self._form)

    def _constant_name(self, name: str) -> str:
        return f"self.{name.removeprefix(self._prefix)}"

    def _compressed(self, name: str, array: Array, axis: int = 0) -> ov.Node:
        if self._form == "int8":
            values, scales, zeros = quantize(np.moveaxis(array, axis, 0))
            return _decompression(
                self._constant_name(name),
                np.moveaxis(values, 0, axis),
                np.moveaxis(scales, 0, axis),
                np.moveaxis(zeros, 0, axis),
            )
        return _plain(self._constant_name(name), array, self._form)


def save_ir(model: ov.Model, path: Path, form: IrFormat) -> None:
    """Write `path` (.xml) and its .bin."""
    # The constants still in float32 are the graph's own; optimum-intel compresses them too.
    ov.save_model(model, path, compress_to_fp16=form == "fp16")


def _plain(name: str, array: Array, form: IrFormat) -> ov.Node:
    if form == "fp16":
        return _named(
            ops.convert(_named(_shared(array.astype(np.float16, copy=False)), f"{name}_compressed"), "f32"), name
        )
    return _named(_shared(array.astype(np.float32, copy=False)), name)


def _decompression(
    name: str, values: NDArray[np.uint8], scales: NDArray[np.float32], zeros: NDArray[np.uint8]
) -> ov.Node:
    """The decompression subgraph that OpenVINO recognises and fuses into the operation after it."""
    half = ops.convert(_named(_shared(values), name), "f16")
    zero = ops.convert(_named(_shared(zeros), f"{name}/zero_point"), "f16")
    centred = _named(ops.subtract(half, zero), f"{name}/zero_point/subtract")
    scale = _named(_shared(scales.astype(np.float16)), f"{name}/scale")
    scaled = _named(ops.multiply(centred, scale), f"{name}/fq_weights_1")
    return _named(ops.convert(scaled, "f32"), f"{name}/fq_weights_1/convert")


def _shared(array: Array) -> ov.Node:
    """A constant over the array's memory, which it keeps alive."""
    return ops.constant(np.require(array, requirements="C"), shared_memory=True)


def _named(node: ov.Node, name: str) -> ov.Node:
    node.friendly_name = name
    return node
