"""The audio a benchmark sends: the user's files with their reference texts, or clips generated to a length."""

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
from antiphon.languages import NAMES
from antiphon.loader import ESPEAK, built_in_models
from antiphon.local import load
from antiphon.types.audio import SAMPLE_RATE, Samples

MIN_CLIPS = 16  # generated clips; requests use them in turn
SENTENCE_GAP_S = 0.25
MIN_LENGTH_S = 0.1
SPEECH, NOISE, FILES = "spoken by eSpeak NG", "noise (eSpeak NG is not installed)", "files"

LengthRange = tuple[float, float]  # shortest and longest, in seconds


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """A file to send: its bytes, its mono samples at 16 kHz, its reference text and its language's code, if known."""

    name: str
    data: bytes
    samples: Samples
    reference: str | None = None
    language: str = ""

    @property
    def seconds(self) -> float:
        return len(self.samples) / SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class ClipSet:
    """The clips of one benchmark; `kind` is SPEECH, NOISE or FILES."""

    clips: tuple[Clip, ...]
    kind: str


def parse_lengths(text: str) -> tuple[LengthRange, ...]:
    """Parse "3-5,30" to ((3, 5), (30, 30)), in seconds. Raises ConfigError."""
    ranges = []
    for part in text.split(","):
        shortest, _, longest = part.partition("-")
        try:
            limits = float(shortest), float(longest or shortest)
        except ValueError:
            limits = math.nan, math.nan
        if not MIN_LENGTH_S <= limits[0] <= limits[1] < math.inf:
            raise ConfigError(
                f"{part!r} is not a length in {text!r}; use seconds of at least {MIN_LENGTH_S:g}, or a range, as in 3-5,30.",
                setting="lengths",
            )
        ranges.append(limits)
    return tuple(ranges)


def make_clips(lengths: Sequence[LengthRange], seed: int) -> ClipSet:
    """Clips of every length in turn, so that the mix is exact; speech if eSpeak NG is installed, else noise."""
    generator = np.random.default_rng(seed)
    sentences = speak_sentences() if ESPEAK in built_in_models() else None
    clips = []
    for index in range(math.ceil(MIN_CLIPS / len(lengths)) * len(lengths)):
        seconds = float(generator.uniform(*lengths[index % len(lengths)]))
        if sentences is None:
            samples, reference = make_noise(seconds, generator), None
        else:
            samples, reference = pack_sentences(sentences, seconds, generator)
        clips.append(Clip(f"clip-{index}.wav", to_wav(samples), samples, reference))
    return ClipSet(tuple(clips), NOISE if sentences is None else SPEECH)


def read_clips(paths: Sequence[Path], *, by_language: bool = False) -> ClipSet:
    """Read files, and the files of folders, in order; name.txt holds the reference text of name.wav. Raises ConfigError.

    With `by_language`, a folder named by a language's code gives its files that language, also inside a given folder, and
    files of a folder that have no text are left out.
    """
    clips = []
    for path in paths:
        if not path.exists():
            raise ConfigError(f"{path}: no such file or folder.", setting="audio")
        files = _files(path, by_language)
        if by_language:  # files in a folder that are not recordings with a text, such as a README, are left out
            files = [file for file in files if file == path or file.with_suffix(".txt").is_file()]
        clips += [_read(file, _language_of(file) if by_language else "") for file in files]
    if not clips:
        if by_language:
            raise ConfigError("no recording has a text; name.txt holds the text of name.wav.", setting="audio")
        raise ConfigError(f"{paths[0]}: there is no file in it.", setting="audio")
    return ClipSet(tuple(clips), FILES)


def _files(path: Path, by_language: bool) -> list[Path]:
    if not path.is_dir():
        return [path] if path.suffix != ".txt" and not path.name.startswith(".") else []
    found = []
    for entry in sorted(path.iterdir()):
        if entry.is_file():
            found += _files(entry, by_language)
        elif by_language and entry.name in NAMES:
            found += _files(entry, by_language=False)
    return found


def _language_of(file: Path) -> str:
    folder = file.resolve().parent.name
    return folder if folder in NAMES else ""


def _read(file: Path, language: str) -> Clip:
    text = file.with_suffix(".txt")
    try:
        data = file.read_bytes()
        reference = text.read_text(encoding="utf-8").strip() if text.is_file() else ""
        return Clip(file.name, data, decode(data)[:], reference or None, language)
    except (OSError, UnicodeDecodeError, InvalidAudio) as error:
        raise ConfigError(f"{file}: {error}", setting="audio") from error


def speak_sentences() -> Mapping[str, Samples]:
    """The benchmark's sentences by text, spoken by eSpeak NG: mono at 16 kHz."""
    with load(ESPEAK) as voice:
        rate = voice.info.sample_rate
        return {text: resampled(voice.speak(text), rate) for text in SENTENCES}


def resampled(samples: Samples, rate: int) -> Samples:
    """Resample mono samples from `rate` to 16 kHz."""
    resampler = Resampler()
    return np.concatenate([resampler.feed(samples, rate), resampler.flush()])


def pack_sentences(
    sentences: Mapping[str, Samples], seconds: float, generator: np.random.Generator
) -> tuple[Samples, str]:
    """A clip of exactly `seconds` and its text: whole sentences in random order as long as one fits, then silence.

    Raises ConfigError if no sentence fits.
    """
    clip = np.zeros(round(seconds * SAMPLE_RATE), np.float32)
    gap, position, texts = round(SENTENCE_GAP_S * SAMPLE_RATE), 0, []
    fitting = [text for text in sentences if len(sentences[text]) <= len(clip)]
    if not fitting:
        shortest = min(map(len, sentences.values())) / SAMPLE_RATE
        message = f"no sentence is as short as {seconds:.1f} s; the shortest takes {shortest:.1f} s."
        raise ConfigError(message, setting="lengths")
    while fitting:
        text = fitting[generator.integers(len(fitting))]
        clip[position : position + len(sentences[text])] = sentences[text]
        texts.append(text)
        position += len(sentences[text]) + gap
        fitting = [text for text in sentences if len(sentences[text]) <= len(clip) - position]
    return clip, " ".join(texts)


def make_noise(seconds: float, generator: np.random.Generator) -> Samples:
    """Noise with a pause of 0.5 s every 4 s, so that long files are split into chunks as speech is."""
    samples = (0.1 * generator.standard_normal(round(seconds * SAMPLE_RATE))).astype(np.float32)
    phase = np.arange(len(samples)) % (4 * SAMPLE_RATE)
    samples[phase >= 3.5 * SAMPLE_RATE] = 0.0
    return samples


def to_wav(samples: Samples) -> bytes:
    """Encode 16 kHz samples as a 16-bit wav file."""
    encoder = Encoder("wav", SAMPLE_RATE, samples=len(samples))
    return encoder.encode(samples) + encoder.finish()
