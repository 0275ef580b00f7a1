"""One IR file to look things up in: layers by the path of the module they were made from, and what is folded around them.

Exporters name an operation after its module (`__module.decoder.layers.0.fc1/aten::linear/MatMul`), and keep a
parameter's own name (`self.decoder.layers.0.fc1.weight`) only where nothing was folded into it. A bias of zeros and a
gain of ones leave nothing behind. It must not know which model it reads.
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
from antiphon.weights.openvino_ir.fake_quantize import Rounding

_MODULE = re.compile(r"__module\.(?P<module>.+?)/")
_PARAMETER = re.compile(r"self\.(?P<name>.+?)(?:_compressed)?$")
# Which input of a layer is its weights.
_WEIGHT = {"MatMul": 1, "Convolution": 1, "ConvolutionBackpropData": 1, "Gather": 0}
# Behind or before a layer these make another layer of it, where their other side is a constant row.
_CHANGING = ("Multiply", "Divide", "Subtract", "BatchNormInference")
_QUANTIZING = ("FakeQuantize", "FakeConvert")
_ATTENTION = "ScaledDotProductAttention"
# What a rounded value may go through on its way to a layer.
_RESHAPING = ("Reshape", "Transpose", "Squeeze", "Unsqueeze")


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the graph; `sources` are the places of what its inputs come from."""

    place: int
    node: ov.Node
    kind: str
    name: str
    sources: tuple[int, ...]
    folds: bool  # a constant, or made of constants alone

    @property
    def attributes(self) -> dict[str, Any]:
        found: dict[str, Any] = self.node.get_attributes()
        return found


