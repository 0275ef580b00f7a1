"""SpeechT5's two convolutional graphs: the post-net (mel -> refined mel) and the HiFi-GAN vocoder (mel -> samples).

Both work on a chunk of a sentence and the context around it (see `receptive_field.py`). The vocoder is that of Kong et
al. 2020, section 2.2.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from openvino import opset13 as ops

from antiphon.models import layers as parts
from antiphon.models.layers import Model, Node
from antiphon.models.speecht5.config import SpeechT5Config, VocoderConfig
from antiphon.models.speecht5.shapes import NORM_NAMES
from antiphon.weights.source import ArraySource, QuantizingSource

Floats = NDArray[np.float32]

# Makes a block's convolution: its rectified input, the name of its tensors, the kernel's size and its dilation.
BlockLayer = Callable[[Node, str, int, int], Node]

# The slope of the last rectifier: torch's default, which transformers does not override (config.json's is for the others).
LAST_SLOPE = 0.01
# torch's default for batch norm, to which layer_norm_eps of config.json does not apply.
_BATCH_NORM_EPSILON = 1e-5


def postnet_graph(config: SpeechT5Config, weights: QuantizingSource) -> Model:
    """The decoder's `frames [1, n, mels]` -> `refined [1, n, mels]`."""
    frames = parts.parameter([1, -1, config.mels], "f32", "frames")
    hidden: Node = ops.transpose(frames, parts.integers(0, 2, 1))
    half = config.postnet_kernel // 2
    for layer in range(config.postnet_layers):
        kernel, bias = batch_normed(weights, f"speech_decoder_postnet.layers.{layer}")
        hidden = _convolve(hidden, weights.quantized(kernel), bias, half)
        if layer < config.postnet_layers - 1:
            hidden = ops.tanh(hidden)
    refined = ops.add(frames, ops.transpose(hidden, parts.integers(0, 2, 1)))
    return parts.build([(refined, "refined")], [frames], "speecht5_postnet")


def vocoder_graph(config: VocoderConfig, weights: QuantizingSource) -> Model:
    """`frames [1, n, mels]`, `cuts [stages + 1, 2]` -> `samples [1, m]`.

    `cuts` are the positions `[first, last)` to keep of the input of each upsampling stage and, in the last row, of the last
    convolution: a stage multiplies the length, so the context that is no longer needed is dropped as early as possible.
    """

    def layer(hidden: Node, name: str, size: int, dilation: int) -> Node:
        half = dilation * (size - 1) // 2
        kernel = weights.quantized(whole_kernel(weights, name))
        return _convolve(hidden, kernel, _floats(weights, f"{name}.bias"), half, dilation)

    frames = parts.parameter([1, -1, config.mels], "f32", "frames")
    cuts = parts.parameter([len(config.rates) + 1, 2], "i32", "cuts")
    hidden: Node = frames
    if config.normalize:
        mean, scale = _floats(weights, "mean"), _floats(weights, "scale")
        hidden = ops.divide(ops.subtract(frames, ops.constant(mean)), ops.constant(scale))
    hidden = ops.transpose(hidden, parts.integers(0, 2, 1))
    hidden = _convolve(
        hidden, weights.quantized(whole_kernel(weights, "conv_pre")), _floats(weights, "conv_pre.bias"), 3
    )
    for stage in range(len(config.rates)):
        hidden = _upsample(_cut(hidden, cuts, stage), weights, stage, config)
        total = sum_of_blocks(hidden, stage, config, layer)
        hidden = ops.multiply(total, parts.scalar(1 / len(config.block_kernels)))
    hidden = leaky(_cut(hidden, cuts, len(config.rates)), LAST_SLOPE)
    hidden = _convolve(
        hidden, weights.quantized(whole_kernel(weights, "conv_post")), _floats(weights, "conv_post.bias"), 3
    )
    samples = ops.squeeze(ops.tanh(hidden), parts.axes(1))
    return parts.build([(samples, "samples")], [frames, cuts], "speecht5_vocoder")


