"""Whisper as OpenVINO graphs: features (waveform -> log-mel), encoder (-> cross-attention cache), step and align."""

from __future__ import annotations

import math

import numpy as np
from openvino import Output
from openvino import opset13 as ops

from antiphon.models import layers as parts
from antiphon.models.layers import NEVER, CacheType, Model, Node
from antiphon.models.whisper.config import HOP, N_FFT, SAMPLES_PER_POSITION, WhisperConfig
from antiphon.models.whisper.mel import fourier_basis, mel_filters
from antiphon.weights.source import WeightSource

# The epsilon of every layer norm; Whisper's config does not name it.
_EPSILON = 1e-5

# As the end of a slice: to the end of the axis.
_END = np.iinfo(np.int64).max


def features_graph(config: WhisperConfig, *, any_length: bool = False) -> Model:
    """`waveform [1, 480000]` -> `features [1, mels, 3000]`: log10 mel power, clipped 8 below its own maximum, scaled.

    With `any_length` the waveform may be shorter, with a frame for each 160 samples. Without it, all graphs of this module
    take whole windows only, which is faster: OpenVINO knows the length when it compiles.

    Compile it in f32 whatever the device's precision: bf16 has 8 bits for a range of 80 dB. The log-mel spectrogram is that
    of Radford et al. 2022, section 2.2.
    """
    waveform = parts.parameter(
        [1, -1 if any_length else config.source_positions * SAMPLES_PER_POSITION], "f32", "waveform"
    )
    half = np.array([0, N_FFT // 2], np.int64)
    padded = ops.pad(waveform, ops.constant(half), ops.constant(half), "reflect")
    signal = ops.unsqueeze(padded, parts.axes(1))
    kernel = ops.constant(fourier_basis()[:, None, :])
    spectrum = ops.convolution(signal, kernel, [HOP], [0], [0], [1])  # [1, 402, 3001]
    halves = ops.split(ops.power(spectrum, parts.scalar(2.0)), parts.axis(1), 2)
    power = ops.add(halves.output(0), halves.output(1))
    # Whisper drops the last frame, which comes from the reflection at the end.
    kept = ops.slice(power, parts.axes(0), parts.axes(-1), parts.axes(1), parts.axes(2))
    mel = ops.matmul(ops.constant(mel_filters(config.mels)), kept, False, False)
    logs = ops.multiply(ops.log(ops.maximum(mel, parts.scalar(1e-10))), parts.scalar(1 / math.log(10)))
    floor = ops.subtract(ops.reduce_max(logs, parts.axes(1, 2), True), parts.scalar(8.0))
    features = ops.multiply(ops.add(ops.maximum(logs, floor), parts.scalar(4.0)), parts.scalar(0.25))
    return parts.build([(features, "features")], [waveform], "whisper_features")


def encoder_graph(config: WhisperConfig, weights: WeightSource, cache: CacheType, *, any_length: bool = False) -> Model:
    """`features [1, mels, 3000]` -> per decoder layer `key.i`, `value.i [1, heads, 1500, head width]` of type `cache`.

    These are the decoder's cross-attention keys and values. With `any_length` there is one position for every two frames.
    """
    features = parts.parameter([1, config.mels, -1 if any_length else 2 * config.source_positions], "f32", "features")
    states = encoder_states(features, config, weights, any_length=any_length)
    outputs: list[tuple[Node, str]] = []
    for layer in range(config.decoder_layers):
        name = f"model.decoder.layers.{layer}.encoder_attn"
        key, value = parts.key_and_value(states, weights, name, config.decoder_heads)
        outputs += [(parts.cast(key, cache), f"key.{layer}"), (parts.cast(value, cache), f"value.{layer}")]
    return parts.build(outputs, [features], "whisper_encoder")


def encoder_states(features: Node, config: WhisperConfig, weights: WeightSource, *, any_length: bool = False) -> Node:
    """The encoder's last hidden states `[1, 1500, width]` for `features [1, mels, 3000]`."""
    hidden = _gelu_convolution(features, weights, "model.encoder.conv1", stride=1)
    hidden = _gelu_convolution(hidden, weights, "model.encoder.conv2", stride=2)
    hidden = ops.transpose(hidden, parts.integers(0, 2, 1))
    positions = weights.tensor("model.encoder.embed_positions.weight")
    if any_length:
        count = ops.gather(ops.shape_of(hidden), parts.axes(1), parts.axis(0))
        positions = ops.slice(positions, parts.axes(0), count, parts.axes(1), parts.axes(0))
    hidden = ops.add(hidden, positions)
    for layer in range(config.encoder_layers):
        hidden = _encoder_layer(hidden, weights, f"model.encoder.layers.{layer}", config)
    return parts.layer_norm(hidden, weights, "model.encoder.layer_norm", _EPSILON)


def step_graph(config: WhisperConfig, weights: WeightSource, cache: CacheType, *, any_length: bool = False) -> Model:
    """One decoder pass over a ragged batch of b sequences, n tokens each (n = 1 except in prefill), past of length t.

    In: `ids`, `positions [b, n]`; `mask [b, 1, n, t + n]`, added to the scores; `logits_at [b, r]`, which of the n
    positions get logits, the first of them the one to sample from; `rules [b, 6]` (see `logits_rules.py`); `sampled [k]`,
    the sequences whose scores are returned; and per layer `past_key.i`, `past_value.i [b, heads, t, head width]`, `key.i`,
    `value.i [b, heads, 1500, head width]`.
    Out: `logits [b, r - 1, vocabulary]`, raw, of all of `logits_at` but the first; `scores [k, vocabulary]` of the first
    under the rules; `best [b, 1]`, its arg-max; `logprob [b, 1]`, the arg-max's log-probability under the rules;
    `new_kv [2 * layers, b, heads, n, head width]`, this pass's keys and values, layer by layer.
    With `any_length` the 1,500 may be fewer, for all rows alike, and `audio_mask [b, 1, 1, 1500]` is added to their scores.
    A plain greedy step asks for no rows of `logits` and `scores`: writing them out took a quarter of its time.
    """
    ids = parts.parameter([-1, -1], "i32", "ids")
    positions = parts.parameter([-1, -1], "i32", "positions")
    mask = parts.parameter([-1, 1, -1, -1], "f32", "mask")
    logits_at = parts.parameter([-1, -1], "i32", "logits_at")
    rules = parts.parameter([-1, 6], "i32", "rules")
    sampled = parts.parameter([-1], "i32", "sampled")
    parameters = [ids, positions, mask, logits_at, rules, sampled]
    audio_mask = [parts.parameter([-1, 1, 1, -1], "f32", "audio_mask")] if any_length else []
    parameters += audio_mask
    hidden = weights.rows("model.decoder.embed_tokens.weight", ids.output(0))
    hidden = ops.add(hidden, weights.rows("model.decoder.embed_positions.weight", positions.output(0)))
    new_kv: list[Node] = []
    for layer in range(config.decoder_layers):
        past = [
            _cache_parameter(config, name, layer, cache, any_length=any_length)
            for name in ("past_key", "past_value", "key", "value")
        ]
        parameters += past
        hidden, made = _decoder_layer(hidden, weights, layer, config, mask, past, *audio_mask)
        new_kv += [parts.cast(node, cache) for node in made]
    hidden = parts.layer_norm(hidden, weights, "model.decoder.layer_norm", _EPSILON)
    all_logits = _logits(ops.gather(hidden, logits_at, parts.axis(1), 1), weights)
    first = ops.squeeze(
        ops.slice(all_logits, parts.axes(0), parts.axes(1), parts.axes(1), parts.axes(1)), parts.axes(1)
    )
    logits = ops.slice(all_logits, parts.axes(1), parts.axes(_END), parts.axes(1), parts.axes(1))
    scores = _apply_rules(first, rules, config)
    best, logprob = _arg_max(scores)
    scores = ops.gather(scores, sampled, parts.axis(0))
    outputs = [(logits, "logits"), (scores, "scores"), (best, "best"), (logprob, "logprob")]
    outputs.append((parts.stack(new_kv), "new_kv"))
    return parts.build(outputs, parameters, "whisper_step")


def align_graph(config: WhisperConfig, weights: WeightSource, cache: CacheType, *, any_length: bool = False) -> Model:
    """One decoder pass over all n tokens of one window's answer: its attention to the audio, and its log-probabilities.

    In: `ids [1, n]`, `positions [1, n]`, `mask [1, 1, n, n]`, `logits_at [k]` (the positions that predict a target),
    `targets [k]` (the token at each of them) and per layer `key.i`, `value.i [1, heads, 1500, head width]`.
    Out: `attention [1, alignment heads, n, 1500]` of the cross-attention; `logprobs [k, 1]` of the targets among the text
    tokens. It is a separate graph, though its weights are then held twice: as outputs of the step graph these two cost up
    to 4 % of every step of every request (whisper-base, int8, AVX2).
    """
    ids = parts.parameter([1, -1], "i32", "ids")
    positions = parts.parameter([1, -1], "i32", "positions")
    mask = parts.parameter([1, 1, -1, -1], "f32", "mask")
    logits_at = parts.parameter([-1], "i32", "logits_at")
    targets = parts.parameter([-1], "i32", "targets")
    parameters = [ids, positions, mask, logits_at, targets]
    hidden = weights.rows("model.decoder.embed_tokens.weight", ids.output(0))
    hidden = ops.add(hidden, weights.rows("model.decoder.embed_positions.weight", positions.output(0)))
    attention: list[Node] = []
    for layer in range(config.decoder_layers):
        name = f"model.decoder.layers.{layer}"
        cross = [
            _cache_parameter(config, kind, layer, cache, batch=1, any_length=any_length) for kind in ("key", "value")
        ]
        parameters += cross
        normed = parts.layer_norm(hidden, weights, f"{name}.self_attn_layer_norm", _EPSILON)
        attended = parts.attention(*parts.project(normed, weights, f"{name}.self_attn", config.decoder_heads), mask)
        hidden = ops.add(hidden, parts.linear(attended, weights, f"{name}.self_attn.out_proj"))
        key, value = (parts.cast(node, "f32") for node in cross)
        hidden, to_audio = _cross_attention(hidden, weights, name, config, key, value)
        heads = [head for chosen_layer, head in config.alignment.chosen if chosen_layer == layer]
        if heads:
            attention.append(ops.gather(to_audio, ops.constant(np.array(heads, np.int32)), parts.axis(1)))
        hidden = _feed_forward(hidden, weights, name)
    hidden = parts.layer_norm(hidden, weights, "model.decoder.layer_norm", _EPSILON)
    logits = _logits(ops.gather(ops.squeeze(hidden, parts.axes(0)), logits_at, parts.axis(0)), weights)
    text = ops.slice(logits, parts.axes(0), parts.axes(config.tokens.end), parts.axes(1), parts.axes(1))
    chosen = ops.gather_elements(logits, ops.unsqueeze(targets, parts.axes(1)), 1)
    outputs = [(ops.concat(attention, 1), "attention"), (ops.subtract(chosen, _log_sum_exp(text)), "logprobs")]
    return parts.build(outputs, parameters, "whisper_align")


def _logits(hidden: Node, weights: WeightSource) -> Node:
    head = "proj_out.weight" if weights.has("proj_out.weight") else "model.decoder.embed_tokens.weight"
    return ops.matmul(weights.quantized_input("proj_out", hidden), weights.matrix(head), False, True)


def _encoder_layer(hidden: Node, weights: WeightSource, name: str, config: WhisperConfig) -> Node:
    normed = parts.layer_norm(hidden, weights, f"{name}.self_attn_layer_norm", _EPSILON)
    query, key, value = parts.project(normed, weights, f"{name}.self_attn", config.encoder_heads)
    attended = parts.attention(query, key, value)
    hidden = ops.add(hidden, parts.linear(attended, weights, f"{name}.self_attn.out_proj"))
    return _feed_forward(hidden, weights, name)


def _decoder_layer(
    hidden: Node,
    weights: WeightSource,
    layer: int,
    config: WhisperConfig,
    mask: Node,
    caches: list[Node],
    *audio_mask: Node,
) -> tuple[Node, tuple[Node, Node]]:
    """The layer's output and this pass's self-attention key and value."""
    name = f"model.decoder.layers.{layer}"
    past_key, past_value, cross_key, cross_value = (parts.cast(node, "f32") for node in caches)
    normed = parts.layer_norm(hidden, weights, f"{name}.self_attn_layer_norm", _EPSILON)
    query, key, value = parts.project(normed, weights, f"{name}.self_attn", config.decoder_heads)
    attended = parts.attention(query, ops.concat([past_key, key], 2), ops.concat([past_value, value], 2), mask)
    hidden = ops.add(hidden, parts.linear(attended, weights, f"{name}.self_attn.out_proj"))
    hidden, _ = _cross_attention(hidden, weights, name, config, cross_key, cross_value, *audio_mask)
    return _feed_forward(hidden, weights, name), (key, value)


def _cross_attention(
    hidden: Node, weights: WeightSource, name: str, config: WhisperConfig, key: Node, value: Node, *audio_mask: Node
) -> tuple[Node, Node]:
    """The residual stream after cross-attention, and the attention of each token to the audio, `[b, heads, n, 1500]`."""
    normed = parts.layer_norm(hidden, weights, f"{name}.encoder_attn_layer_norm", _EPSILON)
    query = parts.query_of(normed, weights, f"{name}.encoder_attn", config.decoder_heads)
    to_audio = parts.attention_weights(query, key, *audio_mask)
    attended = parts.mix(to_audio, value)
    return ops.add(hidden, parts.linear(attended, weights, f"{name}.encoder_attn.out_proj")), to_audio


def _feed_forward(hidden: Node, weights: WeightSource, name: str) -> Node:
    normed = parts.layer_norm(hidden, weights, f"{name}.final_layer_norm", _EPSILON)
    wide = ops.gelu(parts.linear(normed, weights, f"{name}.fc1"), "erf")
    return ops.add(hidden, parts.linear(wide, weights, f"{name}.fc2"))


def _gelu_convolution(hidden: Node, weights: WeightSource, name: str, stride: int) -> Node:
    hidden = weights.quantized_input(name, hidden)
    convolved = ops.convolution(hidden, weights.kernel(f"{name}.weight"), [stride], [1], [1], [1])
    bias = ops.reshape(weights.tensor(f"{name}.bias"), parts.integers(1, -1, 1), False)
    return ops.gelu(ops.add(convolved, bias), "erf")


def _apply_rules(logits: Node, rules: Node, config: WhisperConfig) -> Node:
    """Apply each row's logits rules: `[b, vocabulary]` -> the same, NEVER where a token is not allowed.

    Suppression and the first six rules are ranges and constant rows; the seventh (a timestamp must follow where all
    timestamps together are likelier than every other token) compares sums over the result. Radford et al. 2022, section 4.5.
    """
    # Ids stay integers throughout: bf16 cannot represent all of those above 256.
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
    likelier = ops.greater(_log_sum_exp(timestamps), ops.reduce_max(others, parts.axes(1), True))
    forced = ops.logical_and(likelier, _is_set(timed))
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
    """Over the last of two axes, which is kept; shifted by the maximum, since ReduceLogSumExp overflows above 88."""
    peak = ops.reduce_max(scores, parts.axes(1), True)
    total = ops.reduce_sum(ops.exp(ops.subtract(scores, peak)), parts.axes(1), True)
    return ops.add(peak, ops.log(total))


def _cache_parameter(
    config: WhisperConfig, name: str, layer: int, cache: CacheType, batch: int = -1, *, any_length: bool
) -> Node:
    length = -1 if any_length or name.startswith("past") else config.source_positions
    shape = [batch, config.decoder_heads, length, config.head_width]
    return parts.parameter(shape, cache, f"{name}.{layer}")