class IrGraph:
    """The operations of one IR file. Made by `read_graph`."""

    def __init__(self, path: Path, model: ov.Model) -> None:
        self.path = path
        self._model = model  # the nodes do not keep each other's consumers alive
        self._operations = _operations(model)
        self._users: dict[int, list[int]] = {one.place: [] for one in self._operations}
        for one in self._operations:
            for source in one.sources:
                self._users[source].append(one.place)

    def check_rounding(self, *, known: bool) -> None:
        """Raise NotNative if activations are rounded: at all, or if `known` in places that `rounding` is not asked about."""
        for one in self._operations:
            if one.kind in _QUANTIZING and not (known and one.kind == "FakeQuantize" and self._leads_to_layers(one)):
                raise NotNative(
                    f"{self.path}: activations are quantized too ({one.name}), which only OpenVINO GenAI serves."
                )

    def rounding(self, module: str, port: int = 0) -> Rounding | None:
        """What is made of a layer's input, or of one of those of a module's attention (query, key, value), before it
        reads it; None if nothing is."""
        layer = self._attentions.get(module) or self.layer(module)
        if layer is None or layer.kind == "Gather":
            return None
        place, scale = layer.sources[port if layer.kind == _ATTENTION else self.way(layer)], 1.0
        while (one := self._operations[place]).kind != "FakeQuantize":
            factor = self._scale_of(one)
            if one.kind not in _RESHAPING and factor is None:
                return None
            scale *= factor or 1.0
            place = one.sources[self.way(one)]
        low, high, least, most = (fold(self.source(one, side).node.output(0)) for side in range(1, 5))
        smoothing = self.source(one)
        factors = self.constant_of(smoothing) if smoothing.kind == "Multiply" and self._changes(smoothing) else None
        return Rounding(one.name, (low, high, least, most), one.attributes["levels"], factors).times(scale)

    def operations(self, kind: str) -> list[Operation]:
        """All of a kind, in the order of the data's way."""
        return [one for one in self._operations if one.kind == kind]

    def source(self, operation: Operation, port: int = 0) -> Operation:
        return self._operations[operation.sources[port]]

    def user(self, operation: Operation) -> Operation | None:
        """What works on the operation's output, if that is one only."""
        users = self._users[operation.place]
        return self._operations[users[0]] if len(users) == 1 else None

    def way(self, operation: Operation) -> int:
        """The input that data flows in by; the other ones are constants."""
        return next((port for port, source in enumerate(operation.sources) if not self._operations[source].folds), 0)

    def constant_of(self, operation: Operation) -> Floats | None:
        """The constant that an operation puts together with what flows through it."""
        for source in operation.sources:
            if self._operations[source].folds:
                return fold(self._operations[source].node.output(0))
        return None

    def layer(self, module: str) -> Operation | None:
        """The multiplication, convolution, table or norm of a module."""
        return self._layers.get(module)

    def root_of(self, module: str) -> str | None:
        """What the file puts before the path of a module: the wrappers it was exported in. None if it has no such."""
        paths = (path for path in self._layers if path == module or path.endswith(f".{module}"))
        found = next(paths, None)
        return None if found is None else found.removesuffix(module)

    def parameter(self, name: str) -> ov.Output | None:
        """What the constant of that name becomes when all that is folded behind it is done."""
        found = self._parameters.get(name)
        while found is not None:
            behind = [one for one in self._users[found.place] if self._operations[one].folds]
            if not behind:
                return found.node.output(0)
            found = self._operations[behind[0]]
        return None

    def constants_in(self, module: str) -> list[Floats]:
        """The constants that a module's operations read, apart from shapes and indices."""
        name = f"__module.{module}/"
        found = []
        for one in self._operations:
            if one.name.startswith(name) and not one.folds and one.node.get_output_element_type(0).is_real():
                sources = [self._operations[source] for source in one.sources]
                found += [fold(each.node.output(0)) for each in sources if _is_real_constant(each)]
        return found

    def width(self, layer: Operation) -> int:
        """How many values a layer makes of each row, or channels."""
        shape = layer.node.get_output_partial_shape(0)
        return int(shape[1 if layer.kind.startswith("Convolution") else len(shape) - 1].get_length())

    def weight(self, layer: Operation) -> ov.Output:
        """The layer's weights, decompression and all. Raises NotNative where another layer was folded into them."""
        before = self.source(layer) if layer.kind != "Gather" else None
        if before is not None and before.kind in _CHANGING and self._changes(before):
            raise NotNative(
                f"{self.path}: {before.name} scales what goes into {layer.name}; such a layer is not known."
            )
        return layer.node.input(_WEIGHT[layer.kind]).get_source_output()

    def bias(self, layer: Operation) -> Floats | None:
        """What is added behind a layer, flat; None if nothing is. A scale between the two is taken out again."""
        factor, user = 1.0, self.user(layer)
        width = self.width(layer)
        while user is not None:
            constant = self.constant_of(user)
            if constant is None:
                return None
            if user.kind == "Add":
                return (constant / factor).reshape(-1) if constant.size == width else None
            if user.kind in _CHANGING and constant.size > 1:
                raise NotNative(f"{self.path}: {user.name} scales what {layer.name} makes; such a layer is not known.")
            if user.kind != "Multiply":
                return None
            factor *= constant.item()
            user = self.user(user)
        return None

    def norm(self, layer: Operation) -> tuple[Floats | None, Floats | None]:
        """The gain and the shift behind a normalisation, flat; None for the one that is not there."""
        gain = shift = None
        user = self.user(layer)
        if user is not None and user.kind == "Multiply" and (gain := self.constant_of(user)) is not None:
            user = self.user(user)
        if user is not None and user.kind == "Add":
            shift = self.constant_of(user)
        return None if gain is None else gain.reshape(-1), None if shift is None else shift.reshape(-1)

    def _leads_to_layers(self, rounded: Operation) -> bool:
        """Whether all that reads a rounded value is a layer or attention, and it has one range for all channels."""
        ends = (self.source(rounded, side) for side in range(1, 5))
        if any(not end.folds or fold(end.node.output(0)).size > 1 for end in ends):
            return False
        known = {one.place for one in (*self._layers.values(), *self._attentions.values())}
        waiting = list(self._users[rounded.place])
        while waiting:
            user = self._operations[waiting.pop()]
            if user.kind in _RESHAPING or self._scale_of(user) is not None:
                waiting += self._users[user.place]
            elif user.place not in known and user.kind != "ShapeOf":
                return False
        return True

    def _scale_of(self, operation: Operation) -> float | None:
        """What an operation multiplies all values with, if it does that."""
        constant = self.constant_of(operation) if operation.kind == "Multiply" else None
        return float(constant.item()) if constant is not None and constant.size == 1 else None

    def _changes(self, operation: Operation) -> bool:
        constant = self.constant_of(operation)
        return (
            constant is not None
            and constant.size > 1
            and "MVN" not in (self._operations[one].kind for one in operation.sources)
        )

    @cached_property
    def _layers(self) -> dict[str, Operation]:
        found: dict[str, Operation] = {}
        weighted = [one for one in self._operations if self._is_layer(one)]
        for one in weighted:
            if (match := _MODULE.match(one.name)) is not None:
                found.setdefault(match["module"], one)
        # Exporters that name no operation name the constants.
        for one in weighted:
            for name in self._parameters_under(one):
                found.setdefault(name.removesuffix(".weight"), one)
        return found

    @cached_property
    def _attentions(self) -> dict[str, Operation]:
        matches = ((_MODULE.match(one.name), one) for one in self.operations(_ATTENTION))
        return {match["module"]: one for match, one in matches if match is not None}

    def _is_layer(self, one: Operation) -> bool:
        if one.kind == "MVN":
            return "/aten::layer_norm/" in one.name
        port = _WEIGHT.get(one.kind)
        return port is not None and not one.folds and _is_real_constant(self._operations[one.sources[port]])

    def _parameters_under(self, layer: Operation) -> Iterator[str]:
        waiting = [] if layer.kind == "MVN" else [layer.sources[_WEIGHT[layer.kind]]]
        while waiting:
            one = self._operations[waiting.pop()]
            waiting += one.sources
            if one.kind == "Constant" and (match := _PARAMETER.match(one.name)) is not None:
                yield match["name"]

    @cached_property
    def _parameters(self) -> dict[str, Operation]:
        named = ((one, _PARAMETER.match(one.name)) for one in self._operations if one.kind == "Constant")
        return {match["name"]: one for one, match in named if match is not None}


def read_graph(path: Path, *, rounded: bool = False) -> IrGraph:
    """Read an IR; one that rounds activations too only if `rounded`, and where `IrGraph.rounding` can tell.

    Raises ConfigError if the file or its weights are missing or damaged, NotNative for activations that cannot be told.
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
    graph.check_rounding(known=rounded)
    return graph


def _operations(model: ov.Model) -> list[Operation]:
    places: dict[str, int] = {}
    found: list[Operation] = []
    for place, node in enumerate(model.get_ordered_ops()):
        kind: str = node.get_type_name()
        sources = tuple(places[one.get_source_output().get_node().get_name()] for one in node.inputs())
        folds = kind == "Constant" or (kind in DECOMPRESSION and all(found[source].folds for source in sources))
        places[node.get_name()] = place
        found.append(Operation(place, node, kind, node.get_friendly_name(), sources, folds))
    return found


def _is_real_constant(operation: Operation) -> bool:
    return operation.folds and operation.node.get_output_element_type(0).is_real()
