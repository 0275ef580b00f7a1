"""The building blocks of exported graphs: layers and state, named as optimum-intel names them.

Unlike in the engine's own graphs (`layers.py`), caches are state of the graph. They follow OpenVINO's pattern exactly,
which is what makes it fuse attention and cache.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from antiphon.models import layers as parts
from antiphon.models.layers import Model, Node
from antiphon.weights.openvino_ir.writer import WrittenWeights


def linear(hidden: Node, weights: WrittenWeights, name: str) -> Node:
    """A linear layer whose matrix may be compressed, with its bias, if it has one."""
    label = f"{weights.label(name)}/aten::linear"
    product = named(ops.matmul(hidden, weights.matrix(f"{name}.weight"), False, True), f"{label}/MatMul")
    if not weights.has(f"{name}.bias"):
        return product
    bias = weights.tensor(f"{name}.bias", *(1,) * (len(hidden.get_output_partial_shape(0)) - 1), -1)
    return named(ops.add(product, bias), f"{label}/Add")


def embedding(weights: WrittenWeights, name: str, rows: Node) -> Node:
    """Rows of a table that may be compressed."""
    embedded = ops.gather(weights.matrix(f"{name}.weight"), ops.convert(rows, "i32"), parts.axis(0))
    return named(embedded, f"{weights.label(name)}/aten::embedding/Gather")


def layer_norm(hidden: Node, weights: WrittenWeights, name: str, epsilon: float) -> Node:
    """Layer norm over the last axis of `[b, n, width]`."""
    label = f"{weights.label(name)}/aten::layer_norm"
    normed = named(ops.mvn(hidden, parts.axes(-1), True, epsilon, "inside_sqrt"), f"{label}/MVN")
    scaled = named(ops.multiply(normed, weights.tensor(f"{name}.weight", 1, 1, -1)), f"{label}/Multiply_1")
    return named(ops.add(scaled, weights.tensor(f"{name}.bias", 1, 1, -1)), f"{label}/Add")


def convolution(
    hidden: Node, kernel: Node, weights: WrittenWeights, name: str, half: int, *, stride: int = 1, dilation: int = 1
) -> Node:
    """A convolution over `[b, channels, n]`, padded by `half` at both ends, with its bias."""
    label = f"{weights.label(name)}/aten::_convolution"
    convolved = named(ops.convolution(hidden, kernel, [stride], [half], [half], [dilation]), f"{label}/Convolution")
    return named(ops.add(convolved, weights.tensor(f"{name}.bias", 1, -1, 1)), f"{label}/Add")


def heads_of(hidden: Node, weights: WrittenWeights, name: str, heads: int) -> Node:
    """A projection of attention, `[b, heads, n, head width]`; a query is scaled so that scores need no scaling."""
    head_width = weights.shape(f"{name}.weight")[0] // heads
    projected = linear(hidden, weights, name)
    if name.endswith(".q_proj"):
        label = weights.label(name.removesuffix(".q_proj"))
        projected = named(ops.multiply(projected, parts.scalar(head_width**-0.5)), f"{label}/aten::mul/Multiply")
    split = ops.reshape(projected, parts.integers(0, 0, heads, head_width), True)
    return ops.transpose(split, parts.integers(0, 2, 1, 3))


class State:
    """The state of a decoder between runs: variables inside the graph, and their assignments.

    `main` is the input whose first axis is the batch; `order [b]` (beam search) is the row that each sequence continues.
    """

    def __init__(self, main: Node, order: Node) -> None:
        self.sinks: list[Node] = []
        self._order = order
        self._batch = dimension(main, 0)

    def cache(self, variable: str, heads: int, head_width: int) -> Node:
        """The keys or values so far, `[b, heads, t, head width]`, reordered by `order`; empty at the start."""
        shape = ops.concat([self._batch, *(parts.integers(size) for size in (heads, 0, head_width))], 0)
        empty = ops.broadcast(parts.scalar(0.0), shape)
        read = ops.read_value(empty, variable, ov.Type.f32, ov.PartialShape([-1, heads, -1, head_width]))
        return ops.gather(read, self._order, ops.constant(np.int64(0)))

    def keep(self, cached: Node, variable: str) -> None:
        """Store a cache, with the positions of this run, for the next run."""
        self.sinks.append(ops.assign(cached, variable))

    def once(self, made: Node, variable: str) -> Node:
        """A value that the first run computes and later runs reuse."""
        read = ops.read_value(made, variable)
        self.sinks.append(ops.assign(read, variable))
        return read


def dimension(node: Node, axis: int) -> Node:
    """The size of one axis, `[1]`."""
    return ops.gather(ops.shape_of(node, "i64"), parts.integers(axis), ops.constant(np.int64(0)))


def parameter(shape: Sequence[int], kind: str, name: str) -> Node:
    return named(parts.parameter(list(shape), kind, name), name)


def build(outputs: Sequence[tuple[Node, str]], parameters: Sequence[Node], sinks: Sequence[Node] = ()) -> Model:
    """A model of named outputs, with its state."""
    results = []
    for node, name in outputs:
        node.output(0).set_names({name})
        results.append(ops.result(node))
    return ov.Model(results, list(sinks), list(parameters), "Model0")


def named(node: Node, name: str) -> Node:
    node.friendly_name = name
    return node
