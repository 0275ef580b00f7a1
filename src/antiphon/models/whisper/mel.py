"""The constants of Whisper's log-mel spectrogram: the Fourier basis and the mel filter bank."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from antiphon.models.whisper.config import N_FFT
from antiphon.types.audio import SAMPLE_RATE

BINS = N_FFT // 2 + 1


def fourier_basis() -> NDArray[np.float32]:
    """Hann-windowed cosines, then sines: `[2 * 201, 400]`; a frame times its transpose is the frame's spectrum.

    As a matrix product 3,000 frames cost 1 GFLOP, a few milliseconds, and need no Fourier operation of the device.
    """
    time = np.arange(N_FFT)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * time / N_FFT)
    # The angle is reduced modulo one turn in integers, so that it is exact for every bin.
    angle = 2 * np.pi * (np.outer(np.arange(BINS), time) % N_FFT) / N_FFT
    return np.concatenate([np.cos(angle) * window, -np.sin(angle) * window]).astype(np.float32)


def mel_filters(mels: int) -> NDArray[np.float32]:
    """Slaney-scale, Slaney-normalised triangles from 0 to 8 kHz: `[mels, 201]` (Slaney, Auditory Toolbox, 1998)."""
    edges = _mel_to_hertz(np.linspace(0.0, _hertz_to_mel(SAMPLE_RATE / 2), mels + 2))
    bins = np.linspace(0.0, SAMPLE_RATE / 2, BINS)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    area = 2.0 / (edges[2:] - edges[:-2])
    return (triangles * area[:, None]).astype(np.float32)


# Slaney's scale: linear to 1 kHz (15 mels), then 27 logarithmic steps to a factor of 6.4.
_LINEAR_HERTZ = 200.0 / 3
_KNEE_HERTZ = 1000.0
_KNEE_MEL = _KNEE_HERTZ / _LINEAR_HERTZ
_LOG_STEP = np.log(6.4) / 27.0


def _hertz_to_mel(hertz: float) -> float:
    return hertz / _LINEAR_HERTZ if hertz < _KNEE_HERTZ else float(_KNEE_MEL + np.log(hertz / _KNEE_HERTZ) / _LOG_STEP)


def _mel_to_hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    logarithmic = _KNEE_HERTZ * np.exp(_LOG_STEP * (mel - _KNEE_MEL))
    return np.where(mel < _KNEE_MEL, mel * _LINEAR_HERTZ, logarithmic)
