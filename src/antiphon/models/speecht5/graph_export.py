"""SpeechT5's transformer as the two OpenVINO graphs that optimum-intel writes: an encoder, and a decoder with its caches as
state.

Every reader of such folders depends on these names and shapes of inputs, outputs and state.
"""

from __future__ import annotations

import numpy as np
from openvino import opset13 as ops

from antiphon.models import export_layers as export
from antiphon.models import layers as parts
from antiphon.models.export_layers import State
from antiphon.models.layers import Model, Node
from antiphon.models.speecht5.config import SpeechT5Config
from antiphon.models.speecht5.graph import activate, sinusoids
from antiphon.weights.openvino_ir.writer import WrittenWeights

ENCODER_PREFIX = "speecht5.encoder."

_DECODER = "speecht5.decoder"

# Minus infinity, for the padding of a text.
_LOWEST = float(np.finfo(np.float32).min)
_SMALLEST_NORM = 1e-12

_KINDS = ("key", "value")


def encoder_graph(config: SpeechT5Config, weights: WrittenWeights) -> Model:
    """`input_ids [1, n]` -> `last_hidden_state [1, n, width]`, `encoder_attention_mask [1, n]`, all ones."""
    ids = export.parameter([1, -1], "i64", "input_ids")
    length = export.dimension(ids, 1)
    hidden = export.embedding(weights, f"{ENCODER_PREFIX}prenet.embed_tokens", ids)
    hidden = _with_positions(hidden, length, config.text_positions, weights, f"{ENCODER_PREFIX}prenet.encode_positions")
    name = f"{ENCODER_PREFIX}wrapped_encoder"
    hidden = export.layer_norm(hidden, weights, f"{name}.layer_norm", config.epsilon)
    relative = _relative_positions(length, config, weights, f"{name}.embed_positions.pe_k")
    for layer in range(config.encoder_layers):
        hidden = _encoder_layer(hidden, weights, f"{name}.layers.{layer}", config, relative)
    mask = ops.broadcast(ops.constant(np.int64(1)), ops.shape_of(ids, "i64"))
    return export.build([(hidden, "last_hidden_state"), (mask, "encoder_attention_mask")], [ids])


def decoder_graph(config: SpeechT5Config, weights: WrittenWeights) -> Model:
    """One step: takes all frames so far, and returns them with one more.

    In: `inputs_embeds [1, m, mels]`, `speaker_embeddings [1, speaker]`, `encoder_hidden_states [1, n, width]`,
    `encoder_attention_mask [1, n]`, `beam_idx [1]`. Out: `output_sequence_out [1, m + 1, mels]`, `spectrum
    [1, reduction, mels]`, the new frames, and `prob [1, reduction]`, the probability of each to be the last.
    """
    frames = export.parameter([-1, -1, config.mels], "f32", "inputs_embeds")
    speaker = export.parameter([1, config.speaker], "f32", "speaker_embeddings")
    states = export.parameter([-1, -1, config.width], "f32", "encoder_hidden_states")
    text_mask = export.parameter([-1, -1], "i64", "encoder_attention_mask")
    order = export.parameter([-1], "i32", "beam_idx")
    state = State(frames, order)
    hidden = _prenet(frames, speaker, weights, config)
    # The pre-net takes all frames; only its last output is new.
    end = ops.constant(np.array([np.iinfo(np.int64).max], np.int64))
    hidden = ops.slice(hidden, parts.axes(-1), end, parts.axes(1), parts.axes(1))
    text = ops.gather(states, ops.constant(np.int64(0)), ops.constant(np.int64(0)))
    absent = ops.equal(ops.unsqueeze(text_mask, parts.axes(1, 2)), ops.constant(np.int64(0)))
    mask = ops.select(absent, parts.scalar(_LOWEST), parts.scalar(0.0))
    for layer in range(config.decoder_layers):
        hidden = _decoder_layer(hidden, text, mask, weights, layer, config, state)
    hidden = ops.squeeze(hidden, parts.axes(1))
    made = export.linear(hidden, weights, "speech_decoder_postnet.feat_out")
    made = ops.reshape(made, parts.integers(0, config.reduction, config.mels), True)
    stop = ops.sigmoid(export.linear(hidden, weights, "speech_decoder_postnet.prob_out"))
    last = ops.gather(made, ops.constant(np.int64(-1)), ops.constant(np.int64(1)))
    sequence = ops.concat([frames, ops.unsqueeze(last, parts.axes(1))], 1)
    outputs = [(sequence, "output_sequence_out"), (made, "spectrum"), (stop, "prob")]
    return export.build(outputs, [frames, speaker, states, text_mask, order], state.sinks)


