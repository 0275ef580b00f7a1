"""How far a stretch of audio looks: which frames, and which part of every vocoder stage, it is made of.

Pure whole-number arithmetic on a config; it must not know tensors. All stretches are `[first, last)`.
"""

from __future__ import annotations

from dataclasses import dataclass

from antiphon.models.speecht5.config import SpeechT5Config, VocoderConfig

_END_HALF = 3  # both the first and the last convolution have kernels of 7
_FAR = 1 << 40  # the length of a sentence whose end is not known yet

Stretch = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """One vocoder run: the post-net's output that goes in, the stages' cuts, and what of the samples is kept."""

    frames: Stretch
    cuts: tuple[Stretch, ...]  # relative to what each stage is given
    samples: Stretch  # relative to what comes out


def plan_vocoder(config: VocoderConfig, stretch: Stretch, total: int | None) -> Plan:
    """The run that makes the samples of frames `stretch`, in a sentence of `total` frames (None: not known yet).

    What is made equals the same samples of a run over the whole sentence: every stage gets all that they depend on, and
    its own zero padding only where the sentence itself begins or ends.
    """
    length = (_FAR if total is None else total) * config.hop
    wanted = (stretch[0] * config.hop, stretch[1] * config.hop)
    inputs = [_clip((wanted[0] - _END_HALF, wanted[1] + _END_HALF), length)]
    reach = block_reach(config)
    for rate, kernel in zip(reversed(config.rates), reversed(config.kernels), strict=True):
        made = _clip((inputs[0][0] - reach, inputs[0][1] + reach), length)
        length //= rate
        inputs.insert(0, _clip(_read_by_upsampling(made, rate, kernel), length))
    frames = _clip((inputs[0][0] - _END_HALF, inputs[0][1] + _END_HALF), length)
    cuts, offset = [], frames[0]
    for index, kept in enumerate(inputs):
        cuts.append((kept[0] - offset, kept[1] - offset))
        offset = kept[0] * (config.rates[index] if index < len(config.rates) else 1)
    return Plan(frames, tuple(cuts), (wanted[0] - inputs[-1][0], wanted[1] - inputs[-1][0]))


def block_reach(config: VocoderConfig) -> int:
    """How many positions to either side a stage's residual blocks look: those of the widest one."""
    return max(
        sum((size - 1) // 2 * (dilation + 1) for dilation in dilations)
        for size, dilations in zip(config.block_kernels, config.block_dilations, strict=True)
    )


def vocoder_reach(config: VocoderConfig) -> int:
    """How many frames to either side a stretch of whole frames looks."""
    middle = _FAR // 2
    frames = plan_vocoder(config, (middle, middle + 1), None).frames
    return max(middle - frames[0], frames[1] - middle - 1)


def postnet_reach(config: SpeechT5Config) -> int:
    """How many frames to either side the post-net looks."""
    return config.postnet_layers * (config.postnet_kernel // 2)


def widened(stretch: Stretch, by: int, total: int | None) -> Stretch:
    """The stretch with `by` frames on either side, as far as the sentence has them."""
    return _clip((stretch[0] - by, stretch[1] + by), _FAR if total is None else total)


def _read_by_upsampling(made: Stretch, rate: int, kernel: int) -> Stretch:
    """The inputs that outputs `made` of a transposed convolution depend on.

    Output o reads input i where 0 <= o + half - i * rate < kernel.
    """
    half = (kernel - rate) // 2
    return -((kernel - 1 - half - made[0]) // rate), (made[1] - 1 + half) // rate + 1


def _clip(stretch: Stretch, length: int) -> Stretch:
    return max(0, stretch[0]), min(length, stretch[1])
