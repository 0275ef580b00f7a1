"""Owns the vocoder: a small HiFi-GAN, trained to give frames back their samples, by spectra alone.

It must not know about text.
Run (and rerun to resume): python -m training.starter_tts.vocoder --work DIR --minutes 28"""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from training.run import Span, options_for, prepare
from training.starter_tts.begin import VOCODER
from training.starter_tts.mel import FLOOR, HOP, MELS, RATE, power_mel
from training.starter_tts.speech import SUFFIXES

PEAK_RATE = 2e-3
# Of a run that goes on from a finished vocoder.
LATER_RATE = 1e-3
WARM_UP_STEPS = 100
# Of each process.
CLIPS = 8
FRAMES = 40
# Length and hop of the windows the sound is compared in.
RESOLUTIONS = ((256, 64), (512, 128), (1024, 256), (2048, 512))
# Amplitudes below this are silence.
QUIET = 1e-3
# The frames of the acoustic model, once there are some, and their share of the batches.
PREDICTED = "predicted"
PREDICTED_SHARE = 0.6
# What the acoustic model says is smoother than the truth and a little off: both must sound well.
BLUR_SHARE = 0.5
NOISE = 0.1


def config() -> SpeechT5HifiGanConfig:
    """The shapes of the vocoder of starter-tts."""
    return SpeechT5HifiGanConfig(
        model_in_dim=MELS,
        sampling_rate=RATE,
        upsample_initial_channel=128,
        upsample_rates=[4, 4, 4, 4],
        upsample_kernel_sizes=[8, 8, 8, 8],
        resblock_kernel_sizes=[3, 7],
        resblock_dilation_sizes=[[1, 3], [1, 3]],
        normalize_before=True,
    )


def make_vocoder() -> SpeechT5HifiGan:
    """A vocoder to begin with: transformers' own small weights would say nothing for a long time."""
    vocoder = SpeechT5HifiGan(config())
    for module in vocoder.modules():
        if isinstance(module, (nn.Conv1d, nn.ConvTranspose1d)):
            module.reset_parameters()
    return vocoder


class Samples:
    """Stretches of one language's speech and their frames."""

    def __init__(self, folder: Path, suffix: str) -> None:
        index = json.loads((folder / f"train{suffix}.json").read_text(encoding="utf-8"))
        self.mels: np.ndarray = np.load(folder / f"train{suffix}.mel.npy", mmap_mode="r")
        self.samples: np.ndarray = np.load(folder / f"train{suffix}.npy", mmap_mode="r")
        ends = np.cumsum([one["frames"] for one in index]).tolist()
        self.end = max(end for end in ends if end * HOP <= len(self.samples))
        path = folder / f"{PREDICTED}{suffix}.mel.npy"
        self.predicted: np.ndarray | None = np.load(path) if path.exists() else None

    def stretch(self, draw: random.Random, *, predicted: bool) -> tuple[np.ndarray, np.ndarray]:
        """Frames `[FRAMES, mels]` and the samples they stand for."""
        source, end = self.mels, self.end
        if predicted and self.predicted is not None:
            source, end = self.predicted, len(self.predicted)
        # A stretch may run over the end of a clip: there is silence on both sides.
        first = draw.randrange(0, end - FRAMES)
        sound = self.samples[first * HOP : (first + FRAMES) * HOP]
        return source[first : first + FRAMES].astype(np.float32), sound.astype(np.float32) / 32768


def batch_of(languages: list[Samples], draw: random.Random) -> tuple[torch.Tensor, torch.Tensor]:
    """Frames `[CLIPS, FRAMES, mels]`, true or predicted ones, and the samples they stand for; languages by turns."""
    predicted = languages[0].predicted is not None and draw.random() < PREDICTED_SHARE
    chosen = [languages[one % len(languages)].stretch(draw, predicted=predicted) for one in range(CLIPS)]
    frames, sounds = (torch.from_numpy(np.stack(part)) for part in zip(*chosen, strict=True))
    return frames if predicted else blurred(frames, draw), sounds


def blurred(frames: torch.Tensor, draw: random.Random) -> torch.Tensor:
    """Frames a little smoother and less certain than they are."""
    if draw.random() > BLUR_SHARE:
        return frames
    around = functional.avg_pool1d(frames.transpose(1, 2), 3, 1, 1, count_include_pad=False).transpose(1, 2)
    share = torch.rand(len(frames), 1, 1)
    return share * around + (1 - share) * frames + NOISE * torch.rand(len(frames), 1, 1) * torch.randn_like(frames)


def spectral_loss(made: torch.Tensor, wanted: torch.Tensor, length: int, hop: int) -> torch.Tensor:
    """How far amplitudes and their logarithms are apart in windows of `length`."""
    window = torch.hann_window(length)
    scale = 2 / window.sum()
    pair = torch.stft(torch.cat([made, wanted]), length, hop, window=window, return_complex=True)
    amplitude = torch.view_as_real(pair).square().sum(-1).clamp_min(1e-9).sqrt() * scale
    ours, theirs = amplitude.chunk(2)
    logs = (ours.clamp_min(QUIET / 10).log() - theirs.clamp_min(QUIET / 10).log()).abs().mean()
    return logs + (ours - theirs).abs().sum() / (theirs.sum() + QUIET)


def losses_of(made: torch.Tensor, wanted: torch.Tensor) -> dict[str, torch.Tensor]:
    """Spectra at several resolutions, and the frames themselves."""
    losses = {"spectra": torch.stack([spectral_loss(made, wanted, *one) for one in RESOLUTIONS]).mean()}
    ours, theirs = power_mel(torch.cat([made, wanted])).clamp_min(FLOOR).log10().chunk(2)
    losses["mel"] = (ours - theirs).abs().mean()
    return losses


class VocoderTraining(Span):
    """The run of the vocoder."""

    name = "vocoder"

    def __init__(self, work: Path, minutes: float, seed: int) -> None:
        self.samples = [Samples(work, suffix) for suffix in SUFFIXES.values()]
        self.vocoder = make_vocoder()
        if (work / f"{VOCODER}.pt").exists():
            self.origin = VOCODER
        rate = LATER_RATE if self.origin else PEAK_RATE
        super().__init__(work, minutes, self.vocoder, rate, random.Random(seed))
        if not self.step and not self.origin:
            self.measure()

    def measure(self) -> None:
        """Teach the vocoder's own normaliser the mean and spread of the frames."""
        some = torch.from_numpy(self.samples[0].mels[:50000].astype(np.float32))
        self.vocoder.mean.copy_(some.mean(0))
        self.vocoder.scale.copy_(some.std(0))
        self.say(f"{sum(one.numel() for one in self.vocoder.parameters()) / 1e6:.2f} M parameters")

    def train_step(self) -> str:
        """One batch."""
        frames, wanted = batch_of(self.samples, self.draw)
        losses = losses_of(self.vocoder(frames), wanted)
        rate = self.update(losses["spectra"] + 2 * losses["mel"], WARM_UP_STEPS)
        return " ".join(f"{name} {value.item():.3f}" for name, value in losses.items()) + f" lr {rate:.5f}"


def main() -> None:
    """Train, or go on training, the vocoder of one work folder."""
    options = options_for(__doc__, 28.0).parse_args()
    seed = prepare(options, "training.starter_tts.vocoder")
    VocoderTraining(options.work, options.minutes, seed).go()


if __name__ == "__main__":
    main()
