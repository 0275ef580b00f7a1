"""SpeechT5's two transformer graphs: encoder (ids -> cross-attention cache) and step (a mel frame -> the next ones).

The model is that of Ao et al. 2022 (SpeechT5), section 2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from openvino import opset13 as ops

from antiphon.models import layers as parts
from antiphon.models.layers import CacheType, Model, Node
from antiphon.models.speecht5.config import SpeechT5Config
from antiphon.weights.source import WeightSource

_ENCODER = "speecht5.encoder"
_DECODER = "speecht5.decoder"


def encoder_graph(config: SpeechT5Config, weights: WeightSource, cache: CacheType) -> Model:
    """`ids [b, n]`, `distances [n, n]` (see `relative_position_rows`), `mask [b, 1, 1, n]` (added to the scores) ->
    `cross_kv [2 * layers, b, heads, n, head width]` of type `cache`: the cross-attention keys and values of every decoder
    layer (key, value, key, …).
    """
    ids = parts.parameter([-1, -1], "i32", "ids")
    distances = parts.parameter([-1, -1], "i32", "distances")
    mask = parts.parameter([-1, 1, 1, -1], "f32", "mask")
    states = encoder_states(ids, distances, mask, config, weights)
    cross_kv = []
    for layer in range(config.decoder_layers):
        for kind in ("k_proj", "v_proj"):
            name = f"{_DECODER}.wrapped_decoder.layers.{layer}.encoder_attn.{kind}"
            heads = parts.split_heads(parts.linear(states, weights, name), config.decoder_heads)
            cross_kv.append(parts.cast(heads, cache))
    return parts.build([(parts.stack(cross_kv), "cross_kv")], [ids, distances, mask], "speecht5_encoder")


def encoder_states(ids: Node, distances: Node, mask: Node, config: SpeechT5Config, weights: WeightSource) -> Node:
    """The encoder's last hidden states `[b, n, width]`; the inputs are those of `encoder_graph`."""
    hidden = weights.rows(f"{_ENCODER}.prenet.embed_tokens.weight", ids.output(0))
    positions = ops.multiply(
        ops.constant(sinusoids(config.text_positions, config.width)),
        weights.tensor(f"{_ENCODER}.prenet.encode_positions.alpha"),
    )
    length = ops.gather(ops.shape_of(ids, "i64"), parts.axes(1), parts.axis(0))
    hidden = ops.add(hidden, ops.slice(positions, parts.axes(0), length, parts.axes(1), parts.axes(0)))
    name = f"{_ENCODER}.wrapped_encoder"
    hidden = parts.layer_norm(hidden, weights, f"{name}.layer_norm", config.epsilon)
    relative = weights.rows(f"{name}.embed_positions.pe_k.weight", distances.output(0))
    for layer in range(config.encoder_layers):
        hidden = _encoder_layer(hidden, weights, f"{name}.layers.{layer}", config, relative, mask)
    return hidden


