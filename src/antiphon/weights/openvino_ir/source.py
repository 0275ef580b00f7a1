"""An OpenVINO IR folder as a weight source: tensors by the name they had in the checkpoint it was exported from.

Matrices are used as they are in the IR, with their decompression, whatever their format. A family says which file holds
what, and derives the tensors that cannot be found by name.
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
from antiphon.weights.openvino_ir.fake_quantize import FakeQuantize
from antiphon.weights.openvino_ir.graph import IrGraph, Operation, read_ir_graph
from antiphon.weights.quantized import QuantizedWeights
from antiphon.weights.source import as_float32


class _Missing(NotNative):
    """The tensor cannot be identified in the IR."""


@dataclass(frozen=True, slots=True)
class IrPart:
    """A file with the tensors whose checkpoint names begin with `prefix`, which is `root` in the file."""

    graph: IrGraph
    prefix: str
    root: str

    def inner(self, name: str) -> str:
        """The name in the file of a tensor or module of the checkpoint."""
        return self.root + name.removeprefix(self.prefix)


class IrTensors:
    """Implements `StoredTensors` over IR files.

    `parts` are searched in order; `known` are tensors that the caller has derived.
    """

    def __init__(self, folder: Path, parts: Sequence[IrPart], known: Mapping[str, Floats]) -> None:
        self._folder = folder
        self._parts = parts
        self._known = known
        self._cache: dict[str, tuple[ov.Node | Floats, bool]] = {}

    def has(self, name: str) -> bool:
        """Whether the tensor exists; a bias of zeros does not."""
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
        """The tensor's values, decompressed. Raises NotNative if it cannot be identified in the IR."""
        tensor = self._find(name)[0]
        return tensor if isinstance(tensor, np.ndarray) else fold(tensor.output(0))

    def node(self, name: str) -> ov.Node | None:
        """The tensor's node with its decompression; None for a tensor that was derived."""
        tensor = self._find(name)[0]
        return None if isinstance(tensor, np.ndarray) else tensor

    def fake_quantize(self, module: str, port: int = 0) -> FakeQuantize | None:
        """The fake quantization of a module's input; see `IrGraph.fake_quantize`."""
        parts = (part for part in self._parts if module.startswith(part.prefix))
        return next((part.graph.fake_quantize(part.inner(module), port) for part in parts), None)

    def _find(self, name: str) -> tuple[ov.Node | Floats, bool]:
        """The tensor, and whether the IR has it (False if it was left out because it would change nothing)."""
        if name in self._known:
            return self._known[name], True
        if name not in self._cache:
            self._cache[name] = self._look_up(name)
        return self._cache[name]

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
    """Implements `Weights` over an IR folder: tensors as they are stored, or quantized anew if another format is selected."""

    def __init__(self, tensors: IrTensors, weight_format: WeightFormat = "auto", *, expand: bool = False) -> None:
        self._tensors = tensors
        self._format = weight_format
        self._expand = expand
        self._requantized = QuantizedWeights(tensors, weight_format, expand=expand)
        self._quantized_inputs: dict[tuple[str, str], ov.Node] = {}

    def has(self, name: str) -> bool:
        return self._tensors.has(name)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._tensors.shape(name)

    def format_of(self, name: str) -> str:
        return self._requantized.format_of(name)

    def array(self, name: str) -> Floats:
        return self._tensors.array(name)

    def tensor(self, name: str) -> ov.Node:
        return self._requantized.tensor(name)

    def kernel(self, name: str) -> ov.Node:
        return self._requantized.kernel(name) if self._as_stored(name) is None else self.tensor(name)

    def quantized(self, array: Floats, axis: int = 0) -> Floats:
        return self._requantized.quantized(array, axis)

    def expanded(self) -> IrWeights:
        """The same values as float32 constants; see `QuantizedWeights.expanded`."""
        return IrWeights(self._tensors, self._format, expand=True)

    def matrix(self, name: str) -> ov.Node:
        node = self._as_stored(name)
        return self._requantized.matrix(name) if node is None else as_float32(node)

    def rows(self, name: str, indices: ov.Output) -> ov.Node:
        node = self._as_stored(name)
        return self._requantized.rows(name, indices) if node is None else gather_rows(node.output(0), indices)

    def quantized_input(self, module: str, hidden: ov.Node, port: int = 0) -> ov.Node:
        fake_quantize = self._tensors.fake_quantize(module, port)
        if fake_quantize is None:
            return hidden
        key = (fake_quantize.name, hidden.get_name())  # an input that several layers share is quantized once
        if key not in self._quantized_inputs:
            self._quantized_inputs[key] = fake_quantize.apply(hidden)
        return self._quantized_inputs[key]

    def _as_stored(self, name: str) -> ov.Node | None:
        """The tensor's own node in the IR, shared by tied uses; None if another format is selected."""
        stored = self._tensors.stored(name)
        if self._format not in ("auto", stored):
            return None
        # A layer with an 8-bit input computes in 8 bits if its matrix is in 8 bits too.
        if self._expand and stored != "fp32" and self._tensors.fake_quantize(name.rpartition(".")[0]) is None:
            return None
        return self._tensors.node(name)


def open_part(path: Path, prefix: str, landmark: str, *, quantized_inputs: bool = False) -> IrPart:
    """Read a file; its `root` is what precedes the checkpoint's module `landmark` in the file.

    `quantized_inputs` says that the model's graphs use `quantized_input`. Raises NotNative if there is no such module.
    """
    graph = read_ir_graph(path, quantized_inputs=quantized_inputs)
    root = graph.root_of(landmark.removeprefix(prefix))
    if root is None:
        raise NotNative(f"{path}: no operation is named after the module {landmark}.")
    return IrPart(graph, prefix, root)


def _of_layer(graph: IrGraph, layer: Operation, kind: str) -> tuple[ov.Node | Floats, bool]:
    if layer.kind != "MVN" and kind == "weight":
        return _matrix(graph, layer), True
    gain, shift = graph.norm(layer) if layer.kind == "MVN" else (None, graph.bias(layer))
    values = gain if kind == "weight" else shift
    # Exporters leave out a gain of ones and a bias of zeros. A norm has both; a linear layer may have no bias.
    left_out = np.full(graph.width(layer), kind == "weight", np.float32)
    return (values, True) if values is not None else (left_out, layer.kind == "MVN")


def _matrix(graph: IrGraph, layer: Operation) -> ov.Node:
    node = graph.weight(layer).get_node()
    if layer.kind == "MatMul" and not layer.attributes["transpose_b"]:
        return ops.transpose(node, ops.constant(np.array([1, 0])))
    return node
