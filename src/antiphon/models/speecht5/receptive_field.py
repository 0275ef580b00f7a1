"""The receptive field of post-net and vocoder: which frames, and which part of each stage, a chunk of audio depends on.

All intervals are `[first, last)`.
"""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.models.speecht5.config import SpeechT5Config, VocoderConfig

_END_HALF = 3  # both the first and the last convolution have kernels of 7
_UNKNOWN_LENGTH = 1 << 40  # stands for the length of a sentence whose end is not known yet

Interval = tuple[int, int]


@dataclass(frozen=True, slots=True)
class VocoderPlan:
    """One vocoder run: its input frames (after the post-net), the cuts of its stages, and the samples to keep."""

    frames: Interval
    cuts: tuple[Interval, ...]  # relative to each stage's input
    samples: Interval  # relative to the output


def plan_vocoder(config: VocoderConfig, chunk: Interval, total: int | None) -> VocoderPlan:
    """Plan the run for the samples of the frames `chunk`, in a sentence of `total` frames (None: not known yet).

    The samples equal those of a run over the whole sentence: every stage gets its whole receptive field, and zero padding
    only where the sentence itself begins or ends.
    """
    length = (_UNKNOWN_LENGTH if total is None else total) * config.hop
    output = (chunk[0] * config.hop, chunk[1] * config.hop)
    inputs = [_clip((output[0] - _END_HALF, output[1] + _END_HALF), length)]
    context = block_context(config)
    for rate, kernel in zip(reversed(config.rates), reversed(config.kernels), strict=True):
        upsampled = _clip((inputs[0][0] - context, inputs[0][1] + context), length)
        length //= rate
        inputs.insert(0, _clip(_upsampling_inputs(upsampled, rate, kernel), length))
    frames = _clip((inputs[0][0] - _END_HALF, inputs[0][1] + _END_HALF), length)
    cuts, offset = [], frames[0]
    for index, kept in enumerate(inputs):
        cuts.append((kept[0] - offset, kept[1] - offset))
        offset = kept[0] * (config.rates[index] if index < len(config.rates) else 1)
    return VocoderPlan(frames, tuple(cuts), (output[0] - inputs[-1][0], output[1] - inputs[-1][0]))


def block_context(config: VocoderConfig) -> int:
    """The positions on either side that the output of a stage's widest residual block depends on."""
    return max(
        sum((size - 1) // 2 * (dilation + 1) for dilation in dilations)
        for size, dilations in zip(config.block_kernels, config.block_dilations, strict=True)
    )


def vocoder_context(config: VocoderConfig) -> int:
    """The frames on either side that the samples of a chunk depend on."""
    middle = _UNKNOWN_LENGTH // 2
    frames = plan_vocoder(config, (middle, middle + 1), None).frames
    return max(middle - frames[0], frames[1] - middle - 1)


def postnet_context(config: SpeechT5Config) -> int:
    """The frames on either side that a frame of the post-net depends on."""
    return config.postnet_layers * (config.postnet_kernel // 2)


def with_context(chunk: Interval, context: int, total: int | None) -> Interval:
    """The chunk with `context` frames on either side, as far as the sentence has them."""
    return _clip((chunk[0] - context, chunk[1] + context), _UNKNOWN_LENGTH if total is None else total)


def _upsampling_inputs(outputs: Interval, rate: int, kernel: int) -> Interval:
    """The inputs that `outputs` of a transposed convolution depend on.

    Output o depends on input i where 0 <= o + half - i * rate < kernel.
    """
    half = (kernel - rate) // 2
    return -((kernel - 1 - half - outputs[0]) // rate), (outputs[1] - 1 + half) // rate + 1


def _clip(interval: Interval, length: int) -> Interval:
    return max(0, interval[0]), min(length, interval[1])
