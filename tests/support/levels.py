"""Noise, speech-like noise and silence of a given level and duration, at 16 kHz."""

from __future__ import annotations

import numpy as np

from antiphon.types.audio import SAMPLE_RATE, Samples


def noise(seconds: float, level: float, seed: int = 0) -> Samples:
    """White noise at `level` dBFS."""
    generator = np.random.default_rng(seed)
    white = generator.standard_normal(round(seconds * SAMPLE_RATE)).astype(np.float32)
    return np.asarray(white * np.float32(10.0 ** (level / 20.0)), np.float32)


def speech(seconds: float, seed: int = 0) -> Samples:
    """Noise as loud as speech."""
    return noise(seconds, -20.0, seed)


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def join(*parts: Samples) -> Samples:
    return np.concatenate(parts)
