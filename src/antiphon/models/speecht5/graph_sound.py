"""SpeechT5's two convolutional graphs: the post-net (mel -> finer mel) and the HiFi-GAN vocoder (mel -> samples).

Both work on a stretch of a sentence; which stretch, and how much around it, `reach.py` says. They must not know slots.
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
from antiphon.weights.source import ArraySource, RoundingSource

Floats = NDArray[np.float32]

# A block's convolution of what went through the rectifier: the tensors' name, the kernel's size and its dilation.
BlockLayer = Callable[[Node, str, int, int], Node]

# torch's default, which transformers leaves in place for the very last rectifier (its config's slope is for the others).
LAST_SLOPE = 0.01
# torch's default for batch norm; layer_norm_eps of config.json is not for it.
_BATCH_NORM_EPSILON = 1e-5


def postnet_graph(config: SpeechT5Config, weights: RoundingSource) -> Model:
    """`frames [1, n, mels]` as the decoder makes them -> `refined [1, n, mels]`."""
    frames = parts.parameter([1, -1, config.mels], "f32", "frames")
    hidden: Node = ops.transpose(frames, parts.integers(0, 2, 1))
    half = config.postnet_kernel // 2
    for layer in range(config.postnet_layers):
        kernel, bias = batch_normed(weights, f"speech_decoder_postnet.layers.{layer}")
        hidden = _convolve(hidden, weights.rounded(kernel), bias, half)
        if layer < config.postnet_layers - 1:
            hidden = ops.tanh(hidden)
    refined = ops.add(frames, ops.transpose(hidden, parts.integers(0, 2, 1)))
    return parts.build([(refined, "refined")], [frames], "speecht5_postnet")


def vocoder_graph(config: VocoderConfig, weights: RoundingSource) -> Model:
    """`frames [1, n, mels]`, `cuts [stages + 1, 2]` -> `samples [1, m]`.

    `cuts` are the first and one past the last position that is kept of what goes into each upsampling stage, and, last,
    of what goes into the last convolution: a stage makes many samples of one, so that what is no longer needed around
    the stretch asked for is dropped as early as can be.
    """

    def layer(hidden: Node, name: str, size: int, dilation: int) -> Node:
        half = dilation * (size - 1) // 2
        kernel = weights.rounded(whole_kernel(weights, name))
        return _convolve(hidden, kernel, _floats(weights, f"{name}.bias"), half, dilation)

    frames = parts.parameter([1, -1, config.mels], "f32", "frames")
    cuts = parts.parameter([len(config.rates) + 1, 2], "i32", "cuts")
    hidden: Node = frames
    if config.normalize:
        mean, scale = _floats(weights, "mean"), _floats(weights, "scale")
        hidden = ops.divide(ops.subtract(frames, ops.constant(mean)), ops.constant(scale))
    hidden = ops.transpose(hidden, parts.integers(0, 2, 1))
    hidden = _convolve(hidden, weights.rounded(whole_kernel(weights, "conv_pre")), _floats(weights, "conv_pre.bias"), 3)
    for stage in range(len(config.rates)):
        hidden = _upsample(_cut(hidden, cuts, stage), weights, stage, config)
        total = sum_of_blocks(hidden, stage, config, layer)
        hidden = ops.multiply(total, parts.scalar(1 / len(config.block_kernels)))
    hidden = leaky(_cut(hidden, cuts, len(config.rates)), LAST_SLOPE)
    hidden = _convolve(
        hidden, weights.rounded(whole_kernel(weights, "conv_post")), _floats(weights, "conv_post.bias"), 3
    )
    samples = ops.squeeze(ops.tanh(hidden), parts.axes(1))
    return parts.build([(samples, "samples")], [frames, cuts], "speecht5_vocoder")


def _upsample(hidden: Node, weights: RoundingSource, stage: int, config: VocoderConfig) -> Node:
    """A transposed convolution, as an ordinary one that makes all `rate` samples of a place at once.

    OpenVINO runs the transposed one as a plain matrix product on AVX2: the four of the published vocoder take twice as
    long as these. What that is of the whole vocoder was not told apart from noise: about 5 %.
    """
    rate, size = config.rates[stage], config.kernels[stage]
    half, taps = (size - rate) // 2, -(-size // rate)
    kernel = weights.rounded(whole_kernel(weights, f"upsampler.{stage}"), axis=1)  # the outputs stand second
    into, out = kernel.shape[:2]
    padded = np.pad(kernel, ((0, 0), (0, 0), (0, taps * rate - size)))
    by_phase = padded.reshape(into, out, taps, rate)[:, :, ::-1].transpose(1, 3, 0, 2).reshape(out * rate, into, taps)
    bias = np.repeat(_floats(weights, f"upsampler.{stage}.bias"), rate)
    made = _convolve(leaky(hidden, config.slope), np.ascontiguousarray(by_phase), bias, taps - 1)
    phases = ops.transpose(ops.reshape(made, parts.integers(0, out, rate, -1), True), parts.integers(0, 1, 3, 2))
    wider = ops.reshape(phases, parts.integers(0, 0, -1), True)
    # Where the kernel reaches over the ends it made more than was asked for.
    beyond = (taps - 1) * rate - half
    return ops.slice(wider, parts.axes(half), parts.axes(-beyond), parts.axes(1), parts.axes(2)) if beyond else wider


def sum_of_blocks(hidden: Node, stage: int, config: VocoderConfig, layer: BlockLayer) -> Node:
    """The sum over a stage's residual blocks of different kernels, all on the same input."""
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
    """`hidden [1, channels, n]` from the first to the last position that row `index` of `cuts` names."""
    ends = ops.gather(cuts, parts.axis(index), parts.axis(0))
    first, last = (ops.gather(ends, parts.axes(side), parts.axis(0)) for side in (0, 1))
    return ops.slice(hidden, first, last, ops.constant(np.array([1], np.int32)), ops.constant(np.array([2], np.int32)))


def leaky(hidden: Node, slope: float) -> Node:
    return ops.prelu(hidden, ops.constant(np.array([slope], np.float32)))


def _by_channel(values: Floats) -> Node:
    return ops.constant(values.reshape(1, -1, 1))


def batch_normed(weights: ArraySource, name: str) -> tuple[Floats, Floats]:
    """A convolution without bias and the batch norm behind it, as one convolution with bias."""
    kernel = _floats(weights, f"{name}.conv.weight")
    if weights.has(f"{name}.conv.bias"):
        return kernel, _floats(weights, f"{name}.conv.bias")  # whoever exported it did this already
    gain, shift, mean, variance = (
        _floats(weights, f"{name}.batch_norm.{part}") for part in ("weight", "bias", "running_mean", "running_var")
    )
    factor = gain / np.sqrt(variance + np.float32(_BATCH_NORM_EPSILON))
    return kernel * factor[:, None, None], shift - mean * factor


def whole_kernel(weights: ArraySource, name: str) -> Floats:
    """A convolution's kernel: folded, or as length and direction (weight norm), in either spelling torch has for it."""
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
