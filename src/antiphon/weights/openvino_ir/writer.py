"""Weights on their way into an OpenVINO IR: held as the format asks, and named as optimum-intel names them.

Readers of such folders find a tensor by its constant's name. It must not know which model it writes.
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

    An IR is of one module, whose tensors begin with `prefix` in the checkpoint and without it here. Arrays are read when
    asked for and handed to OpenVINO without a copy: what is held is what will be written, and nothing of the checkpoint
    but the tensor being converted.
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
        """The values themselves, for what is computed before it is written."""
        return self._tensors.array(name).astype(np.float32)

    def label(self, name: str) -> str:
        """What the operations of a module are called."""
        return f"__module.{name.removeprefix(self._prefix)}"

    def tensor(self, name: str, *shape: int) -> ov.Node:
        """A bias, norm or table that is not compressed to int8; in another `shape`, if one is given."""
        array = self.array(name)
        return self.written(name, array.reshape(shape) if shape else array)

    def matrix(self, name: str) -> ov.Node:
        """What a MatMul, a Gather or a convolution reads, one scale for each of its first axis; shared by all who ask."""
        if name not in self._matrices:
            self._matrices[name] = self._compressed(name, self._tensors.array(name))
        return self._matrices[name]

    def kernel(self, name: str, array: NDArray[np.float32], axis: int = 0) -> ov.Node:
        """A matrix whose values were computed before, with one scale for each of `axis`."""
        return self._compressed(name, array, axis)

    def written(self, name: str, array: NDArray[np.float32]) -> ov.Node:
        """`array`, by the checkpoint's `name`, in the form of what is never compressed to int8."""
        return _plain(self._spell(name), array, self._form)

    def _spell(self, name: str) -> str:
        return f"self.{name.removeprefix(self._prefix)}"

    def _compressed(self, name: str, array: Array, axis: int = 0) -> ov.Node:
        if self._form == "int8":
            values, scales, zeros = quantize(np.moveaxis(array, axis, 0))
            return _decompression(
                self._spell(name),
                np.moveaxis(values, 0, axis),
                np.moveaxis(scales, 0, axis),
                np.moveaxis(zeros, 0, axis),
            )
        return _plain(self._spell(name), array, self._form)


def save_ir(model: ov.Model, path: Path, form: IrFormat) -> None:
    """Write `path` (.xml) and the .bin beside it."""
    # What is left in float32 here are a graph's own numbers; optimum-intel rounds them too.
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
    """The subgraph that OpenVINO recognises and folds into the operation behind it."""
    half = ops.convert(_named(_shared(values), name), "f16")
    zero = ops.convert(_named(_shared(zeros), f"{name}/zero_point"), "f16")
    centred = _named(ops.subtract(half, zero), f"{name}/zero_point/subtract")
    scale = _named(_shared(scales.astype(np.float16)), f"{name}/scale")
    scaled = _named(ops.multiply(centred, scale), f"{name}/fq_weights_1")
    return _named(ops.convert(scaled, "f32"), f"{name}/fq_weights_1/convert")


def _shared(array: Array) -> ov.Node:
    """A constant over the array's own memory, which it keeps alive."""
    return ops.constant(np.require(array, requirements="C"), shared_memory=True)


def _named(node: ov.Node, name: str) -> ov.Node:
    node.friendly_name = name
    return node
