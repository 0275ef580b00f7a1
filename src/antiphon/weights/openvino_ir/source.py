"""An OpenVINO IR folder as a weight source: tensors by the name they had in the checkpoint it was exported from.

Matrices are handed out as they stand in the IR, decompression and all, whatever their format. It must not know which
model it feeds: a family says which file holds what, and works out itself what no name leads to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from antiphon.errors import NotNative
from antiphon.types.options import WeightFormat
from antiphon.weights.openvino_ir.constants import Floats, fold, gather_rows, stored_format
from antiphon.weights.openvino_ir.fake_quantize import Rounding
from antiphon.weights.openvino_ir.graph import IrGraph, Operation, read_graph
from antiphon.weights.quantized import QuantizedWeights
from antiphon.weights.source import as_float32


class _Missing(NotNative):
    """Nothing in the IR can be told to be the tensor."""


@dataclass(frozen=True, slots=True)
class Part:
    """A file with some of a model's tensors: those whose names begin with `prefix`, which the file spells `root`."""

    graph: IrGraph
    prefix: str
    root: str

    def inner(self, name: str) -> str:
        return self.root + name.removeprefix(self.prefix)


class IrTensors:
    """Tensors of IR files by name, decompressed.

    `parts` are asked in their order; `known` are tensors that the caller has worked out.
    """

    def __init__(self, folder: Path, parts: Sequence[Part], known: Mapping[str, Floats]) -> None:
        self._folder = folder
        self._parts = parts
        self._known = known
        self._found: dict[str, tuple[ov.Node | Floats, bool]] = {}

    def has(self, name: str) -> bool:
        """Whether there is such a tensor; one that would add nothing is not there."""
        try:
            return self._find(name)[1]
        except _Missing:
            return False

    def shape(self, name: str) -> tuple[int, ...]:
        tensor = self._find(name)[0]
        return tensor.shape if isinstance(tensor, np.ndarray) else tuple(tensor.get_output_shape(0))

    def stored(self, name: str) -> str:
        node = self.node(name)
        return "fp32" if node is None else stored_format(node.output(0))

    def array(self, name: str) -> Floats:
        """The tensor's values. Raises NotNative if nothing in the IR can be told to be it."""
        tensor = self._find(name)[0]
        return tensor if isinstance(tensor, np.ndarray) else fold(tensor.output(0))

    def node(self, name: str) -> ov.Node | None:
        """What the IR makes the tensor of; None for one that does not stand there by itself."""
        tensor = self._find(name)[0]
        return None if isinstance(tensor, np.ndarray) else tensor

    def rounding(self, module: str, port: int = 0) -> Rounding | None:
        """What is made of a module's input before it is read; see `IrGraph.rounding`."""
        parts = (part for part in self._parts if module.startswith(part.prefix))
        return next((part.graph.rounding(part.inner(module), port) for part in parts), None)

    def _find(self, name: str) -> tuple[ov.Node | Floats, bool]:
        """The tensor, and whether the IR really has it."""
        if name in self._known:
            return self._known[name], True
        if name not in self._found:
            self._found[name] = self._look_up(name)
        return self._found[name]

    def _look_up(self, name: str) -> tuple[ov.Node | Floats, bool]:
        module, _, kind = name.rpartition(".")
        for part in self._parts:
            if not name.startswith(part.prefix):
                continue
            if kind in ("weight", "bias") and (layer := part.graph.layer(part.inner(module))) is not None:
                return _of_layer(part.graph, layer, kind)
            if (parameter := part.graph.parameter(part.inner(name))) is not None:
                return parameter.get_node(), True
        raise _Missing(f"{self._folder}: tensor {name} cannot be found in the OpenVINO model.")


class IrWeights:
    """Tensors of an IR folder as a graph wants them: as they are stored, or rounded anew if another format is asked for."""

    def __init__(self, tensors: IrTensors, weight_format: WeightFormat = "auto", *, expand: bool = False) -> None:
        self._tensors = tensors
        self._format = weight_format
        self._expand = expand
        self._rounded = QuantizedWeights(tensors, weight_format, expand=expand)
        self._entering: dict[tuple[str, str], ov.Node] = {}

    def has(self, name: str) -> bool:
        return self._tensors.has(name)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensors.shape(name)

    def format_of(self, name: str) -> str:
        """What the tensor is kept in: the format asked for, or with "auto" the one it is stored in."""
        return self._rounded.format_of(name)

    def array(self, name: str) -> Floats:
        return self._tensors.array(name)

    def tensor(self, name: str) -> ov.Node:
        return self._rounded.tensor(name)

    def kernel(self, name: str) -> ov.Node:
        return self._rounded.kernel(name) if self._kept(name) is None else self.tensor(name)

    def rounded(self, array: Floats, axis: int = 0) -> Floats:
        return self._rounded.rounded(array, axis)

    def expanded(self) -> IrWeights:
        """The same values, handed out as float32 constants; see `RoundedWeights.expanded`."""
        return IrWeights(self._tensors, self._format, expand=True)

    def matrix(self, name: str) -> ov.Node:
        node = self._kept(name)
        return self._rounded.matrix(name) if node is None else as_float32(node)

    def rows(self, name: str, indices: ov.Output) -> ov.Node:
        node = self._kept(name)
        return self._rounded.rows(name, indices) if node is None else gather_rows(node.output(0), indices)

    def entering(self, module: str, hidden: ov.Node, port: int = 0) -> ov.Node:
        rounding = self._tensors.rounding(module, port)
        if rounding is None:
            return hidden
        key = (rounding.name, hidden.get_name())  # what several layers read is rounded once
        if key not in self._entering:
            self._entering[key] = rounding.applied(hidden)
        return self._entering[key]

    def _kept(self, name: str) -> ov.Node | None:
        """What stands in the IR, if it is in the format asked for. The node itself, so that tied uses share it."""
        stored = self._tensors.stored(name)
        if self._format not in ("auto", stored):
            return None
        # A layer that reads 8 bits computes in them, if its matrix is in 8 bits too.
        if self._expand and stored != "fp32" and self._tensors.rounding(name.rpartition(".")[0]) is None:
            return None
        return self._tensors.node(name)


def open_part(path: Path, prefix: str, landmark: str, *, rounded: bool = False) -> Part:
    """Read a file, and find where in it the model begins: before the module that the model calls `landmark`.

    `rounded` says that the model's graphs ask what is `entering` their layers. Raises NotNative if there is no such module.
    """
    graph = read_graph(path, rounded=rounded)
    root = graph.root_of(landmark.removeprefix(prefix))
    if root is None:
        raise NotNative(f"{path}: no operation is named after the module {landmark}.")
    return Part(graph, prefix, root)


def _of_layer(graph: IrGraph, layer: Operation, kind: str) -> tuple[ov.Node | Floats, bool]:
    if layer.kind != "MVN" and kind == "weight":
        return _matrix(graph, layer), True
    gain, shift = graph.norm(layer) if layer.kind == "MVN" else (None, graph.bias(layer))
    values = gain if kind == "weight" else shift
    # Ones that multiply and zeros that are added are left out of an IR. A linear layer may really have no bias, and
    # asks first; a norm has both.
    left_out = np.full(graph.width(layer), kind == "weight", np.float32)
    return (values, True) if values is not None else (left_out, layer.kind == "MVN")


def _matrix(graph: IrGraph, layer: Operation) -> ov.Node:
    node = graph.weight(layer).get_node()
    if layer.kind == "MatMul" and not layer.attributes["transpose_b"]:
        return ops.transpose(node, ops.constant(np.array([1, 0])))
    return node
