"""What a calibrated IR makes of a layer's input: a range of so many levels, and the scales that smoothing moved into it.

It must not know where in a graph it was found, or which layer it is for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from antiphon.weights.openvino_ir.constants import Floats


@dataclass(frozen=True, slots=True)
class Rounding:
    """What the FakeQuantize called `name` does, and before it a `factor` for each channel, if there is one: large channels
    were made smaller, and the layer's matrix larger by as much (SmoothQuant, Xiao et al. 2023).

    `ends` are its four limits (input low and high, output low and high), one value each.
    """

    name: str
    ends: tuple[Floats, Floats, Floats, Floats]
    levels: int
    factor: Floats | None = None

    def times(self, scale: float) -> Rounding:
        """The same for an input that is `scale` times as large."""
        low, high, least, most = (np.float32(scale) * end for end in self.ends)
        return replace(self, ends=(low, high, least, most))

    def applied(self, hidden: ov.Node) -> ov.Node:
        """`hidden` as the layer reads it: still float32, but on the levels alone, which the device then keeps in 8 bits."""
        smoothed = hidden if self.factor is None else ops.multiply(hidden, ops.constant(self.factor))
        return ops.fake_quantize(smoothed, *(ops.constant(end) for end in self.ends), self.levels)
