"""Owns what is done to sound before the model hears it, and sounds that are not speech.

It must not know about text, tokens or models: float32 samples at 16 kHz in, the same out."""

from __future__ import annotations

import numpy as np

RATE = 16000


def white(length: int, noise: np.random.Generator) -> np.ndarray:
    """White noise of unit deviation."""
    return noise.standard_normal(length, dtype=np.float32)


def coloured(length: int, exponent: float, noise: np.random.Generator) -> np.ndarray:
    """Noise whose amplitude falls with frequency ** exponent (0.5 pink, 1 brown)."""
    spectrum = np.fft.rfft(white(length, noise))
    spectrum /= np.maximum(np.arange(len(spectrum)), 1) ** exponent
    shaped = np.fft.irfft(spectrum, length).astype(np.float32)
    return shaped / (shaped.std() + 1e-9)


def tones(length: int, noise: np.random.Generator) -> np.ndarray:
    """Mains hum with its harmonics, or a few steady tones."""
    time = np.arange(length, dtype=np.float32) / RATE
    if noise.random() < 0.5:
        base = noise.choice([50.0, 60.0])
        frequencies = base * np.arange(1, 6)
    else:
        frequencies = noise.uniform(100, 4000, noise.integers(1, 4))
    waves = [noise.uniform(0.2, 1) * np.sin(2 * np.pi * one * time) for one in frequencies]
    return np.sum(waves, axis=0).astype(np.float32)


def clicks(length: int, noise: np.random.Generator) -> np.ndarray:
    """Short decaying clicks at random moments."""
    sound = np.zeros(length, np.float32)
    for place in noise.integers(0, max(1, length - 400), noise.integers(2, 40)):
        tail = white(min(400, length - place), noise)
        sound[place : place + len(tail)] += tail * np.exp(-np.arange(len(tail)) / 40)
    return sound


def melody(length: int, noise: np.random.Generator) -> np.ndarray:
    """Chords of a few decaying notes with harmonics, one after another, and sometimes a beat."""
    sound = np.zeros(length, np.float32)
    beat = int(RATE * noise.uniform(0.15, 0.6))
    base, fall, brightness = noise.uniform(80, 400), noise.uniform(0.5, 5), noise.uniform(0.2, 0.8)
    drums = noise.random() < 0.4
    for place in range(0, length, beat):
        size = min(length - place, beat * 2)
        time = np.arange(size, dtype=np.float32) / RATE
        for step in noise.choice([0, 2, 4, 5, 7, 9, 11, 12, 16, 19], noise.integers(0, 4)):
            pitch = base * 2 ** (step / 12)
            waves = [brightness**one * np.sin(2 * np.pi * pitch * (one + 1) * time) for one in range(6)]
            note = np.sum(waves, axis=0) * np.exp(-fall * time) * np.minimum(1, time * 100)
            sound[place : place + size] += note.astype(np.float32)
        if drums:
            sound[place : place + size] += white(size, noise) * np.exp(-60 * time)
    return sound


def not_speech(length: int, noise: np.random.Generator) -> np.ndarray:
    """Digital silence, noise, hum, tones, clicks or music at a random level."""
    kind = noise.integers(0, 8)
    if kind == 0:
        return np.zeros(length, np.float32)
    makers = {
        1: lambda: white(length, noise),
        2: lambda: coloured(length, 0.5, noise),
        3: lambda: coloured(length, 1.0, noise),
        4: lambda: tones(length, noise),
        5: lambda: clicks(length, noise),
        6: lambda: tones(length, noise) + 0.3 * white(length, noise),
        7: lambda: melody(length, noise),
    }
    return makers[int(kind)]() * np.float32(10 ** noise.uniform(-4, -0.7))


def equalise(sound: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    """Telephone bandwidth, a mild low-pass or a mild high-pass."""
    spectrum = np.fft.rfft(sound)
    hertz = np.linspace(0, RATE / 2, len(spectrum))
    kind = noise.random()
    if kind < 0.4:
        gain = ((hertz < 3800) & (hertz > 100)).astype(np.float32)
    elif kind < 0.7:
        gain = 1 / np.sqrt(1 + (hertz / noise.uniform(2500, 6000)) ** 2)
    else:
        gain = 1 / np.sqrt(1 + (noise.uniform(60, 300) / np.maximum(hertz, 1)) ** 2)
    return np.fft.irfft(spectrum * gain, len(sound)).astype(np.float32)


def reverberate(sound: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    """A small room: a short tail of decaying noise after the direct sound."""
    length = int(RATE * noise.uniform(0.05, 0.2))
    tail = white(length, noise) * np.exp(-np.arange(length) * 6.0 / length)
    tail *= noise.uniform(0.1, 0.5) / np.sqrt((tail**2).sum())
    tail[0] += 1
    size = len(sound) + length
    wet = np.fft.irfft(np.fft.rfft(sound, size) * np.fft.rfft(tail, size), size)
    return wet[: len(sound)].astype(np.float32)


def augment(sound: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    """Change level, room, bandwidth and noise of one window, never its timing.

    Most windows only change their level: clean speech is what the model is judged by."""
    if noise.random() < 0.8:
        return at_random_level(sound, noise)
    if noise.random() < 0.15:
        sound = reverberate(sound, noise)
    if noise.random() < 0.3:
        sound = equalise(sound, noise)
    if noise.random() < 0.05:
        limit = np.abs(sound).max() * noise.uniform(0.3, 0.8)
        sound = np.clip(sound, -limit, limit)
    if noise.random() < 0.7:
        loudness = np.sqrt((sound**2).mean()) + 1e-6
        sound = sound + white(len(sound), noise) * loudness * 10 ** (-noise.uniform(10, 40) / 20)
    return at_random_level(sound, noise)


def at_random_level(sound: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    """Louder or softer, but never beyond full scale."""
    peak = np.abs(sound).max() + 1e-6
    return (sound * min(10 ** noise.uniform(-0.7, 0.3), 1 / peak)).astype(np.float32)
