"""Test signals for the oracles, seeded, so that they are the same in every run.

None of them is speech; random weights do not care.
"""

from __future__ import annotations

import numpy as np

from antiphon.types.audio import SAMPLE_RATE, Samples


def noise(seconds: float, seed: int = 0, level: float = 0.1) -> Samples:
    """White noise of standard deviation `level`."""
    random = np.random.default_rng(seed)
    return (level * random.standard_normal(round(seconds * SAMPLE_RATE))).astype(np.float32)


def chirps(seconds: float, seed: int = 0) -> Samples:
    """Syllables of sorts: four rises and falls a second, each a few harmonics of a gliding pitch, over faint noise."""
    random = np.random.default_rng(seed)
    time = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    pitch = 120 + 60 * np.sin(2 * np.pi * (0.5 + random.random()) * time + 6 * random.random())
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    voiced = sum(np.sin(k * phase + 6 * random.random()) / k for k in range(1, 12))
    loudness = np.maximum(0.0, np.sin(2 * np.pi * 4 * time)) ** 2
    return (0.2 * voiced * loudness + 0.001 * random.standard_normal(len(time))).astype(np.float32)


def clap(seconds: float, seed: int = 0) -> Samples:
    """A burst at full scale, then noise 80 dB below it: what a maximum taken over a whole file would flatten."""
    sound = noise(seconds, seed, level=1e-4)
    sound[:400] = np.clip(noise(400 / SAMPLE_RATE, seed + 1, level=0.7), -1, 1)
    return sound
