"""Lookups in one IR file: layers by the path of the module they were exported from, and the constants folded around them.

Exporters name an operation after its module (`__module.decoder.layers.0.fc1/aten::linear/MatMul`), and keep a parameter's
own name (`self.decoder.layers.0.fc1.weight`) only if nothing was folded into it. They leave out a bias of zeros and a gain
of ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import openvino as ov

from antiphon.errors import ConfigError, NotNative
from antiphon.weights.openvino_ir.constants import DECOMPRESSION, Floats, fold
from antiphon.weights.openvino_ir.fake_quantize import FakeQuantize

_MODULE = re.compile(r"__module\.(?P<module>.+?)/")
_PARAMETER = re.compile(r"self\.(?P<name>.+?)(?:_compressed)?$")
# The input of a layer that is its weights.
_WEIGHT = {"MatMul": 1, "Convolution": 1, "ConvolutionBackpropData": 1, "Gather": 0}
# After or before a layer these change what it computes, if their other input is a constant row.
_CHANGING = ("Multiply", "Divide", "Subtract", "BatchNormInference")
_QUANTIZING = ("FakeQuantize", "FakeConvert")
_ATTENTION = "ScaledDotProductAttention"
# Operations that may lie between a FakeQuantize and the layer that reads it.
_RESHAPING = ("Reshape", "Transpose", "Squeeze", "Unsqueeze")


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the graph; `sources` are the indices of the operations that its inputs come from."""

    index: int
    node: ov.Node
    kind: str
    name: str
    sources: tuple[int, ...]
    folds: bool  # a constant, or computed from constants only

    @property
    def attributes(self) -> dict[str, Any]:
        attributes: dict[str, Any] = self.node.get_attributes()
        return attributes


