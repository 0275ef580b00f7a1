"""Whisper as OpenVINO graphs: features (waveform -> log-mel), hear (-> cross-attention caches), step and align.

It must not know slots, tokens as text, or where the weights come from.
"""

from __future__ import annotations

import math

import numpy as np
from openvino import Output
from openvino import opset13 as ops

from antiphon.models import layers as parts
from antiphon.models.layers import NEVER, CacheType, Model, Node
from antiphon.models.whisper.config import HOP, N_FFT, PLACE, WhisperConfig
from antiphon.models.whisper.mel import fourier_basis, mel_filters
from antiphon.weights.source import WeightSource

# Whisper names none in its config.
_EPSILON = 1e-5

# A slice's "to the end".
_END = np.iinfo(np.int64).max


def features_graph(config: WhisperConfig, *, any_length: bool = False) -> Model:
    """`waveform [1, 480000]` -> `features [1, mels, 3000]`: log10 mel power, clipped 8 below its own maximum, scaled.

    With `any_length` a waveform may be shorter, a frame for each 160 samples. All graphs here that take this hear whole
    windows only without it; a length that is known beforehand is what they are fastest with.

    Compiled in f32 whatever the device's precision: bf16 has 8 bits for 80 dB.
    """
    waveform = parts.parameter([1, -1 if any_length else config.source_positions * PLACE], "f32", "waveform")
    half = np.array([0, N_FFT // 2], np.int64)
    padded = ops.pad(waveform, ops.constant(half), ops.constant(half), "reflect")
    signal = ops.unsqueeze(padded, parts.axes(1))
    kernel = ops.constant(fourier_basis()[:, None, :])
    spectrum = ops.convolution(signal, kernel, [HOP], [0], [0], [1])  # [1, 402, 3001]
    halves = ops.split(ops.power(spectrum, parts.scalar(2.0)), parts.axis(1), 2)
    power = ops.add(halves.output(0), halves.output(1))
    # Whisper drops the last frame, which the reflection at the end made.
    kept = ops.slice(power, parts.axes(0), parts.axes(-1), parts.axes(1), parts.axes(2))
    mel = ops.matmul(ops.constant(mel_filters(config.mels)), kept, False, False)
    logs = ops.multiply(ops.log(ops.maximum(mel, parts.scalar(1e-10))), parts.scalar(1 / math.log(10)))
    floor = ops.subtract(ops.reduce_max(logs, parts.axes(1, 2), True), parts.scalar(8.0))
    features = ops.multiply(ops.add(ops.maximum(logs, floor), parts.scalar(4.0)), parts.scalar(0.25))
    return parts.build([(features, "features")], [waveform], "whisper_features")


def hear_graph(config: WhisperConfig, weights: WeightSource, cache: CacheType, *, any_length: bool = False) -> Model:
    """`features [1, mels, 3000]` -> per decoder layer `key.i`, `value.i [1, heads, 1500, head width]` of type `cache`.

    Also `states [1, 1500, width]`, the encoder's output. With `any_length` half as many of all as there are frames.
    """
    features = parts.parameter([1, config.mels, -1 if any_length else 2 * config.source_positions], "f32", "features")
    hidden = _gelu_convolution(features, weights, "model.encoder.conv1", stride=1)
    hidden = _gelu_convolution(hidden, weights, "model.encoder.conv2", stride=2)
    hidden = ops.transpose(hidden, parts.integers(0, 2, 1))
    positions = weights.tensor("model.encoder.embed_positions.weight")
    if any_length:
        places = ops.gather(ops.shape_of(hidden), parts.axes(1), parts.axis(0))
        positions = ops.slice(positions, parts.axes(0), places, parts.axes(1), parts.axes(0))
    hidden = ops.add(hidden, positions)
    for layer in range(config.encoder_layers):
        hidden = _encoder_layer(hidden, weights, f"model.encoder.layers.{layer}", config)
    states = parts.layer_norm(hidden, weights, "model.encoder.layer_norm", _EPSILON)
    outputs: list[tuple[Node, str]] = [(states, "states")]
    for layer in range(config.decoder_layers):
        name = f"model.decoder.layers.{layer}.encoder_attn"
        key, value = parts.key_and_value(states, weights, name, config.decoder_heads)
        outputs += [(parts.cast(key, cache), f"key.{layer}"), (parts.cast(value, cache), f"value.{layer}")]
    return parts.build(outputs, [features], "whisper_hear")


def step_graph(config: WhisperConfig, weights: WeightSource, cache: CacheType, *, any_length: bool = False) -> Model:
    """One decoder pass over a ragged batch of b sequences, n tokens each (n = 1 but for prompts), past of length t.

    In: `ids`, `positions [b, n]`, `mask [b, 1, n, t + n]` (added to the scores), `rows [b, r]` (which of the n rows get
    logits; the first of them is sampled from), `rules [b, 6]` (see `rules.py`), `drawn [k]` (the sequences whose scores
    are wanted), and per layer `past_key.i`, `past_value.i [b, heads, t, head width]`, `key.i`,
    `value.i [b, heads, 1500, head width]`.
    Out: `logits [b, r - 1, vocabulary]`, raw, of all rows but the first; `scores [k, vocabulary]` of the first row under
    the rules; `best [b, 1]`, its arg-max; `score [b, 1]`, the arg-max's log-probability under the rules;
    `fresh [2 * layers, b, heads, n, head width]`, this pass's keys and values, layer by layer.
    With `any_length` the 1,500 may be fewer, for all rows alike, and `heard [b, 1, 1, places]` is added to their scores.
    A plain greedy step asks for no rows of `logits` and `scores`: writing them out took a quarter of its time.
    """
    ids = parts.parameter([-1, -1], "i32", "ids")
    positions = parts.parameter([-1, -1], "i32", "positions")
    mask = parts.parameter([-1, 1, -1, -1], "f32", "mask")
    rows = parts.parameter([-1, -1], "i32", "rows")
    rules = parts.parameter([-1, 6], "i32", "rules")
    drawn = parts.parameter([-1], "i32", "drawn")
    parameters = [ids, positions, mask, rows, rules, drawn]
    heard = [parts.parameter([-1, 1, 1, -1], "f32", "heard")] if any_length else []
    parameters += heard
    hidden = weights.rows("model.decoder.embed_tokens.weight", ids.output(0))
    hidden = ops.add(hidden, weights.rows("model.decoder.embed_positions.weight", positions.output(0)))
    fresh: list[Node] = []
    for layer in range(config.decoder_layers):
        past = [
            _cache_parameter(config, name, layer, cache, any_length=any_length)
            for name in ("past_key", "past_value", "key", "value")
        ]
        parameters += past
        hidden, made = _decoder_layer(hidden, weights, layer, config, mask, past, *heard)
        fresh += [parts.cast(node, cache) for node in made]
    hidden = parts.layer_norm(hidden, weights, "model.decoder.layer_norm", _EPSILON)
    all_logits = _logits(ops.gather(hidden, rows, parts.axis(1), 1), weights)
    first = ops.squeeze(
        ops.slice(all_logits, parts.axes(0), parts.axes(1), parts.axes(1), parts.axes(1)), parts.axes(1)
    )
    logits = ops.slice(all_logits, parts.axes(1), parts.axes(_END), parts.axes(1), parts.axes(1))
    scores = _apply_rules(first, rules, config)
    best, score = _arg_max(scores)
    scores = ops.gather(scores, drawn, parts.axis(0))
    stacked = ops.concat([ops.unsqueeze(node, parts.axes(0)) for node in fresh], 0)
    outputs = [(logits, "logits"), (scores, "scores"), (best, "best"), (score, "score"), (stacked, "fresh")]
    return parts.build(outputs, parameters, "whisper_step")


def align_graph(config: WhisperConfig, weights: WeightSource, cache: CacheType, *, any_length: bool = False) -> Model:
    """One decoder pass over all n tokens of one window's answer, which tells where it looks and what it expects.

    In: `ids [1, n]`, `positions [1, n]`, `mask [1, 1, n, n]`, `rows [k]` (of the n, those that say what they expect),
    `said [k]` (the token each of them is asked about) and per layer `key.i`, `value.i [1, heads, 1500, head width]`.
    Out: `attention [1, alignment heads, n, 1500]` of the cross-attention; `logprobs [k, 1]` of the tokens that were said,
    among those of text. A graph of its own, though its weights are held twice: as outputs of the step graph both cost up
    to 4 % of every step of everybody (whisper-base, int8, AVX2).
    """
    ids = parts.parameter([1, -1], "i32", "ids")
    positions = parts.parameter([1, -1], "i32", "positions")
    mask = parts.parameter([1, 1, -1, -1], "f32", "mask")
    rows = parts.parameter([-1], "i32", "rows")
    said = parts.parameter([-1], "i32", "said")
    parameters = [ids, positions, mask, rows, said]
    hidden = weights.rows("model.decoder.embed_tokens.weight", ids.output(0))
    hidden = ops.add(hidden, weights.rows("model.decoder.embed_positions.weight", positions.output(0)))
    looks: list[Node] = []
    for layer in range(config.decoder_layers):
        name = f"model.decoder.layers.{layer}"
        cross = [
            _cache_parameter(config, kind, layer, cache, batch=1, any_length=any_length) for kind in ("key", "value")
        ]
        parameters += cross
        normed = parts.layer_norm(hidden, weights, f"{name}.self_attn_layer_norm", _EPSILON)
        attended = parts.attention(*parts.project(normed, weights, f"{name}.self_attn", config.decoder_heads), mask)
        hidden = ops.add(hidden, parts.linear(attended, weights, f"{name}.self_attn.out_proj"))
        hidden, heeded = _heed_audio(hidden, weights, name, config, *(parts.cast(node, "f32") for node in cross))
        heads = [head for place, head in config.alignment.chosen if place == layer]
        if heads:
            looks.append(ops.gather(heeded, ops.constant(np.array(heads, np.int32)), parts.axis(1)))
        hidden = _feed_forward(hidden, weights, name)
    hidden = parts.layer_norm(hidden, weights, "model.decoder.layer_norm", _EPSILON)
    logits = _logits(ops.gather(ops.squeeze(hidden, parts.axes(0)), rows, parts.axis(0)), weights)
    text = ops.slice(logits, parts.axes(0), parts.axes(config.tokens.end), parts.axes(1), parts.axes(1))
    chosen = ops.gather_elements(logits, ops.unsqueeze(said, parts.axes(1)), 1)
    outputs = [(ops.concat(looks, 1), "attention"), (ops.subtract(chosen, _log_sum_exp(text)), "logprobs")]
    return parts.build(outputs, parameters, "whisper_align")


def _logits(hidden: Node, weights: WeightSource) -> Node:
    head = "proj_out.weight" if weights.has("proj_out.weight") else "model.decoder.embed_tokens.weight"
    return ops.matmul(weights.entering("proj_out", hidden), weights.matrix(head), False, True)


def _encoder_layer(hidden: Node, weights: WeightSource, name: str, config: WhisperConfig) -> Node:
    normed = parts.layer_norm(hidden, weights, f"{name}.self_attn_layer_norm", _EPSILON)
    query, key, value = parts.project(normed, weights, f"{name}.self_attn", config.encoder_heads)
    attended = parts.attention(query, key, value)
    hidden = ops.add(hidden, parts.linear(attended, weights, f"{name}.self_attn.out_proj"))
    return _feed_forward(hidden, weights, name)


def _decoder_layer(
    hidden: Node, weights: WeightSource, layer: int, config: WhisperConfig, mask: Node, caches: list[Node], *heard: Node
) -> tuple[Node, tuple[Node, Node]]:
    """The layer's output and this pass's self-attention key and value."""
    name = f"model.decoder.layers.{layer}"
    past_key, past_value, cross_key, cross_value = (parts.cast(node, "f32") for node in caches)
    normed = parts.layer_norm(hidden, weights, f"{name}.self_attn_layer_norm", _EPSILON)
    query, key, value = parts.project(normed, weights, f"{name}.self_attn", config.decoder_heads)
    attended = parts.attention(query, ops.concat([past_key, key], 2), ops.concat([past_value, value], 2), mask)
    hidden = ops.add(hidden, parts.linear(attended, weights, f"{name}.self_attn.out_proj"))
    hidden, _ = _heed_audio(hidden, weights, name, config, cross_key, cross_value, *heard)
    return _feed_forward(hidden, weights, name), (key, value)


def _heed_audio(
    hidden: Node, weights: WeightSource, name: str, config: WhisperConfig, key: Node, value: Node, *heard: Node
) -> tuple[Node, Node]:
    """Cross-attention: what goes on, and how much each token heeds each place, `[b, heads, n, 1500]`."""
    normed = parts.layer_norm(hidden, weights, f"{name}.encoder_attn_layer_norm", _EPSILON)
    query = parts.query_of(normed, weights, f"{name}.encoder_attn", config.decoder_heads)
    heeded = parts.attention_weights(query, key, *heard)
    attended = parts.mix(heeded, value)
    return ops.add(hidden, parts.linear(attended, weights, f"{name}.encoder_attn.out_proj")), heeded


def _feed_forward(hidden: Node, weights: WeightSource, name: str) -> Node:
    normed = parts.layer_norm(hidden, weights, f"{name}.final_layer_norm", _EPSILON)
    wide = ops.gelu(parts.linear(normed, weights, f"{name}.fc1"), "erf")
    return ops.add(hidden, parts.linear(wide, weights, f"{name}.fc2"))


def _gelu_convolution(hidden: Node, weights: WeightSource, name: str, stride: int) -> Node:
    hidden = weights.entering(name, hidden)
    convolved = ops.convolution(hidden, weights.kernel(f"{name}.weight"), [stride], [1], [1], [1])
    bias = ops.reshape(weights.tensor(f"{name}.bias"), parts.integers(1, -1, 1), False)
    return ops.gelu(ops.add(convolved, bias), "erf")


def _apply_rules(logits: Node, rules: Node, config: WhisperConfig) -> Node:
    """Whisper's logit rules for one row each: `[b, vocabulary]` -> the same, NEVER where a token may not come.

    Suppression and the first six rules are ranges and constant rows; the seventh (a timestamp must come where all
    timestamps together beat every other token) compares sums over the result. Radford et al. 2022, section 4.5.
    """
    # Everything about ids stays in integers: in bf16 an id above 256 is no longer itself.
    columns = ops.split(rules, parts.axis(1), 6).outputs()
    text, special, low, high, begin, timed = columns
    ids = ops.constant(np.arange(config.vocabulary, dtype=np.int32)[None, :])
    first = config.tokens.timestamp_begin
    is_text = ops.constant((np.arange(config.vocabulary) < config.tokens.end)[None, :])
    is_timestamp = ops.constant((np.arange(config.vocabulary) >= first)[None, :])
    in_range = ops.logical_and(ops.greater_equal(ids, low), ops.less_equal(ids, high))
    others_allowed = ops.select(is_text, _is_set(text), _is_set(special))
    allowed = ops.select(is_timestamp, in_range, others_allowed)
    for switch, suppressed in ((begin, config.begin_suppress), (timed, (config.tokens.no_timestamps,))):
        allowed = ops.logical_and(
            allowed, ops.logical_not(ops.logical_and(_is_set(switch), _among(config, suppressed)))
        )
    allowed = ops.logical_and(allowed, ops.logical_not(_among(config, config.suppress)))
    scores = ops.select(allowed, logits, parts.scalar(NEVER))
    if first >= config.vocabulary:
        return scores
    timestamps = ops.slice(scores, parts.axes(first), parts.axes(config.vocabulary), parts.axes(1), parts.axes(1))
    others = ops.slice(scores, parts.axes(0), parts.axes(first), parts.axes(1), parts.axes(1))
    beaten = ops.greater(_log_sum_exp(timestamps), ops.reduce_max(others, parts.axes(1), True))
    forced = ops.logical_and(beaten, _is_set(timed))
    banned = ops.logical_and(forced, ops.logical_not(is_timestamp))
    return ops.select(banned, parts.scalar(NEVER), scores)


def _is_set(switch: Output) -> Node:
    return ops.greater(switch, ops.constant(np.int32(0)))


def _among(config: WhisperConfig, tokens: tuple[int, ...]) -> Node:
    row = np.zeros((1, config.vocabulary), np.bool_)
    row[0, [token for token in tokens if 0 <= token < config.vocabulary]] = True
    return ops.constant(row)


def _arg_max(scores: Node) -> tuple[Node, Node]:
    """`[b, vocabulary]` -> the best id `[b, 1]` and its log-probability `[b, 1]`."""
    top = ops.topk(scores, ops.constant(np.int32(1)), -1, "max", "value", "i32")
    return top.output(1), ops.subtract(top.output(0), _log_sum_exp(scores))


def _log_sum_exp(scores: Node) -> Node:
    """Over the last axis, kept; shifted by the maximum, since ReduceLogSumExp overflows above 88."""
    peak = ops.reduce_max(scores, parts.axes(1), True)
    total = ops.reduce_sum(ops.exp(ops.subtract(scores, peak)), parts.axes(1), True)
    return ops.add(peak, ops.log(total))


def _cache_parameter(
    config: WhisperConfig, name: str, layer: int, cache: CacheType, batch: int = -1, *, any_length: bool
) -> Node:
    length = -1 if any_length or name.startswith("past") else config.source_positions
    shape = [batch, config.decoder_heads, length, config.width // config.decoder_heads]
    return parts.parameter(shape, cache, f"{name}.{layer}")
