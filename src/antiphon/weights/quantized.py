"""Stored tensors as a weight source in the selected format; int8 equals that of optimum-intel's exports."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from antiphon.types.options import WeightFormat
from antiphon.weights.source import Array, Int8Tensors, StoredTensors, as_float32, constant, dequantize, quantize

_DTYPES: dict[str, type] = {"fp32": np.float32, "fp16": np.float16}


class QuantizedWeights:
    """Implements `Weights` over stored tensors, which are read on demand. "auto" keeps each tensor's stored format."""

    def __init__(self, tensors: StoredTensors, weight_format: WeightFormat, *, expand: bool = False) -> None:
        self._tensors = tensors
        self._format = weight_format
        self._expand = expand
        self._matrices: dict[str, _Matrix] = {}

    def has(self, name: str) -> bool:
        return self._tensors.has(name)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensors.shape(name)

    def format_of(self, name: str) -> str:
        return self._tensors.stored(name) if self._format == "auto" else self._format

    def array(self, name: str) -> Array:
        return self._tensors.array(name)

    def tensor(self, name: str) -> ov.Node:
        return as_float32(constant(self._stored(name)))

    def expanded(self) -> QuantizedWeights:
        """The same values as float32 constants: a graph that computes far more than it reads only loses time to
        decompression."""
        return QuantizedWeights(self._tensors, self._format, expand=True)

    def kernel(self, name: str) -> ov.Node:
        return constant(self.quantized(self.array(name))) if self._format == "int8" else self.tensor(name)

    def quantized(self, array: Array, axis: int = 0) -> NDArray[np.float32]:
        if self._format == "int8":
            return np.moveaxis(dequantize(*quantize(np.moveaxis(array, axis, 0))), 0, axis)
        return array.astype(_DTYPES.get(self._format, np.float32)).astype(np.float32)

    def matrix(self, name: str) -> ov.Node:
        return self._matrix(name).whole()

    def rows(self, name: str, indices: ov.Output) -> ov.Node:
        return self._matrix(name).rows(indices)

    def quantized_input(self, module: str, hidden: ov.Node, port: int = 0) -> ov.Node:
        return hidden

    def _matrix(self, name: str) -> _Matrix:
        """The constants of a matrix; cached, so that tied weights share one copy."""
        if name not in self._matrices:
            if self._is_stored_int8(name) and isinstance(self._tensors, Int8Tensors):
                rows, factors = self._tensors.int8_rows(name)
                self._matrices[name] = _Matrix(constant(rows), None, constant(factors[:, None]))
            elif self._format != "int8":
                self._matrices[name] = _Matrix(constant(self._stored(name)))
            elif self._expand:
                self._matrices[name] = _Matrix(constant(self.quantized(self.array(name))))
            else:
                values, scales, zeros = quantize(self.array(name))
                # Rounded to float16, as in an IR, so that a model gives the same results from either.
                scales = scales.astype(np.float16).astype(np.float32)
                self._matrices[name] = _Matrix(constant(values), constant(zeros), constant(scales))
        return self._matrices[name]

    def _is_stored_int8(self, name: str) -> bool:
        return self._format == "auto" and not self._expand and self._tensors.stored(name) == "int8"

    def _stored(self, name: str) -> Array:
        array = self.array(name)
        array = array.astype(_DTYPES[self._format]) if self._format in _DTYPES else array
        return array.astype(np.float32) if self._expand else array


@dataclass(frozen=True, slots=True)
class _Matrix:
    """The constants of a matrix; in 8 bits it has `scales`, one for each row, and unless it is symmetric `zeros`."""

    values: ov.Node
    zeros: ov.Node | None = None
    scales: ov.Node | None = None

    def whole(self) -> ov.Node:
        return _decompressed(self.values, self.zeros, self.scales)

    def rows(self, indices: ov.Output) -> ov.Node:
        """The rows at `indices`, looked up before decompression."""
        axis = ops.constant(np.int32(0))
        parts = (self.values, self.zeros, self.scales)
        return _decompressed(*(part and ops.gather(part, indices, axis) for part in parts))


def _decompressed(values: ov.Node, zeros: ov.Node | None, scales: ov.Node | None) -> ov.Node:
    wide = as_float32(values)
    if zeros is not None:
        wide = ops.subtract(wide, as_float32(zeros))
    return wide if scales is None else ops.multiply(wide, scales)
