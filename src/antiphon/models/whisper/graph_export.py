"""Whisper as the two OpenVINO graphs that optimum-intel writes: an encoder, and a decoder with its caches as state.

Every reader of such folders depends on these names and shapes of inputs, outputs and state.
"""

from __future__ import annotations

import numpy as np
from openvino import opset13 as ops

from antiphon.models import export_layers as export
from antiphon.models import layers as parts
from antiphon.models.export_layers import State
from antiphon.models.layers import Model, Node
from antiphon.models.whisper.config import FRAMES, WhisperConfig
from antiphon.weights.openvino_ir.writer import IrFormat, WrittenWeights

ENCODER_PREFIX = "model.encoder."

# The epsilon of every layer norm; Whisper's config does not name it.
_EPSILON = 1e-5

# Minus infinity in the mask: the lowest number of float16, so that a GPU can add it.
_LOWEST = -65504.0

_KINDS = ("key", "value")


def encoder_graph(config: WhisperConfig, weights: WrittenWeights) -> Model:
    """`input_features [b, mels, 3000]` -> `last_hidden_state [b, 1500, width]`."""
    features = export.parameter([-1, config.mels, FRAMES], "f32", "input_features")
    hidden = _gelu_convolution(features, weights, f"{ENCODER_PREFIX}conv1", stride=1)
    hidden = _gelu_convolution(hidden, weights, f"{ENCODER_PREFIX}conv2", stride=2)
    hidden = ops.transpose(hidden, parts.integers(0, 2, 1))
    table = weights.tensor(f"{ENCODER_PREFIX}embed_positions.weight", 1, config.source_positions, config.width)
    hidden = ops.add(hidden, table)
    for layer in range(config.encoder_layers):
        name = f"{ENCODER_PREFIX}layers.{layer}"
        normed = export.layer_norm(hidden, weights, f"{name}.self_attn_layer_norm", _EPSILON)
        names = (f"{name}.self_attn.{kind}_proj" for kind in "qkv")
        query, key, value = (export.heads_of(normed, weights, layer_name, config.encoder_heads) for layer_name in names)
        hidden = ops.add(hidden, _attention(query, key, value, weights, f"{name}.self_attn"))
        hidden = _feed_forward(hidden, weights, name)
    states = export.layer_norm(hidden, weights, f"{ENCODER_PREFIX}layer_norm", _EPSILON)
    return export.build([(states, "last_hidden_state")], [features])


def decoder_graph(config: WhisperConfig, weights: WrittenWeights, form: IrFormat) -> Model:
    """`input_ids [b, n]`, `encoder_hidden_states [b, 1500, width]`, `beam_idx [b]` -> `logits [b, n, vocabulary]`.

    Its state: the keys and values of all positions so far, and the cross-attention's, computed in the first run.
    """
    ids = export.parameter([-1, -1], "i64", "input_ids")
    states = export.parameter([-1, -1, config.width], "f32", "encoder_hidden_states")
    order = export.parameter([-1], "i32", "beam_idx")
    state = State(ids, order)
    caches = [_caches(state, layer, config) for layer in range(config.decoder_layers)]
    positions, mask = _positions_and_mask(ids, caches[0][0])
    words = export.embedding(weights, "model.decoder.embed_tokens", ids)
    hidden = ops.add(words, export.embedding(weights, "model.decoder.embed_positions", positions))
    for layer in range(config.decoder_layers):
        hidden = _decoder_layer(hidden, states, mask, weights, layer, config, state, caches[layer])
    hidden = export.layer_norm(hidden, weights, "model.decoder.layer_norm", _EPSILON)
    head = "proj_out.weight" if weights.has("proj_out.weight") else "model.decoder.embed_tokens.weight"
    logits = ops.matmul(hidden, weights.matrix(head), False, True)
    logits = export.named(logits, f"{weights.label('proj_out')}/aten::linear/MatMul")
    model = export.build([(logits, "logits")], [ids, states, order], state.sinks)
    # The runtime options that optimum-intel writes; without them the CPU keeps the caches in 8 bits.
    model.set_rt_info("8.0", ["runtime_options", "ACTIVATIONS_SCALE_FACTOR"])
    if form != "int8":
        model.set_rt_info("f16", ["runtime_options", "KV_CACHE_PRECISION"])
    return model


