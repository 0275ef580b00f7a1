"""The audio a benchmark sends: files of the user's with what is said in them, or clips made here to the length.

It knows files, samples and the built-in voice; it must not know who is asked, or when.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from antiphon.audio.decode import decode
from antiphon.audio.encode import Encoder
from antiphon.audio.resample import Resampler
from antiphon.benchmark.sentences import SENTENCES
from antiphon.errors import ConfigError, InvalidAudio
from antiphon.loader import ESPEAK, built_in_models
from antiphon.local import load
from antiphon.types.audio import SAMPLE_RATE, Samples

CLIPS = 16  # different ones at least; requests go through them in turn
GAP = 0.25  # seconds of silence between two sentences
SHORTEST = 0.1  # seconds; below it there is no room for a sound
SPOKEN, NOISE, FILES = "spoken by eSpeak NG", "noise (eSpeak NG is not installed)", "files"

Range = tuple[float, float]  # least and most seconds


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A file to send: its bytes, the same as mono samples at 16 kHz, and what is said in it where that is known."""

    name: str
    data: bytes
    samples: Samples
    reference: str | None = None

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Collection:
    """The clips of one benchmark, and where they come from: one of SPOKEN, NOISE and FILES."""

    clips: tuple[Clip, ...]
    kind: str


def parse_lengths(text: str) -> tuple[Range, ...]:
    """ "3-5,30" as ((3, 5), (30, 30)), in seconds. ConfigError for anything else."""
    ranges = []
    for part in text.split(","):
        least, _, most = part.partition("-")
        try:
            pair = float(least), float(most or least)
        except ValueError:
            pair = math.nan, math.nan
        if not SHORTEST <= pair[0] <= pair[1] < math.inf:
            raise ConfigError(
                f"--lengths {text}: {part!r} is no length; give seconds from {SHORTEST:g} on, or a range, such as 3-5,30."
            )
        ranges.append(pair)
    return tuple(ranges)


def make_clips(lengths: Sequence[Range], seed: int) -> Collection:
    """Clips of every length in turn, so that the mix is exact; spoken if eSpeak NG is installed, else noise."""
    generator = np.random.default_rng(seed)
    spoken = speak_sentences() if ESPEAK in built_in_models() else None
    clips = []
    for index in range(math.ceil(CLIPS / len(lengths)) * len(lengths)):
        seconds = float(generator.uniform(*lengths[index % len(lengths)]))
        if spoken is None:
            samples, reference = make_noise(seconds, generator), None
        else:
            samples, reference = pack_sentences(spoken, seconds, generator)
        clips.append(Clip(f"clip-{index}.wav", to_wav(samples), samples, reference))
    return Collection(tuple(clips), NOISE if spoken is None else SPOKEN)


def read_clips(paths: Sequence[Path]) -> Collection:
    """Files and those in folders, in order; name.txt beside name.wav says what is said in it. ConfigError names what is wrong."""
    clips = []
    for path in paths:
        if not path.exists():
            raise ConfigError(f"--audio {path}: no such file or folder.")
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            if file.is_file() and file.suffix != ".txt" and not file.name.startswith("."):
                clips.append(_read(file))
    if not clips:
        raise ConfigError(f"--audio {paths[0]}: there is no file in it.")
    return Collection(tuple(clips), FILES)


def _read(file: Path) -> Clip:
    written = file.with_suffix(".txt")
    try:
        data = file.read_bytes()
        reference = written.read_text(encoding="utf-8").strip() if written.is_file() else ""
        return Clip(file.name, data, decode(data)[:], reference or None)
    except (OSError, UnicodeDecodeError, InvalidAudio) as error:
        raise ConfigError(f"--audio {file}: {error}") from error


def speak_sentences() -> Mapping[str, Samples]:
    """Every sentence of ours, spoken: mono at 16 kHz."""
    with load(ESPEAK) as voice:
        rate = voice.info.sample_rate
        return {text: resampled(voice.speak(text), rate) for text in SENTENCES}


def resampled(samples: Samples, rate: int) -> Samples:
    """The same at 16 kHz."""
    resampler = Resampler()
    return np.concatenate([resampler.feed(samples, rate), resampler.flush()])


def pack_sentences(
    spoken: Mapping[str, Samples], seconds: float, generator: np.random.Generator
) -> tuple[Samples, str]:
    """A clip of exactly `seconds` and its text: whole sentences in random order while one fits, then silence.

    ConfigError if not even one does.
    """
    clip = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    gap, at, said = round(GAP * SAMPLE_RATE), 0, []
    fitting = [text for text in spoken if len(spoken[text]) <= len(clip)]
    if not fitting:
        shortest = min(map(len, spoken.values())) / SAMPLE_RATE
        raise ConfigError(
            f"--lengths: no sentence is as short as {seconds:.1f} s; the shortest takes {shortest:.1f} s."
        )
    while fitting:
        text = fitting[generator.integers(len(fitting))]
        clip[at : at + len(spoken[text])] = spoken[text]
        said.append(text)
        at += len(spoken[text]) + gap
        fitting = [text for text in spoken if len(spoken[text]) <= len(clip) - at]
    return clip, " ".join(said)


def make_noise(seconds: float, generator: np.random.Generator) -> Samples:
    """Noise with a pause of half a second every four, so that a long file can be cut as one of speech is."""
    samples = (0.1 * generator.standard_normal(round(seconds * SAMPLE_RATE))).astype(np.float32)
    places = np.arange(len(samples)) % (4 * SAMPLE_RATE)
    samples[places >= 3.5 * SAMPLE_RATE] = 0.0
    return samples


def to_wav(samples: Samples) -> bytes:
    """The bytes of a 16-bit file at 16 kHz."""
    encoder = Encoder("wav", SAMPLE_RATE, samples=len(samples))
    return encoder.encode(samples) + encoder.finish()
