"""The speech that an int8 export is calibrated on: windows of a user's audio files, or of synthetic speech."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from antiphon.audio.decode import decode
from antiphon.errors import ConfigError, InvalidAudio
from antiphon.types.audio import WINDOW_SAMPLES, WINDOW_SECONDS, Samples

WINDOWS = 32  # as many as optimum-intel takes from its data set
MIN_SECONDS = 4.0  # of a synthetic window; every sentence below is shorter
MIN_GAIN, MAX_NOISE = 0.1, 0.02  # of a synthetic window; the noise as a standard deviation
VOICES = {"en": ("en-us", "en-gb", "en-us+f3", "en-us+m3"), "es": ("es", "es-419")}

# None of these sentences is in a benchmark or the test set of a model card.
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


Speaker = Callable[[float, np.random.Generator], Samples]  # a clip of exactly the given seconds in one voice, at 16 kHz


def calibration_windows(folder: Path | None, speakers: Callable[[], Sequence[Speaker]], seed: int = 0) -> list[Samples]:
    """At most `WINDOWS` windows of at most 30 s at 16 kHz: from the files in `folder`, else from the `speakers`.

    Raises ConfigError naming the folder or file and the fix.
    """
    return _synthesise(speakers(), seed) if folder is None else _read(folder)


def _read(folder: Path) -> list[Samples]:
    """The first windows of every file, the same number from each."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()] if folder.is_dir() else []
    if not files:
        raise ConfigError(f"{folder}: no folder with audio files; name one, or leave it out.", setting="calibration")
    per_file = max(1, WINDOWS // len(files))
    windows: list[Samples] = []
    for file in files[:WINDOWS]:
        try:
            samples = decode(file)[0 : per_file * WINDOW_SAMPLES]
        except (OSError, InvalidAudio) as error:
            raise ConfigError(f"{file}: {error}", setting="calibration") from error
        windows += [samples[start : start + WINDOW_SAMPLES] for start in range(0, len(samples), WINDOW_SAMPLES)]
    return windows


def _synthesise(speakers: Sequence[Speaker], seed: int) -> list[Samples]:
    """Windows of every length, loud and quiet, clean and noisy, each in one voice."""
    generator = np.random.default_rng(seed)
    windows = []
    for number in range(WINDOWS):
        samples = speakers[number % len(speakers)](float(generator.uniform(MIN_SECONDS, WINDOW_SECONDS)), generator)
        noise = generator.uniform(0, MAX_NOISE) * generator.standard_normal(len(samples))
        windows.append((generator.uniform(MIN_GAIN, 1) * samples + noise).astype(np.float32))
    return windows