def _upsample(hidden: Node, weights: QuantizingSource, stage: int, config: VocoderConfig) -> Node:
    """A transposed convolution, written as an ordinary one that makes all `rate` outputs of an input position at once.

    OpenVINO runs the transposed one as a plain matrix product on AVX2: the four of the published vocoder take twice as
    long as these. Of the whole vocoder's time that is about 5 %, which is within the noise.
    """
    rate, size = config.rates[stage], config.kernels[stage]
    half, taps = (size - rate) // 2, -(-size // rate)
    kernel = weights.quantized(whole_kernel(weights, f"upsampler.{stage}"), axis=1)  # outputs are its second axis
    into, out = kernel.shape[:2]
    padded = np.pad(kernel, ((0, 0), (0, 0), (0, taps * rate - size)))
    by_phase = padded.reshape(into, out, taps, rate)[:, :, ::-1].transpose(1, 3, 0, 2).reshape(out * rate, into, taps)
    bias = np.repeat(_floats(weights, f"upsampler.{stage}.bias"), rate)
    made = _convolve(leaky(hidden, config.slope), np.ascontiguousarray(by_phase), bias, taps - 1)
    phases = ops.transpose(ops.reshape(made, parts.integers(0, out, rate, -1), True), parts.integers(0, 1, 3, 2))
    wider = ops.reshape(phases, parts.integers(0, 0, -1), True)
    # Cut the outputs where the kernel extends over the ends.
    beyond = (taps - 1) * rate - half
    return ops.slice(wider, parts.axes(half), parts.axes(-beyond), parts.axes(1), parts.axes(2)) if beyond else wider


def sum_of_blocks(hidden: Node, stage: int, config: VocoderConfig, layer: BlockLayer) -> Node:
    """The sum of a stage's residual blocks, which differ in their kernels and share their input."""
    total: Node | None = None
    count = len(config.block_kernels)
    for index, (size, dilations) in enumerate(zip(config.block_kernels, config.block_dilations, strict=True)):
        name = f"resblocks.{stage * count + index}"
        block = hidden
        for number, dilation in enumerate(dilations):
            inner = layer(leaky(block, config.slope), f"{name}.convs1.{number}", size, dilation)
            inner = layer(leaky(inner, config.slope), f"{name}.convs2.{number}", size, 1)
            block = ops.add(inner, block)
        total = block if total is None else ops.add(total, block)
    return total


def _convolve(hidden: Node, kernel: Floats, bias: Floats, half: int, dilation: int = 1) -> Node:
    convolved = ops.convolution(hidden, ops.constant(kernel), [1], [half], [half], [dilation])
    return ops.add(convolved, _by_channel(bias))


def _cut(hidden: Node, cuts: Node, index: int) -> Node:
    """The positions of `hidden [1, channels, n]` in row `index` of `cuts`."""
    ends = ops.gather(cuts, parts.axis(index), parts.axis(0))
    first, last = (ops.gather(ends, parts.axes(side), parts.axis(0)) for side in (0, 1))
    return ops.slice(hidden, first, last, ops.constant(np.array([1], np.int32)), ops.constant(np.array([2], np.int32)))


def leaky(hidden: Node, slope: float) -> Node:
    """A leaky rectifier."""
    return ops.prelu(hidden, ops.constant(np.array([slope], np.float32)))


def _by_channel(values: Floats) -> Node:
    return ops.constant(values.reshape(1, -1, 1))


def batch_normed(weights: ArraySource, name: str) -> tuple[Floats, Floats]:
    """Kernel and bias of a convolution with the batch norm after it folded in."""
    kernel = _floats(weights, f"{name}.conv.weight")
    if weights.has(f"{name}.conv.bias"):
        return kernel, _floats(weights, f"{name}.conv.bias")  # folded by the exporter
    gain, shift, mean, variance = (
        _floats(weights, f"{name}.batch_norm.{part}") for part in ("weight", "bias", "running_mean", "running_var")
    )
    factor = gain / np.sqrt(variance + np.float32(_BATCH_NORM_EPSILON))
    return kernel * factor[:, None, None], shift - mean * factor


def whole_kernel(weights: ArraySource, name: str) -> Floats:
    """A convolution's kernel, stored whole or as length and direction (weight norm) under either of torch's names."""
    for length_name, direction_name in NORM_NAMES:
        if weights.has(f"{name}.{direction_name}"):
            length = _floats(weights, f"{name}.{length_name}")
            direction = _floats(weights, f"{name}.{direction_name}")
            norm = np.sqrt(np.square(direction, dtype=np.float64).sum(axis=(1, 2), keepdims=True))
            folded: Floats = (direction * (length / norm)).astype(np.float32)
            return folded
    return _floats(weights, f"{name}.weight")


def _floats(weights: ArraySource, name: str) -> Floats:
    return weights.array(name).astype(np.float32)
