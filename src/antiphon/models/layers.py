"""The building blocks of every family's graphs: layers by weight name, attention, parameters, constants.

Attention is written out as MatMul-Softmax-MatMul: an SDPA op outside OpenVINO's stateful pattern is 3 to 4 times slower
at batch 16.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from antiphon.weights.source import WeightSource

# Minus infinity in sums and comparisons; the difference of two real infinities would be NaN.
NEVER = -1e30

Tensor: TypeAlias = ov.Tensor
Node: TypeAlias = ov.Node
Model: TypeAlias = ov.Model
CacheType = Literal["bf16", "f32"]


def share(array: NDArray[np.generic]) -> Tensor:
    """A contiguous array as a tensor over the same memory; uint16 holds the bits of bf16, which numpy lacks.

    The tensor does not keep the array alive: the caller must, for as long as a request may touch it.
    """
    if array.dtype == np.uint16:
        return ov.Tensor(array, ov.Shape(list(array.shape)), ov.Type.bf16)
    return ov.Tensor(array, shared_memory=True)


def linear(hidden: Node, weights: WeightSource, name: str) -> Node:
    """A linear layer, `[…, in]` -> `[…, out]`, whose matrix the source may compress; with its bias, if it has one."""
    product = ops.matmul(weights.quantized_input(name, hidden), weights.matrix(f"{name}.weight"), False, True)
    return ops.add(product, weights.tensor(f"{name}.bias")) if weights.has(f"{name}.bias") else product


def layer_norm(hidden: Node, weights: WeightSource, name: str, epsilon: float) -> Node:
    """Layer norm over the last axis of `[b, n, width]`."""
    normed = ops.mvn(hidden, axes(2), True, epsilon, "inside_sqrt")
    return ops.add(ops.multiply(normed, weights.tensor(f"{name}.weight")), weights.tensor(f"{name}.bias"))


def project(hidden: Node, weights: WeightSource, name: str, heads: int) -> tuple[Node, Node, Node]:
    """Query (scaled), key and value of `hidden [b, n, width]`: `[b, heads, n, head width]` each."""
    return query_of(hidden, weights, name, heads), *key_and_value(hidden, weights, name, heads)


def query_of(hidden: Node, weights: WeightSource, name: str, heads: int) -> Node:
    """The query, divided by the root of the head width so that scores need no scaling: `[b, heads, n, head width]`."""
    projected = linear(hidden, weights, f"{name}.q_proj")
    head_width = weights.shape(f"{name}.q_proj.weight")[0] // heads
    return weights.quantized_input(name, split_heads(ops.multiply(projected, scalar(head_width**-0.5)), heads))


def key_and_value(hidden: Node, weights: WeightSource, name: str, heads: int) -> tuple[Node, Node]:
    """Key and value, `[b, heads, n, head width]` each."""
    key = split_heads(linear(hidden, weights, f"{name}.k_proj"), heads)
    value = split_heads(linear(hidden, weights, f"{name}.v_proj"), heads)
    return weights.quantized_input(name, key, 1), weights.quantized_input(name, value, 2)


def split_heads(hidden: Node, heads: int) -> Node:
    """`[b, n, width]` -> `[b, heads, n, head width]`."""
    split = ops.reshape(hidden, integers(0, 0, heads, -1), True)
    return ops.transpose(split, integers(0, 2, 1, 3))


def attention(query: Node, key: Node, value: Node, *added: Node) -> Node:
    """`[b, heads, n, head width]` each -> `[b, n, width]`; `added` are added to the scores (Vaswani et al. 2017, section 3.2)."""
    return mix(attention_weights(query, key, *added), value)


def attention_weights(query: Node, key: Node, *added: Node) -> Node:
    """The softmax of the scores of each query and key: `[b, heads, n, t]`, rows that sum to 1."""
    scores = ops.matmul(query, key, False, True)
    for node in added:
        scores = ops.add(scores, node)
    return ops.softmax(scores, -1)


def mix(weights: Node, value: Node) -> Node:
    """The weighted sums of the values, with the heads concatenated: `[b, n, width]`."""
    mixed = ops.matmul(weights, value, False, False)
    return ops.reshape(ops.transpose(mixed, integers(0, 2, 1, 3)), integers(0, 0, -1), True)


def stack(nodes: list[Node]) -> Node:
    """Nodes of one shape along a new first axis."""
    return ops.concat([ops.unsqueeze(node, axes(0)) for node in nodes], 0)


def parameter(shape: list[int], kind: str, name: str) -> Node:
    """A named input; -1 in `shape` is a size that varies."""
    node = ops.parameter(ov.PartialShape(shape), getattr(ov.Type, kind))
    node.output(0).set_names({name})
    return node


def cast(node: Node, kind: CacheType) -> Node:
    return node if node.get_element_type().get_type_name() == kind else ops.convert(node, kind)


def scalar(value: float) -> Node:
    return ops.constant(np.float32(value))


def axis(value: int) -> Node:
    return ops.constant(np.int32(value))


def axes(*values: int) -> Node:
    return ops.constant(np.array(values, np.int64))


integers = axes  # the same constant, where the numbers are sizes or an order


def build(outputs: list[tuple[Node, str]], parameters: list[Node], name: str) -> Model:
    """A model of named outputs; an output is a node, or one output of a node that has several."""
    results = []
    for node, label in outputs:
        output = node if isinstance(node, ov.Output) else node.output(0)
        output.set_names({label})
        results.append(ops.result(output))
    return ov.Model(results, parameters, name)
