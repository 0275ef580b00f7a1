"""SpeechT5's post-net and HiFi-GAN vocoder as the OpenVINO graphs that optimum-intel writes, for whole sentences.

Every reader of such folders depends on these names and shapes of inputs and outputs.
"""

from __future__ import annotations

from openvino import opset13 as ops

from antiphon.models import export_layers as export
from antiphon.models import layers as parts
from antiphon.models.layers import Model, Node
from antiphon.models.speecht5.config import SpeechT5Config, VocoderConfig
from antiphon.models.speecht5.graph_sound import LAST_SLOPE, batch_normed, leaky, sum_of_blocks, whole_kernel
from antiphon.weights.openvino_ir.writer import WrittenWeights


def postnet_graph(config: SpeechT5Config, weights: WrittenWeights) -> Model:
    """`raw_spectrogram [steps, 1, reduction, mels]` -> `postnet_spectrogram [1, steps * reduction, mels]`."""
    raw = export.parameter([-1, -1, config.reduction, config.mels], "f32", "raw_spectrogram")
    frames = ops.transpose(raw, parts.integers(1, 0, 2, 3))
    frames = ops.reshape(frames, parts.integers(0, -1, config.mels), True)
    hidden: Node = ops.transpose(frames, parts.integers(0, 2, 1))
    for layer in range(config.postnet_layers):
        name = f"speech_decoder_postnet.layers.{layer}"
        kernel, bias = batch_normed(weights, name)
        half = config.postnet_kernel // 2
        hidden = ops.convolution(hidden, weights.kernel(f"{name}.folded", kernel), [1], [half], [half], [1])
        hidden = ops.add(hidden, weights.written(f"{name}.shift", bias.reshape(1, -1, 1)))
        hidden = export.named(hidden, f"{weights.label(name)}.batch_norm/aten::batch_norm/BatchNormInference")
        if layer < config.postnet_layers - 1:
            hidden = ops.tanh(hidden)
    refined = ops.add(frames, ops.transpose(hidden, parts.integers(0, 2, 1)))
    return export.build([(refined, "postnet_spectrogram")], [raw])


def vocoder_graph(config: VocoderConfig, weights: WrittenWeights) -> Model:
    """`spectrogram [b, n, mels]` -> `waveform [b, n * hop]`."""

    def layer(hidden: Node, name: str, size: int, dilation: int) -> Node:
        return _convolve(hidden, weights, name, size, dilation)

    frames = export.parameter([-1, -1, config.mels], "f32", "spectrogram")
    hidden: Node = frames
    if config.normalize:
        mean = weights.written("mean", -weights.array("mean").reshape(1, 1, -1))
        hidden = export.named(ops.add(hidden, mean), "aten::sub/Subtract")
        hidden = export.named(ops.divide(hidden, weights.tensor("scale", 1, 1, -1)), "aten::div/Divide")
    hidden = ops.transpose(hidden, parts.integers(0, 2, 1))
    hidden = _convolve(hidden, weights, "conv_pre", 7)
    for stage in range(len(config.rates)):
        hidden = _upsample(leaky(hidden, config.slope), weights, stage, config)
        hidden = ops.divide(sum_of_blocks(hidden, stage, config, layer), parts.scalar(len(config.block_kernels)))
    hidden = _convolve(leaky(hidden, LAST_SLOPE), weights, "conv_post", 7)
    samples = ops.squeeze(ops.tanh(hidden), parts.axes(1))
    return export.build([(samples, "waveform")], [frames])


def _upsample(hidden: Node, weights: WrittenWeights, stage: int, config: VocoderConfig) -> Node:
    name = f"upsampler.{stage}"
    label = f"{weights.label(name)}/aten::_convolution"
    rate, half = config.rates[stage], (config.kernels[stage] - config.rates[stage]) // 2
    # The kernel of a transposed convolution has its outputs on the second axis.
    kernel = weights.kernel(f"{name}.weight", whole_kernel(weights, name), axis=1)
    wider = ops.convolution_backprop_data(hidden, kernel, [rate], None, [half], [half], [1], "explicit", [0])
    wider = export.named(wider, f"{label}/ConvolutionBackpropData")
    return export.named(ops.add(wider, weights.tensor(f"{name}.bias", 1, -1, 1)), f"{label}/Add")


def _convolve(hidden: Node, weights: WrittenWeights, name: str, size: int, dilation: int = 1) -> Node:
    kernel = weights.kernel(f"{name}.weight", whole_kernel(weights, name))
    return export.convolution(hidden, kernel, weights, name, dilation * (size - 1) // 2, dilation=dilation)
