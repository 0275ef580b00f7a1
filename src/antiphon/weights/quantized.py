"""Arrays as a weight source: rounded to the format asked for, int8 as optimum-intel's exports hold it.

It must not know which model it feeds, or what kind of file the arrays come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from antiphon.types.options import WeightFormat
from antiphon.weights.source import Array, ArraySource, as_float32, constant, dequantize, quantize

_DTYPES: dict[str, type] = {"fp32": np.float32, "fp16": np.float16}


class StoredTensors(ArraySource, Protocol):
    """Tensors by name, which say what they are stored in."""

    def stored(self, name: str) -> str:
        """What the tensor is kept in: "fp32", "fp16", "bf16", "int8", …"""
        ...


class QuantizedWeights:
    """Tensors of an array source, read when asked for. "auto" keeps each tensor's stored type."""

    def __init__(self, tensors: StoredTensors, weight_format: WeightFormat, *, expand: bool = False) -> None:
        self._tensors = tensors
        self._format = weight_format
        self._expand = expand
        self._matrices: dict[str, _Stored] = {}

    def has(self, name: str) -> bool:
        return self._tensors.has(name)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensors.shape(name)

    def format_of(self, name: str) -> str:
        """What the tensor is kept in: the format asked for, or with "auto" the type it is stored in."""
        return self._tensors.stored(name) if self._format == "auto" else self._format

    def array(self, name: str) -> Array:
        return self._tensors.array(name)

    def tensor(self, name: str) -> ov.Node:
        return as_float32(constant(self._stored(name)))

    def expanded(self) -> QuantizedWeights:
        """The same values (rounded as `weight_format` rounds them), handed out as float32 constants.

        For graphs that compute far more than they read: there, decompressing costs time and saves none.
        """
        return QuantizedWeights(self._tensors, self._format, expand=True)

    def kernel(self, name: str) -> ov.Node:
        return constant(self.rounded(self.array(name))) if self._format == "int8" else self.tensor(name)

    def rounded(self, array: Array, axis: int = 0) -> NDArray[np.float32]:
        """What is left of a kernel in the format asked for, with a scale for each of `axis`."""
        if self._format == "int8":
            return np.moveaxis(dequantize(*quantize(np.moveaxis(array, axis, 0))), 0, axis)
        return array.astype(_DTYPES.get(self._format, np.float32)).astype(np.float32)

    def matrix(self, name: str) -> ov.Node:
        return self._matrix(name).whole()

    def rows(self, name: str, indices: ov.Output) -> ov.Node:
        return self._matrix(name).rows(indices)

    def entering(self, module: str, hidden: ov.Node, port: int = 0) -> ov.Node:
        return hidden

    def _matrix(self, name: str) -> _Stored:
        """The constants behind a matrix; kept, so that tied uses share one copy."""
        if name not in self._matrices:
            if self._format != "int8":
                self._matrices[name] = _Stored(constant(self._stored(name)))
            elif self._expand:
                self._matrices[name] = _Stored(constant(self.rounded(self.array(name))))
            else:
                values, scales, zeros = quantize(self.array(name))
                # Through float16, as in an IR: the same model says the same from either.
                scales = scales.astype(np.float16).astype(np.float32)
                self._matrices[name] = _Stored(constant(values), constant(zeros), constant(scales))
        return self._matrices[name]

    def _stored(self, name: str) -> Array:
        array = self.array(name)
        rounded = array.astype(_DTYPES[self._format]) if self._format in _DTYPES else array
        return rounded.astype(np.float32) if self._expand else rounded


@dataclass(frozen=True, slots=True)
class _Stored:
    """A matrix as it is kept, and how to read it; `zeros` and `scales`, one a row, if it is in 8 bits."""

    values: ov.Node
    zeros: ov.Node | None = None
    scales: ov.Node | None = None

    def whole(self) -> ov.Node:
        return _decompressed(self.values, self.zeros, self.scales)

    def rows(self, indices: ov.Output) -> ov.Node:
        """Looked up before they are decompressed."""
        axis = ops.constant(np.int32(0))
        parts = (self.values, self.zeros, self.scales)
        return _decompressed(*(part and ops.gather(part, indices, axis) for part in parts))


def _decompressed(values: ov.Node, zeros: ov.Node | None, scales: ov.Node | None) -> ov.Node:
    wide = as_float32(values)
    return wide if zeros is None else ops.multiply(ops.subtract(wide, as_float32(zeros)), scales)
