"""Sounds that are not speech: silence, noise, hum, tones, clicks and music, as float32 samples at 16 kHz."""

from __future__ import annotations

import numpy as np

RATE = 16000


def white(length: int, generator: np.random.Generator) -> np.ndarray:
    """White noise with a standard deviation of 1."""
    return generator.standard_normal(length, dtype=np.float32)


def coloured(length: int, exponent: float, generator: np.random.Generator) -> np.ndarray:
    """Noise whose amplitude falls with frequency ** exponent (0.5 is pink, 1 brown)."""
    spectrum = np.fft.rfft(white(length, generator))
    spectrum /= np.maximum(np.arange(len(spectrum)), 1) ** exponent
    shaped = np.fft.irfft(spectrum, length).astype(np.float32)
    return shaped / (shaped.std() + 1e-9)


def tones(length: int, generator: np.random.Generator) -> np.ndarray:
    """Mains hum with its harmonics, or one to three steady tones."""
    time = np.arange(length, dtype=np.float32) / RATE
    if generator.random() < 0.5:
        base = generator.choice([50.0, 60.0])
        frequencies = base * np.arange(1, 6)
    else:
        frequencies = generator.uniform(100, 4000, generator.integers(1, 4))
    waves = [generator.uniform(0.2, 1) * np.sin(2 * np.pi * frequency * time) for frequency in frequencies]
    return np.sum(waves, axis=0).astype(np.float32)


def clicks(length: int, generator: np.random.Generator) -> np.ndarray:
    """Short decaying clicks at random times."""
    sound = np.zeros(length, np.float32)
    for start in generator.integers(0, max(1, length - 400), generator.integers(2, 40)):
        tail = white(min(400, length - start), generator)
        sound[start : start + len(tail)] += tail * np.exp(-np.arange(len(tail)) / 40)
    return sound


def melody(length: int, generator: np.random.Generator) -> np.ndarray:
    """Chords of decaying notes with harmonics, sometimes with a drum beat."""
    sound = np.zeros(length, np.float32)
    beat = int(RATE * generator.uniform(0.15, 0.6))
    base, decay, brightness = generator.uniform(80, 400), generator.uniform(0.5, 5), generator.uniform(0.2, 0.8)
    drums = generator.random() < 0.4
    for start in range(0, length, beat):
        size = min(length - start, beat * 2)
        time = np.arange(size, dtype=np.float32) / RATE
        for step in generator.choice([0, 2, 4, 5, 7, 9, 11, 12, 16, 19], generator.integers(0, 4)):
            pitch = base * 2 ** (step / 12)
            waves = [brightness**index * np.sin(2 * np.pi * pitch * (index + 1) * time) for index in range(6)]
            note = np.sum(waves, axis=0) * np.exp(-decay * time) * np.minimum(1, time * 100)
            sound[start : start + size] += note.astype(np.float32)
        if drums:
            sound[start : start + size] += white(size, generator) * np.exp(-60 * time)
    return sound


def not_speech(length: int, generator: np.random.Generator) -> np.ndarray:
    """Digital silence, noise, hum, tones, clicks or music at a random level."""
    kind = generator.integers(0, 8)
    if kind == 0:
        return np.zeros(length, np.float32)
    makers = {
        1: lambda: white(length, generator),
        2: lambda: coloured(length, 0.5, generator),
        3: lambda: coloured(length, 1.0, generator),
        4: lambda: tones(length, generator),
        5: lambda: clicks(length, generator),
        6: lambda: tones(length, generator) + 0.3 * white(length, generator),
        7: lambda: melody(length, generator),
    }
    return makers[int(kind)]() * np.float32(10 ** generator.uniform(-4, -0.7))