class IrGraph:
    """The operations of one IR file; `read_ir_graph` makes it."""

    def __init__(self, path: Path, model: ov.Model) -> None:
        self.path = path
        self._model = model  # the nodes do not keep each other's consumers alive
        self._operations = _operations(model)
        self._users: dict[int, list[int]] = {operation.index: [] for operation in self._operations}
        for operation in self._operations:
            for source in operation.sources:
                self._users[source].append(operation.index)

    def check_fake_quantize(self, *, supported: bool) -> None:
        """Raise NotNative if activations are quantized: at all, or if `supported` elsewhere than at inputs of layers."""
        for operation in self._operations:
            if operation.kind not in _QUANTIZING:
                continue
            if not (supported and operation.kind == "FakeQuantize" and self._leads_to_layers(operation)):
                raise NotNative(
                    f"{self.path}: activations are quantized too ({operation.name}), which only OpenVINO GenAI serves."
                )

    def fake_quantize(self, module: str, port: int = 0) -> FakeQuantize | None:
        """The fake quantization of a layer's input, or of input `port` of a module's attention (query, key, value); None
        if there is none."""
        layer = self._attentions.get(module) or self.layer(module)
        if layer is None or layer.kind == "Gather":
            return None
        index, scale = layer.sources[port if layer.kind == _ATTENTION else self.data_port(layer)], 1.0
        while (operation := self._operations[index]).kind != "FakeQuantize":
            factor = self._scale_of(operation)
            if operation.kind not in _RESHAPING and factor is None:
                return None
            scale *= factor or 1.0
            index = operation.sources[self.data_port(operation)]
        low, high, least, most = (fold(self.source(operation, port).node.output(0)) for port in range(1, 5))
        limits, levels, smoothing = (low, high, least, most), operation.attributes["levels"], self.source(operation)
        factors = self.constant_of(smoothing) if smoothing.kind == "Multiply" and self._changes(smoothing) else None
        return FakeQuantize(operation.name, limits, levels, factors).scaled(scale)

    def operations(self, kind: str) -> list[Operation]:
        """All operations of a kind, in the order of the data flow."""
        return [operation for operation in self._operations if operation.kind == kind]

    def source(self, operation: Operation, port: int = 0) -> Operation:
        """The operation that an input comes from."""
        return self._operations[operation.sources[port]]

    def user(self, operation: Operation) -> Operation | None:
        """The operation that uses the output, if it is the only one."""
        users = self._users[operation.index]
        return self._operations[users[0]] if len(users) == 1 else None

    def data_port(self, operation: Operation) -> int:
        """The first input that is not constant."""
        return next((port for port, source in enumerate(operation.sources) if not self._operations[source].folds), 0)

    def constant_of(self, operation: Operation) -> Floats | None:
        """The values of the first constant input; None if there is none."""
        for source in operation.sources:
            if self._operations[source].folds:
                return fold(self._operations[source].node.output(0))
        return None

    def layer(self, module: str) -> Operation | None:
        """The MatMul, convolution, Gather or norm of a module."""
        return self._layers.get(module)

    def root_of(self, module: str) -> str | None:
        """What precedes `module` in its path in this file (the exporter's wrappers); None if it has no such module."""
        paths = (path for path in self._layers if path == module or path.endswith(f".{module}"))
        path = next(paths, None)
        return None if path is None else path.removesuffix(module)

    def parameter(self, name: str) -> ov.Output | None:
        """The constant of that name, after all constant operations on it."""
        operation = self._parameters.get(name)
        while operation is not None:
            users = [user for user in self._users[operation.index] if self._operations[user].folds]
            if not users:
                return operation.node.output(0)
            operation = self._operations[users[0]]
        return None

    def constants_in(self, module: str) -> list[Floats]:
        """The float constants that a module's operations read."""
        name = f"__module.{module}/"
        constants = []
        for user in self._operations:
            if user.name.startswith(name) and not user.folds and user.node.get_output_element_type(0).is_real():
                sources = [self._operations[source] for source in user.sources]
                constants += [fold(source.node.output(0)) for source in sources if _is_real_constant(source)]
        return constants

    def width(self, layer: Operation) -> int:
        """The width of a layer's output: its last axis, or the channels of a convolution."""
        shape = layer.node.get_output_partial_shape(0)
        return int(shape[1 if layer.kind.startswith("Convolution") else len(shape) - 1].get_length())

    def weight(self, layer: Operation) -> ov.Output:
        """The layer's weights with their decompression. Raises NotNative if a scale before the layer changes them."""
        before = self.source(layer) if layer.kind != "Gather" else None
        if before is not None and before.kind in _CHANGING and self._changes(before):
            raise NotNative(
                f"{self.path}: {before.name} scales what goes into {layer.name}; such a layer is not supported."
            )
        return layer.node.input(_WEIGHT[layer.kind]).get_source_output()

    def bias(self, layer: Operation) -> Floats | None:
        """The constant added after a layer, flat; None if there is none. A scale between the two is divided out."""
        factor, user = 1.0, self.user(layer)
        width = self.width(layer)
        while user is not None:
            constant = self.constant_of(user)
            if constant is None:
                return None
            if user.kind == "Add":
                return (constant / factor).reshape(-1) if constant.size == width else None
            if user.kind in _CHANGING and constant.size > 1:
                raise NotNative(
                    f"{self.path}: {user.name} scales what {layer.name} makes; such a layer is not supported."
                )
            if user.kind != "Multiply":
                return None
            factor *= constant.item()
            user = self.user(user)
        return None

    def norm(self, layer: Operation) -> tuple[Floats | None, Floats | None]:
        """The gain and the shift after a normalisation, flat; None for one that was left out."""
        gain = shift = None
        user = self.user(layer)
        if user is not None and user.kind == "Multiply" and (gain := self.constant_of(user)) is not None:
            user = self.user(user)
        if user is not None and user.kind == "Add":
            shift = self.constant_of(user)
        return None if gain is None else gain.reshape(-1), None if shift is None else shift.reshape(-1)

    def _leads_to_layers(self, fake_quantize: Operation) -> bool:
        """Whether only layers and attention read the output, and one range holds for all channels."""
        limits = (self.source(fake_quantize, port) for port in range(1, 5))
        if any(not limit.folds or fold(limit.node.output(0)).size > 1 for limit in limits):
            return False
        readers = {operation.index for operation in (*self._layers.values(), *self._attentions.values())}
        waiting = list(self._users[fake_quantize.index])
        while waiting:
            user = self._operations[waiting.pop()]
            if user.kind in _RESHAPING or self._scale_of(user) is not None:
                waiting += self._users[user.index]
            elif user.index not in readers and user.kind != "ShapeOf":
                return False
        return True

    def _scale_of(self, operation: Operation) -> float | None:
        """The number that an operation multiplies all values by; None if it does something else."""
        constant = self.constant_of(operation) if operation.kind == "Multiply" else None
        return float(constant.item()) if constant is not None and constant.size == 1 else None

    def _changes(self, operation: Operation) -> bool:
        """Whether an operation combines each channel with its own constant, other than the gain of a norm."""
        constant = self.constant_of(operation)
        return (
            constant is not None
            and constant.size > 1
            and "MVN" not in (self._operations[source].kind for source in operation.sources)
        )

    @cached_property
    def _layers(self) -> dict[str, Operation]:
        layers: dict[str, Operation] = {}
        operations = [operation for operation in self._operations if self._is_layer(operation)]
        for operation in operations:
            if (match := _MODULE.match(operation.name)) is not None:
                layers.setdefault(match["module"], operation)
        # Exporters that do not name operations name the constants.
        for operation in operations:
            for name in self._parameters_under(operation):
                layers.setdefault(name.removesuffix(".weight"), operation)
        return layers

    @cached_property
    def _attentions(self) -> dict[str, Operation]:
        matches = ((_MODULE.match(operation.name), operation) for operation in self.operations(_ATTENTION))
        return {match["module"]: operation for match, operation in matches if match is not None}

    def _is_layer(self, operation: Operation) -> bool:
        if operation.kind == "MVN":
            return "/aten::layer_norm/" in operation.name
        port = _WEIGHT.get(operation.kind)
        return port is not None and not operation.folds and _is_real_constant(self.source(operation, port))

    def _parameters_under(self, layer: Operation) -> Iterator[str]:
        waiting = [] if layer.kind == "MVN" else [layer.sources[_WEIGHT[layer.kind]]]
        while waiting:
            operation = self._operations[waiting.pop()]
            waiting += operation.sources
            if operation.kind == "Constant" and (match := _PARAMETER.match(operation.name)) is not None:
                yield match["name"]

    @cached_property
    def _parameters(self) -> dict[str, Operation]:
        matches = ((_PARAMETER.match(constant.name), constant) for constant in self.operations("Constant"))
        return {match["name"]: constant for match, constant in matches if match is not None}


