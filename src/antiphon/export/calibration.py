"""What an export in int8 is calibrated on: windows of speech out of a user's folder, or spoken here by a built-in voice.

It knows files, sentences and the built-in voices; it must not know what is made of the windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from antiphon.audio.decode import decode
from antiphon.benchmark.clips import pack_sentences, resampled
from antiphon.errors import ConfigError, InvalidAudio
from antiphon.loader import ESPEAK, built_in_models
from antiphon.local import Model, load
from antiphon.types.audio import WINDOW_SAMPLES, WINDOW_SECONDS, Samples

WINDOWS = 32  # as many as optimum-intel takes of its data set
SHORTEST = 4.0  # seconds of a made window; every sentence below is shorter
QUIETEST, NOISIEST = 0.1, 0.02  # the least gain of a made window, and the most noise in it (as a standard deviation)
VOICES = {"en": ("en-us", "en-gb", "en-us+f3", "en-us+m3"), "es": ("es", "es-419")}

# None of them in what a benchmark or a model card counts words over.
SENTENCES = {
    "en": (
        "The ferry to the island was late again.",
        "Somebody has eaten the rest of the cake.",
        "He tied his shoes and ran down the stairs.",
        "Which of these two bags belongs to you?",
        "The doctor asked me to come back in March.",
        "They are building a bridge over the valley.",
        "I never understood why she moved away.",
        "Turn the key twice and push hard.",
        "Fresh fish is sold behind the church.",
        "His grandfather repaired clocks and radios.",
        "Leave your umbrella next to the stove.",
        "Forty people were waiting outside the theatre.",
    ),
    "es": (
        "El barco llegó tarde otra vez.",
        "Alguien se ha comido el pastel.",
        "Mi abuelo arreglaba relojes y radios.",
        "¿Cuál de estas dos bolsas es tuya?",
        "Están construyendo un puente nuevo.",
        "Nunca entendí por qué se marchó.",
        "Deja el paraguas junto a la puerta.",
        "El pescado fresco se vende en la plaza.",
    ),
}


def calibration_windows(folder: Path | None, seed: int = 0) -> list[Samples]:
    """At most `WINDOWS` windows of at most 30 s at 16 kHz: from the files of `folder`, else sentences spoken here.

    Raises ConfigError naming the folder or file and the fix.
    """
    return _made(seed) if folder is None else _read(folder)


def _read(folder: Path) -> list[Samples]:
    """The first windows of every file, as many of each as of the others."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()] if folder.is_dir() else []
    if not files:
        raise ConfigError(f"--calibration {folder}: no folder with audio files in it; name one, or leave the flag out.")
    each = max(1, WINDOWS // len(files))
    windows: list[Samples] = []
    for file in files[:WINDOWS]:
        try:
            samples = decode(file)[0 : each * WINDOW_SAMPLES]
        except (OSError, InvalidAudio) as error:
            raise ConfigError(f"--calibration {file}: {error}") from error
        windows += [samples[start : start + WINDOW_SAMPLES] for start in range(0, len(samples), WINDOW_SAMPLES)]
    return windows


def _made(seed: int) -> list[Samples]:
    """Windows of every length, loud and quiet, clean and noisy, each of one voice."""
    generator = np.random.default_rng(seed)
    windows = []
    if ESPEAK not in built_in_models():
        raise ConfigError("--calibration: name a folder of speech; without espeak there is no voice to make it.")
    with load(ESPEAK) as speaker:
        spoken = [dict(one) for one in _spoken(speaker)]
    for number in range(WINDOWS):
        seconds = float(generator.uniform(SHORTEST, WINDOW_SECONDS))
        samples, _ = pack_sentences(spoken[number % len(spoken)], seconds, generator)
        noise = generator.uniform(0, NOISIEST) * generator.standard_normal(len(samples))
        windows.append((generator.uniform(QUIETEST, 1) * samples + noise).astype(np.float32))
    return windows


def _spoken(speaker: Model) -> Iterator[Iterator[tuple[str, Samples]]]:
    """For each voice the sentences of its language, in English first."""
    for language, voices in VOICES.items():
        for voice in voices:
            yield ((text, _at_16_khz(speaker, text, voice)) for text in SENTENCES[language])


def _at_16_khz(speaker: Model, text: str, voice: str) -> Samples:
    return resampled(speaker.speak(text, voice=voice), speaker.info.sample_rate)