def _prenet(frames: Node, speaker: Node, weights: WrittenWeights, config: SpeechT5Config) -> Node:
    """The decoder's input for all frames, `[1, m, width]`: pre-net with dropout, positions and speaker embedding."""
    name = f"{_DECODER}.prenet"
    hidden, kept = frames, None
    for layer in range(config.prenet_layers):
        hidden = ops.relu(export.linear(hidden, weights, f"{name}.layers.{layer}"))
        kept = _kept(hidden, config.prenet_dropout) if kept is None else kept
        dropped = ops.select(kept, hidden, parts.scalar(0.0))
        hidden = ops.divide(dropped, parts.scalar(1 - config.prenet_dropout))
    hidden = export.linear(hidden, weights, f"{name}.final_layer")
    count = export.dimension(hidden, 1)
    hidden = _with_positions(hidden, count, config.speech_positions, weights, f"{name}.encode_positions")
    norm = ops.maximum(ops.reduce_l2(speaker, parts.axes(1), True), parts.scalar(_SMALLEST_NORM))
    voice = ops.unsqueeze(ops.divide(speaker, norm), parts.axes(1))
    shape = ops.concat([parts.integers(1), count, parts.integers(1)], 0)
    joined = ops.concat([hidden, ops.broadcast(voice, shape, broadcast_spec="bidirectional")], -1)
    return ops.relu(export.linear(joined, weights, f"{name}.speaker_embeds_layer"))


def _kept(hidden: Node, dropout: float) -> Node:
    """Which units of the pre-net are kept, `[1, m, units]`: random in every step, and the same in all its layers.

    As in transformers, a unit is kept with the probability of dropping it; seeds of zero draw anew in every run.
    """
    sizes = ops.gather(ops.shape_of(hidden, "i32"), parts.axes(1, 2), ops.constant(np.int64(0)))
    drawn = ops.random_uniform(sizes, parts.scalar(0.0), parts.scalar(1.0), "f32", 0, 0, "pytorch")
    return ops.unsqueeze(ops.less(drawn, parts.scalar(dropout)), parts.axes(0))


def _with_positions(hidden: Node, count: Node, positions: int, weights: WrittenWeights, name: str) -> Node:
    """`hidden [1, n, width]` plus the scaled position vectors."""
    width = hidden.get_output_partial_shape(0)[2].get_length()
    table = weights.written(f"{name}.pe", sinusoids(positions, width)[None])
    label = weights.label(name)
    table = export.named(
        ops.slice(table, parts.axes(0), count, parts.axes(1), parts.axes(1)), f"{label}/aten::slice/Slice_1"
    )
    scaled = export.named(ops.multiply(weights.tensor(f"{name}.alpha", 1, 1, 1), table), f"{label}/aten::mul/Multiply")
    return export.named(ops.add(hidden, scaled), f"{label}/aten::add/Add")


