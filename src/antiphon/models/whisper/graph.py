"""Whisper as three OpenVINO graphs: features (waveform -> log-mel), hear (-> cross-attention caches) and step.

It must not know slots, tokens as text, or where the weights come from. Attention is written out as
MatMul-Softmax-MatMul: an SDPA op outside OpenVINO's stateful pattern is 3 to 4 times slower at batch 16.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from antiphon.models.whisper.config import FRAMES, HOP, N_FFT, WhisperConfig
from antiphon.models.whisper.mel import fourier_basis, mel_filters
from antiphon.types import WINDOW_SAMPLES
from antiphon.weights.source import WeightSource

# Stands for minus infinity in sums and comparisons; the real one would make NaN of a difference of two.
NEVER = -1e30

# A slice's "to the end".
_END = np.iinfo(np.int64).max

Tensor: TypeAlias = ov.Tensor
CacheType = Literal["bf16", "f32"]


def share(array: NDArray[np.generic]) -> Tensor:
    """A contiguous array as a tensor over the same memory; uint16 stands for the bits of bf16, which numpy lacks.

    The tensor does not keep the array alive: the caller does, for as long as a request may touch it.
    """
    if array.dtype == np.uint16:
        return ov.Tensor(array, ov.Shape(list(array.shape)), ov.Type.bf16)
    return ov.Tensor(array, shared_memory=True)


def features_graph(config: WhisperConfig) -> ov.Model:
    """`waveform [1, 480000]` -> `features [1, mels, 3000]`: log10 mel power, clipped 8 below its own maximum, scaled.

    Compiled in f32 whatever the device's precision: bf16 has 8 bits for 80 dB.
    """
    waveform = _parameter([1, WINDOW_SAMPLES], ov.Type.f32, "waveform")
    half = np.array([0, N_FFT // 2], np.int64)
    padded = ops.pad(waveform, ops.constant(half), ops.constant(half), "reflect")
    signal = ops.unsqueeze(padded, _axes(1))
    kernel = ops.constant(fourier_basis()[:, None, :])
    spectrum = ops.convolution(signal, kernel, [HOP], [0], [0], [1])  # [1, 402, 3001]
    parts = ops.split(ops.power(spectrum, _scalar(2.0)), _axis(1), 2)
    power = ops.add(parts.output(0), parts.output(1))
    # Whisper drops the last frame, which the reflection at the end made.
    kept = ops.slice(power, _axes(0), _axes(FRAMES), _axes(1), _axes(2))
    mel = ops.matmul(ops.constant(mel_filters(config.mels)), kept, False, False)
    logs = ops.multiply(ops.log(ops.maximum(mel, _scalar(1e-10))), _scalar(1 / math.log(10)))
    floor = ops.subtract(ops.reduce_max(logs, _axes(1, 2), True), _scalar(8.0))
    features = ops.multiply(ops.add(ops.maximum(logs, floor), _scalar(4.0)), _scalar(0.25))
    return _model([(features, "features")], [waveform], "whisper_features")


def hear_graph(config: WhisperConfig, weights: WeightSource, cache: CacheType) -> ov.Model:
    """`features [1, mels, 3000]` -> per decoder layer `key.i`, `value.i [1, heads, 1500, head width]` of type `cache`.

    Also `states [1, 1500, width]`, the encoder's output.
    """
    features = _parameter([1, config.mels, FRAMES], ov.Type.f32, "features")
    hidden = _gelu_convolution(features, weights, "model.encoder.conv1", stride=1)
    hidden = _gelu_convolution(hidden, weights, "model.encoder.conv2", stride=2)
    hidden = ops.transpose(hidden, ops.constant(np.array([0, 2, 1])))
    hidden = ops.add(hidden, weights.tensor("model.encoder.embed_positions.weight"))
    for layer in range(config.encoder_layers):
        hidden = _encoder_layer(hidden, weights, f"model.encoder.layers.{layer}", config)
    states = _layer_norm(hidden, weights, "model.encoder.layer_norm")
    outputs: list[tuple[ov.Node, str]] = [(states, "states")]
    for layer in range(config.decoder_layers):
        for kind in ("key", "value"):
            projected = _linear(states, weights, f"model.decoder.layers.{layer}.encoder_attn.{kind[0]}_proj")
            outputs.append((_cast(_heads(projected, config.decoder_heads), cache), f"{kind}.{layer}"))
    return _model(outputs, [features], "whisper_hear")


def step_graph(config: WhisperConfig, weights: WeightSource, cache: CacheType) -> ov.Model:
    """One decoder pass over a ragged batch of b sequences, n tokens each (n = 1 but for prompts), past of length t.

    In: `ids`, `positions [b, n]`, `mask [b, 1, n, t + n]` (added to the scores), `rows [b, r]` (which of the n rows get
    logits; the first of them is sampled from), `rules [b, 6]` (see `rules.py`), `drawn [k]` (the sequences whose scores
    are wanted), and per layer `past_key.i`, `past_value.i [b, heads, t, head width]`, `key.i`,
    `value.i [b, heads, 1500, head width]`.
    Out: `logits [b, r - 1, vocabulary]`, raw, of all rows but the first; `scores [k, vocabulary]` of the first row under
    the rules; `best [b, 1]`, its arg-max; `score [b, 1]`, the arg-max's log-probability under the rules;
    `fresh [2 * layers, b, heads, n, head width]`, this pass's keys and values, layer by layer.
    A plain greedy step asks for no rows of `logits` and `scores`: writing them out took a quarter of its time.
    """
    ids = _parameter([-1, -1], ov.Type.i32, "ids")
    positions = _parameter([-1, -1], ov.Type.i32, "positions")
    mask = _parameter([-1, 1, -1, -1], ov.Type.f32, "mask")
    rows = _parameter([-1, -1], ov.Type.i32, "rows")
    rules = _parameter([-1, 6], ov.Type.i32, "rules")
    drawn = _parameter([-1], ov.Type.i32, "drawn")
    parameters = [ids, positions, mask, rows, rules, drawn]
    hidden = weights.rows("model.decoder.embed_tokens.weight", ids.output(0))
    table = weights.tensor("model.decoder.embed_positions.weight")
    hidden = ops.add(hidden, ops.gather(table, positions, _axis(0)))
    fresh: list[ov.Node] = []
    for layer in range(config.decoder_layers):
        past = [_cache_parameter(config, name, layer, cache) for name in ("past_key", "past_value", "key", "value")]
        parameters += past
        hidden, made = _decoder_layer(hidden, weights, layer, config, mask, past)
        fresh += [_cast(node, cache) for node in made]
    hidden = _layer_norm(hidden, weights, "model.decoder.layer_norm")
    all_logits = _logits(ops.gather(hidden, rows, _axis(1), 1), weights)
    first = ops.squeeze(ops.slice(all_logits, _axes(0), _axes(1), _axes(1), _axes(1)), _axes(1))
    logits = ops.slice(all_logits, _axes(1), _axes(_END), _axes(1), _axes(1))
    scores = _apply_rules(first, rules, config)
    best, score = _arg_max(scores)
    scores = ops.gather(scores, drawn, _axis(0))
    stacked = ops.concat([ops.unsqueeze(node, _axes(0)) for node in fresh], 0)
    outputs = [(logits, "logits"), (scores, "scores"), (best, "best"), (score, "score"), (stacked, "fresh")]
    return _model(outputs, parameters, "whisper_step")


def _logits(hidden: ov.Node, weights: WeightSource) -> ov.Node:
    head = "proj_out.weight" if weights.has("proj_out.weight") else "model.decoder.embed_tokens.weight"
    return ops.matmul(hidden, weights.matrix(head), False, True)


def _encoder_layer(hidden: ov.Node, weights: WeightSource, name: str, config: WhisperConfig) -> ov.Node:
    normed = _layer_norm(hidden, weights, f"{name}.self_attn_layer_norm")
    query, key, value = _project(normed, weights, f"{name}.self_attn", config.encoder_heads)
    attended = _attention(query, key, value, None)
    hidden = ops.add(hidden, _linear(attended, weights, f"{name}.self_attn.out_proj"))
    return _feed_forward(hidden, weights, name)


def _decoder_layer(
    hidden: ov.Node, weights: WeightSource, layer: int, config: WhisperConfig, mask: ov.Node, caches: list[ov.Node]
) -> tuple[ov.Node, tuple[ov.Node, ov.Node]]:
    """The layer's output and this pass's self-attention key and value."""
    name = f"model.decoder.layers.{layer}"
    past_key, past_value, cross_key, cross_value = (_cast(node, "f32") for node in caches)
    normed = _layer_norm(hidden, weights, f"{name}.self_attn_layer_norm")
    query, key, value = _project(normed, weights, f"{name}.self_attn", config.decoder_heads)
    attended = _attention(query, ops.concat([past_key, key], 2), ops.concat([past_value, value], 2), mask)
    hidden = ops.add(hidden, _linear(attended, weights, f"{name}.self_attn.out_proj"))
    normed = _layer_norm(hidden, weights, f"{name}.encoder_attn_layer_norm")
    query = _query(normed, weights, f"{name}.encoder_attn", config.decoder_heads)
    attended = _attention(query, cross_key, cross_value, None)
    hidden = ops.add(hidden, _linear(attended, weights, f"{name}.encoder_attn.out_proj"))
    return _feed_forward(hidden, weights, name), (key, value)


def _project(hidden: ov.Node, weights: WeightSource, name: str, heads: int) -> tuple[ov.Node, ov.Node, ov.Node]:
    key = _heads(_linear(hidden, weights, f"{name}.k_proj"), heads)
    value = _heads(_linear(hidden, weights, f"{name}.v_proj"), heads)
    return _query(hidden, weights, name, heads), key, value


def _query(hidden: ov.Node, weights: WeightSource, name: str, heads: int) -> ov.Node:
    projected = _linear(hidden, weights, f"{name}.q_proj")
    head_width = weights.shape(f"{name}.q_proj.weight")[0] // heads
    return _heads(ops.multiply(projected, _scalar(head_width**-0.5)), heads)


def _attention(query: ov.Node, key: ov.Node, value: ov.Node, mask: ov.Node | None) -> ov.Node:
    """`[b, heads, n, head width]` each -> `[b, n, width]` (Vaswani et al. 2017, section 3.2)."""
    scores = ops.matmul(query, key, False, True)
    if mask is not None:
        scores = ops.add(scores, mask)
    mixed = ops.matmul(ops.softmax(scores, -1), value, False, False)
    swapped = ops.transpose(mixed, ops.constant(np.array([0, 2, 1, 3])))
    return ops.reshape(swapped, ops.constant(np.array([0, 0, -1])), True)


def _heads(hidden: ov.Node, heads: int) -> ov.Node:
    """`[b, n, width]` -> `[b, heads, n, head width]`."""
    split = ops.reshape(hidden, ops.constant(np.array([0, 0, heads, -1])), True)
    return ops.transpose(split, ops.constant(np.array([0, 2, 1, 3])))


def _feed_forward(hidden: ov.Node, weights: WeightSource, name: str) -> ov.Node:
    normed = _layer_norm(hidden, weights, f"{name}.final_layer_norm")
    wide = ops.gelu(_linear(normed, weights, f"{name}.fc1"), "erf")
    return ops.add(hidden, _linear(wide, weights, f"{name}.fc2"))


def _linear(hidden: ov.Node, weights: WeightSource, name: str) -> ov.Node:
    product = ops.matmul(hidden, weights.matrix(f"{name}.weight"), False, True)
    return ops.add(product, weights.tensor(f"{name}.bias")) if weights.has(f"{name}.bias") else product


def _layer_norm(hidden: ov.Node, weights: WeightSource, name: str) -> ov.Node:
    normed = ops.mvn(hidden, _axes(2), True, 1e-5, "inside_sqrt")
    return ops.add(ops.multiply(normed, weights.tensor(f"{name}.weight")), weights.tensor(f"{name}.bias"))


def _gelu_convolution(hidden: ov.Node, weights: WeightSource, name: str, stride: int) -> ov.Node:
    convolved = ops.convolution(hidden, weights.tensor(f"{name}.weight"), [stride], [1], [1], [1])
    bias = ops.reshape(weights.tensor(f"{name}.bias"), ops.constant(np.array([1, -1, 1])), False)
    return ops.gelu(ops.add(convolved, bias), "erf")


def _apply_rules(logits: ov.Node, rules: ov.Node, config: WhisperConfig) -> ov.Node:
    """Whisper's logit rules for one row each: `[b, vocabulary]` -> the same, NEVER where a token may not come.

    Suppression and the first six rules are ranges and constant rows; the seventh (a timestamp must come where all
    timestamps together beat every other token) compares sums over the result. Radford et al. 2022, section 4.5.
    """
    # Everything about ids stays in integers: in bf16 an id above 256 is no longer itself.
    columns = ops.split(rules, _axis(1), 6).outputs()
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
    scores = ops.select(allowed, logits, _scalar(NEVER))
    if first >= config.vocabulary:
        return scores
    timestamps = ops.slice(scores, _axes(first), _axes(config.vocabulary), _axes(1), _axes(1))
    others = ops.slice(scores, _axes(0), _axes(first), _axes(1), _axes(1))
    beaten = ops.greater(_log_sum_exp(timestamps), ops.reduce_max(others, _axes(1), True))
    forced = ops.logical_and(beaten, _is_set(timed))
    banned = ops.logical_and(forced, ops.logical_not(is_timestamp))
    return ops.select(banned, _scalar(NEVER), scores)


def _is_set(switch: ov.Output) -> ov.Node:
    return ops.greater(switch, ops.constant(np.int32(0)))


def _among(config: WhisperConfig, tokens: tuple[int, ...]) -> ov.Node:
    row = np.zeros((1, config.vocabulary), np.bool_)
    row[0, [token for token in tokens if 0 <= token < config.vocabulary]] = True
    return ops.constant(row)


def _arg_max(scores: ov.Node) -> tuple[ov.Node, ov.Node]:
    """`[b, vocabulary]` -> the best id `[b, 1]` and its log-probability `[b, 1]`."""
    top = ops.topk(scores, ops.constant(np.int32(1)), -1, "max", "value", "i32")
    return top.output(1), ops.subtract(top.output(0), _log_sum_exp(scores))


def _log_sum_exp(scores: ov.Node) -> ov.Node:
    """Over the last axis, kept; shifted by the maximum, since ReduceLogSumExp overflows above 88."""
    peak = ops.reduce_max(scores, _axes(1), True)
    total = ops.reduce_sum(ops.exp(ops.subtract(scores, peak)), _axes(1), True)
    return ops.add(peak, ops.log(total))


def _cache_parameter(config: WhisperConfig, name: str, layer: int, cache: CacheType) -> ov.Node:
    length = -1 if name.startswith("past") else config.source_positions
    shape = [-1, config.decoder_heads, length, config.width // config.decoder_heads]
    return _parameter(shape, ov.Type.bf16 if cache == "bf16" else ov.Type.f32, f"{name}.{layer}")


def _parameter(shape: list[int], kind: ov.Type, name: str) -> ov.Node:
    node = ops.parameter(ov.PartialShape(shape), kind)
    node.output(0).set_names({name})
    return node


def _cast(node: ov.Node, kind: CacheType) -> ov.Node:
    return node if node.get_element_type().get_type_name() == kind else ops.convert(node, kind)


def _scalar(value: float) -> ov.Node:
    return ops.constant(np.float32(value))


def _axis(value: int) -> ov.Node:
    return ops.constant(np.int32(value))


def _axes(*values: int) -> ov.Node:
    return ops.constant(np.array(values, np.int64))


def _model(outputs: list[tuple[ov.Node, str]], parameters: list[ov.Node], name: str) -> ov.Model:
    results = []
    for node, label in outputs:
        output = node if isinstance(node, ov.Output) else node.output(0)
        output.set_names({label})
        results.append(ops.result(output))
    return ov.Model(results, parameters, name)