def step_graph(config: SpeechT5Config, weights: WeightSource, cache: CacheType) -> Model:
    """One decoder step over a ragged batch of b sentences, past of length t, texts of at most s tokens.

    In: `frame [b, mels]`, the last one made; `positions [b]`; `speaker [b, speaker]`, of unit length; `dropout
    [b, pre-net layers, units]`, factors; `mask [b, 1, 1, t + 1]` and `text_mask [b, 1, 1, s]`, added to the scores; per
    layer `past_key.i`, `past_value.i [b, heads, t, head width]`, `key.i`, `value.i [b, heads, s, head width]`.
    Out: `frames [b, reduction, mels]`; `stop [b]`, the sum of their stop probabilities; `new_kv
    [2 * layers, b, heads, 1, head width]`, this step's keys and values, layer by layer.
    """
    frame = parts.parameter([-1, config.mels], "f32", "frame")
    positions = parts.parameter([-1], "i32", "positions")
    speaker = parts.parameter([-1, config.speaker], "f32", "speaker")
    dropout = parts.parameter([-1, config.prenet_layers, config.prenet_units], "f32", "dropout")
    mask = parts.parameter([-1, 1, 1, -1], "f32", "mask")
    text_mask = parts.parameter([-1, 1, 1, -1], "f32", "text_mask")
    parameters = [frame, positions, speaker, dropout, mask, text_mask]
    hidden = ops.unsqueeze(_prenet(frame, positions, speaker, dropout, weights, config), parts.axes(1))
    new_kv: list[Node] = []
    for layer in range(config.decoder_layers):
        caches = [_cache_parameter(config, name, layer, cache) for name in ("past_key", "past_value", "key", "value")]
        parameters += caches
        hidden, made = _decoder_layer(hidden, weights, layer, config, (mask, text_mask), caches)
        new_kv += [parts.cast(node, cache) for node in made]
    hidden = ops.squeeze(hidden, parts.axes(1))
    frames = _exact_linear(hidden, weights, "speech_decoder_postnet.feat_out")
    frames = ops.reshape(frames, parts.integers(-1, config.reduction, config.mels), False)
    chances = ops.sigmoid(_exact_linear(hidden, weights, "speech_decoder_postnet.prob_out"))
    stop = ops.reduce_sum(chances, parts.axes(1), False)
    outputs = [(frames, "frames"), (stop, "stop"), (parts.stack(new_kv), "new_kv")]
    return parts.build(outputs, parameters, "speecht5_step")


def _prenet(
    frame: Node, positions: Node, speaker: Node, dropout: Node, weights: WeightSource, config: SpeechT5Config
) -> Node:
    """The decoder's input for the last frame, `[b, width]`: pre-net with dropout, position and speaker embedding."""
    name = f"{_DECODER}.prenet"
    hidden = frame
    for layer in range(config.prenet_layers):
        factors = ops.gather(dropout, parts.axis(layer), parts.axis(1))
        hidden = ops.multiply(ops.relu(_exact_linear(hidden, weights, f"{name}.layers.{layer}")), factors)
    hidden = _exact_linear(hidden, weights, f"{name}.final_layer")
    table = ops.constant(sinusoids(config.speech_positions, config.width))
    alpha = weights.tensor(f"{name}.encode_positions.alpha")
    hidden = ops.add(hidden, ops.multiply(ops.gather(table, positions, parts.axis(0)), alpha))
    joined = ops.concat([hidden, speaker], 1)
    return ops.relu(parts.linear(joined, weights, f"{name}.speaker_embeds_layer"))


