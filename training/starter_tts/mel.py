"""Owns the frames: log-mel spectra as transformers' SpeechT5FeatureExtractor makes them of `audio_target`.

It must not know about text or models."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch.nn import functional
from transformers import SpeechT5FeatureExtractor

RATE = 16000
HOP = 256
WINDOW = 1024
MELS = 80
# espeak-ng's silence is digital: without a floor its frames would lie ten units below speech, and be all that counts.
FLOOR = 1e-4


@cache
def filters() -> torch.Tensor:
    """The triangles, `[bins, mels]`."""
    return torch.from_numpy(np.asarray(SpeechT5FeatureExtractor().mel_filters, np.float32))


@cache
def window() -> torch.Tensor:
    """The periodic Hann window of the feature extractor."""
    return torch.hann_window(WINDOW)


def power_mel(samples: torch.Tensor) -> torch.Tensor:
    """Mel amplitudes before the logarithm: `[..., samples]` to `[..., frames, mels]`, a frame each HOP samples."""
    # The extractor's last frame stands on the end itself; without it there are as many frames as steps make.
    spectrum = torch.stft(samples, WINDOW, HOP, window=window(), center=True, pad_mode="reflect", return_complex=True)
    amplitude = spectrum[..., : samples.shape[-1] // HOP].abs()
    return amplitude.transpose(-1, -2) @ filters()


def log_mel(samples: np.ndarray) -> torch.Tensor:
    """Frames `[frames, mels]` of int16 samples."""
    sound = torch.from_numpy(samples.astype(np.float32) / 32768)
    padded = functional.pad(sound, (0, max(0, WINDOW - len(sound))))
    return power_mel(padded).clamp_min(FLOOR).log10()[: len(sound) // HOP]