def _decoder_layer(
    hidden: Node,
    states: Node,
    mask: Node,
    weights: WrittenWeights,
    layer: int,
    config: WhisperConfig,
    state: State,
    caches: tuple[Node, Node],
) -> Node:
    name, heads = f"model.decoder.layers.{layer}", config.decoder_heads
    normed = export.layer_norm(hidden, weights, f"{name}.self_attn_layer_norm", _EPSILON)
    query = export.heads_of(normed, weights, f"{name}.self_attn.q_proj", heads)
    kept: list[Node] = []
    for kind, cached in zip(_KINDS, caches, strict=True):
        new = export.heads_of(normed, weights, f"{name}.self_attn.{kind[0]}_proj", heads)
        kept.append(ops.concat([cached, new], -2))
        state.keep(kept[-1], _variable(layer, kind))
    key, value = kept
    hidden = ops.add(hidden, _attention(query, key, value, weights, f"{name}.self_attn", mask))
    normed = export.layer_norm(hidden, weights, f"{name}.encoder_attn_layer_norm", _EPSILON)
    query = export.heads_of(normed, weights, f"{name}.encoder_attn.q_proj", heads)
    cross: list[Node] = []
    for kind in _KINDS:
        made = export.heads_of(states, weights, f"{name}.encoder_attn.{kind[0]}_proj", heads)
        cross.append(state.once(made, f"{layer}.encoder.{kind}"))
    key, value = cross
    hidden = ops.add(hidden, _attention(query, key, value, weights, f"{name}.encoder_attn"))
    return _feed_forward(hidden, weights, name)


def _caches(state: State, layer: int, config: WhisperConfig) -> tuple[Node, Node]:
    key, value = (state.cache(_variable(layer, kind), config.decoder_heads, config.head_width) for kind in _KINDS)
    return key, value


def _variable(layer: int, kind: str) -> str:
    return f"past_key_values.{layer}.decoder.{kind}present.{layer}.decoder.{kind}"


def _positions_and_mask(ids: Node, cached: Node) -> tuple[Node, Node]:
    """The positions of the ids, `[1, n]`, and the causal mask, `[b, 1, n, t + n]`, added to the scores."""
    count, past = export.dimension(ids, 1), export.dimension(cached, 2)
    total = ops.add(past, count)
    first, last = (ops.squeeze(node, parts.integers(0)) for node in (past, total))
    one, zero = ops.constant(np.int64(1)), ops.constant(np.int64(0))
    positions = ops.unsqueeze(ops.range(first, last, one, "i64"), parts.integers(0))
    keys = ops.unsqueeze(ops.range(zero, last, one, "i64"), parts.integers(0, 1, 2))
    seen = ops.less_equal(keys, ops.unsqueeze(positions, parts.integers(1, 3)))
    shape = ops.concat([export.dimension(ids, 0), parts.integers(1), count, total], 0)
    allowed = ops.broadcast(seen, shape, broadcast_spec="bidirectional")
    return positions, ops.select(allowed, parts.scalar(0.0), parts.scalar(_LOWEST))


def _attention(
    query: Node, key: Node, value: Node, weights: WrittenWeights, name: str, mask: Node | None = None
) -> Node:
    """`[b, heads, n, head width]` each, the query scaled -> `[b, n, width]`, projected."""
    added = parts.scalar(0.0) if mask is None else mask
    mixed = ops.scaled_dot_product_attention(query, key, value, added, parts.scalar(1.0), False)
    path = "aten::scaled_dot_product_attention/ScaledDotProductAttention"
    mixed = export.named(mixed, f"{weights.label(name)}/{path}")
    joined = ops.reshape(ops.transpose(mixed, parts.integers(0, 2, 1, 3)), _joined(query), True)
    return export.linear(joined, weights, f"{name}.out_proj")


def _joined(query: Node) -> Node:
    heads, width = (query.get_output_partial_shape(0)[axis].get_length() for axis in (1, 3))
    return parts.integers(0, 0, heads * width)


def _feed_forward(hidden: Node, weights: WrittenWeights, name: str) -> Node:
    normed = export.layer_norm(hidden, weights, f"{name}.final_layer_norm", _EPSILON)
    wide = ops.gelu(export.linear(normed, weights, f"{name}.fc1"), "erf")
    return ops.add(hidden, export.linear(wide, weights, f"{name}.fc2"))


def _gelu_convolution(hidden: Node, weights: WrittenWeights, name: str, stride: int) -> Node:
    kernel = weights.matrix(f"{name}.weight")
    return ops.gelu(export.convolution(hidden, kernel, weights, name, half=1, stride=stride), "erf")