def _encoder_layer(
    hidden: Node, weights: WeightSource, name: str, config: SpeechT5Config, relative: Node, mask: Node
) -> Node:
    query, key, value = parts.project(hidden, weights, f"{name}.attention", config.encoder_heads)
    bias = _position_bias(query, relative, config.width // config.encoder_heads)
    attended = parts.attention(query, key, value, bias, mask)
    hidden = ops.add(hidden, parts.linear(attended, weights, f"{name}.attention.out_proj"))
    hidden = parts.layer_norm(hidden, weights, f"{name}.layer_norm", config.epsilon)
    fed = _feed_forward(hidden, weights, f"{name}.feed_forward", config.activation)
    return parts.layer_norm(ops.add(hidden, fed), weights, f"{name}.final_layer_norm", config.epsilon)


def _position_bias(query: Node, relative: Node, head_width: int) -> Node:
    """Relative position scores, added to those of attention: `[b, heads, n, n]` (Shaw et al. 2018, section 3.2).

    `query [b, heads, n, head width]`, `relative [n, n, head width]`: one product for each of the n queries, since all
    heads and sentences share its distances.
    """
    by_position = ops.transpose(query, parts.integers(2, 0, 1, 3))
    sizes = ops.shape_of(by_position, "i64")
    flat = ops.reshape(by_position, parts.integers(0, -1, head_width), True)
    scores = ops.matmul(flat, relative, False, True)  # [n, b * heads, n]
    head_sizes = ops.gather(sizes, parts.axes(0, 1, 2), parts.axis(0))
    split = ops.reshape(scores, ops.concat([head_sizes, parts.integers(-1)], 0), False)
    return ops.transpose(split, parts.integers(1, 2, 0, 3))


def _decoder_layer(
    hidden: Node,
    weights: WeightSource,
    layer: int,
    config: SpeechT5Config,
    masks: tuple[Node, Node],
    caches: list[Node],
) -> tuple[Node, tuple[Node, Node]]:
    """The layer's output and this step's self-attention key and value."""
    name = f"{_DECODER}.wrapped_decoder.layers.{layer}"
    past_key, past_value, text_key, text_value = (parts.cast(node, "f32") for node in caches)
    query, key, value = parts.project(hidden, weights, f"{name}.self_attn", config.decoder_heads)
    keys, values = ops.concat([past_key, key], 2), ops.concat([past_value, value], 2)
    attended = parts.attention(query, keys, values, masks[0])
    hidden = ops.add(hidden, parts.linear(attended, weights, f"{name}.self_attn.out_proj"))
    hidden = parts.layer_norm(hidden, weights, f"{name}.self_attn_layer_norm", config.epsilon)
    query = parts.query_of(hidden, weights, f"{name}.encoder_attn", config.decoder_heads)
    attended = parts.attention(query, text_key, text_value, masks[1])
    hidden = ops.add(hidden, parts.linear(attended, weights, f"{name}.encoder_attn.out_proj"))
    hidden = parts.layer_norm(hidden, weights, f"{name}.encoder_attn_layer_norm", config.epsilon)
    fed = _feed_forward(hidden, weights, f"{name}.feed_forward", config.activation)
    return parts.layer_norm(ops.add(hidden, fed), weights, f"{name}.final_layer_norm", config.epsilon), (key, value)


def _cache_parameter(config: SpeechT5Config, name: str, layer: int, cache: CacheType) -> Node:
    return parts.parameter([-1, config.decoder_heads, -1, config.head_width], cache, f"{name}.{layer}")


def relative_position_rows(length: int, config: SpeechT5Config) -> NDArray[np.int32]:
    """`distances [n, n]` of the encoder graph: the row, in the table of relative positions, of the distance from each query
    to each key, clipped to the table."""
    positions = np.arange(length, dtype=np.int32)
    limit = config.relative_positions
    rows: NDArray[np.int32] = np.clip(positions[:, None] - positions[None, :], -limit, limit - 1) + np.int32(limit)
    return rows


def _exact_linear(hidden: Node, weights: WeightSource, name: str) -> Node:
    """A linear layer that is never kept compressed: it is small, and its errors go straight into the mel frames."""
    product = ops.matmul(hidden, weights.kernel(f"{name}.weight"), False, True)
    return ops.add(product, weights.tensor(f"{name}.bias"))


def _feed_forward(hidden: Node, weights: WeightSource, name: str, activation: str) -> Node:
    wide = activate(parts.linear(hidden, weights, f"{name}.intermediate_dense"), activation)
    return parts.linear(wide, weights, f"{name}.output_dense")


def activate(hidden: Node, activation: str) -> Node:
    """The activation that config.json calls `hidden_act`."""
    if activation == "relu":
        return ops.relu(hidden)
    if activation == "silu":
        return ops.swish(hidden)
    return ops.gelu(hidden, "tanh" if activation == "gelu_new" else "erf")


def sinusoids(count: int, width: int) -> NDArray[np.float32]:
    """Position vectors `[count, width]` of alternating sines and cosines (Vaswani et al. 2017, section 3.5)."""
    wavelengths = np.exp(np.arange(0, width, 2) * (-np.log(10_000.0) / width)).astype(np.float32)
    angles = np.arange(count, dtype=np.float32)[:, None] * wavelengths
    return np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(count, width)
