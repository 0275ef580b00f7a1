"""The fake quantization of a layer's input in a calibrated IR, with the scales that SmoothQuant moved into it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from antiphon.weights.openvino_ir.constants import Floats


@dataclass(frozen=True, slots=True)
class FakeQuantize:
    """The FakeQuantize operation called `name`: `limits` are its input low and high and output low and high, one value each.

    Before it, each channel is multiplied by its `factor`, if there is one: large channels were made smaller, and the
    columns of the layer's matrix larger by as much (SmoothQuant, Xiao et al. 2023).
    """

    name: str
    limits: tuple[Floats, Floats, Floats, Floats]
    levels: int
    factor: Floats | None = None

    def scaled(self, scale: float) -> FakeQuantize:
        """The same for an input that is `scale` times as large."""
        low, high, least, most = (np.float32(scale) * limit for limit in self.limits)
        return replace(self, limits=(low, high, least, most))

    def apply(self, hidden: ov.Node) -> ov.Node:
        """`hidden` with only the values of the levels: float32 in the graph, 8 bits on the device."""
        smoothed = hidden if self.factor is None else ops.multiply(hidden, ops.constant(self.factor))
        return ops.fake_quantize(smoothed, *(ops.constant(limit) for limit in self.limits), self.levels)