def _relative_positions(length: Node, config: SpeechT5Config, weights: WrittenWeights, name: str) -> Node:
    """The vector of the distance from each query to each key, `[n, n, head width]`; distances are clipped to the table."""
    count = ops.squeeze(length, parts.axes(0))
    positions = ops.range(ops.constant(np.int64(0)), count, ops.constant(np.int64(1)), "i64")
    distances = ops.subtract(ops.unsqueeze(positions, parts.axes(1)), ops.unsqueeze(positions, parts.axes(0)))
    limit = config.relative_positions
    distances = ops.minimum(ops.maximum(distances, ops.constant(np.int64(-limit))), ops.constant(np.int64(limit - 1)))
    return export.embedding(weights, name, ops.add(distances, ops.constant(np.int64(limit))))


def _encoder_layer(hidden: Node, weights: WrittenWeights, name: str, config: SpeechT5Config, relative: Node) -> Node:
    names = (f"{name}.attention.{kind}_proj" for kind in "qkv")
    query, key, value = (export.heads_of(hidden, weights, layer_name, config.encoder_heads) for layer_name in names)
    by_position = ops.transpose(ops.squeeze(query, parts.axes(0)), parts.integers(1, 0, 2))
    bias = ops.transpose(ops.matmul(by_position, relative, False, True), parts.integers(1, 0, 2))
    attended = parts.attention(query, key, value, ops.unsqueeze(bias, parts.axes(0)))
    hidden = ops.add(hidden, export.linear(attended, weights, f"{name}.attention.out_proj"))
    hidden = export.layer_norm(hidden, weights, f"{name}.layer_norm", config.epsilon)
    return _feed_forward(hidden, weights, name, config)


def _decoder_layer(
    hidden: Node,
    text: Node,
    mask: Node,
    weights: WrittenWeights,
    layer: int,
    config: SpeechT5Config,
    state: State,
) -> Node:
    name, heads = f"{_DECODER}.wrapped_decoder.layers.{layer}", config.decoder_heads
    query = export.heads_of(hidden, weights, f"{name}.self_attn.q_proj", heads)
    kept = []
    for kind in _KINDS:
        new = export.heads_of(hidden, weights, f"{name}.self_attn.{kind[0]}_proj", heads)
        kept.append(ops.concat([state.cache(_variable(layer, kind), heads, config.head_width), new], -2))
        state.keep(kept[-1], _variable(layer, kind))
    attended = parts.attention(query, *kept)
    hidden = ops.add(hidden, export.linear(attended, weights, f"{name}.self_attn.out_proj"))
    hidden = export.layer_norm(hidden, weights, f"{name}.self_attn_layer_norm", config.epsilon)
    query = export.heads_of(hidden, weights, f"{name}.encoder_attn.q_proj", heads)
    cross = []
    for kind in _KINDS:
        made = export.linear(text, weights, f"{name}.encoder_attn.{kind[0]}_proj")
        made = state.once(made, f"{layer}.encoder.{kind}")
        split = ops.reshape(made, parts.integers(1, -1, heads, config.head_width), False)
        cross.append(ops.transpose(split, parts.integers(0, 2, 1, 3)))
    attended = parts.attention(query, *cross, mask)
    hidden = ops.add(hidden, export.linear(attended, weights, f"{name}.encoder_attn.out_proj"))
    hidden = export.layer_norm(hidden, weights, f"{name}.encoder_attn_layer_norm", config.epsilon)
    return _feed_forward(hidden, weights, name, config)


def _variable(layer: int, kind: str) -> str:
    """The names that optimum-intel gives, which pair the decoder's caches alternately with those of decoder and encoder."""
    side = ("decoder", "encoder")[layer % 2]
    return f"past_key_values.{layer}.decoder.{kind}present.{layer // 2}.{side}.{kind}"


def _feed_forward(hidden: Node, weights: WrittenWeights, name: str, config: SpeechT5Config) -> Node:
    wide = export.linear(hidden, weights, f"{name}.feed_forward.intermediate_dense")
    fed = export.linear(activate(wide, config.activation), weights, f"{name}.feed_forward.output_dense")
    return export.layer_norm(ops.add(hidden, fed), weights, f"{name}.final_layer_norm", config.epsilon)
