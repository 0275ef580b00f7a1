"""Arrays as a weight source: rounded to the format asked for, int8 with one scale a row.

It must not know which model it feeds, or what kind of file the arrays come from.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from antiphon.types import WeightFormat
from antiphon.weights.source import Array, ArraySource, as_float32, constant, quantize_rows

_DTYPES: dict[str, type] = {"fp32": np.float32, "fp16": np.float16}


class StoredTensors(ArraySource, Protocol):
    """Tensors by name, which say what they are stored in."""

    def stored(self, name: str) -> str:
        """What the tensor is kept in: "fp32", "fp16", "bf16", "int8", …"""
        ...


class RoundedWeights:
    """Tensors of an array source, read when asked for. "auto" keeps each tensor's stored type."""

    def __init__(self, tensors: StoredTensors, weight_format: WeightFormat, *, expand: bool = False) -> None:
        self._tensors = tensors
        self._format = weight_format
        self._expand = expand
        self._matrices: dict[str, tuple[ov.Node, ov.Node | None]] = {}

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

    def expanded(self) -> RoundedWeights:
        """The same values (rounded as `weight_format` rounds them), handed out as float32 constants.

        For graphs that compute far more than they read: there, decompressing costs time and saves none.
        """
        return RoundedWeights(self._tensors, self._format, expand=True)

    def matrix(self, name: str) -> ov.Node:
        values, scale = self._matrix(name)
        return as_float32(values) if scale is None else ops.multiply(as_float32(values), scale)

    def rows(self, name: str, indices: ov.Output) -> ov.Node:
        values, scale = self._matrix(name)
        axis = ops.constant(np.int32(0))
        found = as_float32(ops.gather(values, indices, axis))
        return found if scale is None else ops.multiply(found, ops.gather(scale, indices, axis))

    def _matrix(self, name: str) -> tuple[ov.Node, ov.Node | None]:
        """The constant behind a matrix and its scales; kept, so that tied uses share one copy."""
        if name not in self._matrices:
            if self._format == "int8":
                values, scale = quantize_rows(self.array(name).astype(np.float32))
                if self._expand:
                    self._matrices[name] = (constant(values * scale), None)
                else:
                    self._matrices[name] = (constant(values), constant(scale))
            else:
                self._matrices[name] = (constant(self._stored(name)), None)
        return self._matrices[name]

    def _stored(self, name: str) -> Array:
        array = self.array(name)
        rounded = array.astype(_DTYPES[self._format]) if self._format in _DTYPES else array
        return rounded.astype(np.float32) if self._expand else rounded