def read_ir_graph(path: Path, *, quantized_inputs: bool = False) -> IrGraph:
    """Read an IR file; quantized activations are accepted only with `quantized_inputs`, and only at inputs of layers.

    Raises ConfigError if the file or its weights are missing or damaged, NotNative for other quantized activations.
    """
    weights = path.with_suffix(".bin")
    for file in (path, weights):
        if not file.is_file():
            raise ConfigError(f"{file}: no such file, but the folder is an OpenVINO model; copy the file again.")
    try:
        graph = IrGraph(path, ov.Core().read_model(path, weights))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ConfigError(
            f"{path}: cannot be read as an OpenVINO model ({reason}); copy it and {weights.name} again."
        ) from error
    graph.check_fake_quantize(supported=quantized_inputs)
    return graph


def _operations(model: ov.Model) -> list[Operation]:
    indices: dict[str, int] = {}
    operations: list[Operation] = []
    for index, node in enumerate(model.get_ordered_ops()):
        kind: str = node.get_type_name()
        sources = tuple(indices[port.get_source_output().get_node().get_name()] for port in node.inputs())
        folds = kind == "Constant" or (kind in DECOMPRESSION and all(operations[source].folds for source in sources))
        indices[node.get_name()] = index
        operations.append(Operation(index, node, kind, node.get_friendly_name(), sources, folds))
    return operations


def _is_real_constant(operation: Operation) -> bool:
    return operation.folds and operation.node.get_output_element_type(0).is_real()
