"""Owns the voices: espeak-ng's library speaks every text, and tells when each of its sounds begins.

It must not know about models or tokens. Run: python -m training.starter_tts.speech --work DIR"""

from __future__ import annotations

import argparse
import ctypes
import json
from dataclasses import dataclass, field
from itertools import pairwise
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import soxr
import torch

from training.events import PHONEME_EVENT, WORD_EVENT, Callback, Event, listed
from training.starter_tts.mel import HOP, RATE, log_mel
from training.starter_tts.spelling import Spelling, Word

# In the order of the model's speaker embeddings; each language's files have a name of their own.
VOICES = {"en": b"en-us", "es": b"es"}
LANGUAGES = tuple(VOICES)
SUFFIXES = {"en": "", "es": "_es"}
WORDS_A_MINUTE = 160
# Frames a decoder step makes. Speech begins with one step of silence and ends with about one.
REDUCTION = 4
LEAD = REDUCTION * HOP
TAIL = 5 * HOP
LONGEST_SECONDS = 9.0
# The vocoder needs the samples too, but not of everything.
SOUNDING = 6000

SYNCHRONOUS, PHONEME_EVENTS, UTF8, RATE_PARAMETER = 2, 1, 1, 1
PAUSE = "_"


@dataclass
class Clip:
    """One utterance: int16 samples at 16 kHz, its sounds and when (s) they begin, and where its words are written."""

    text: str
    samples: np.ndarray
    sounds: list[str] = field(default_factory=list)
    # One more than there are sounds: the last is where speech ends.
    starts: list[float] = field(default_factory=list)
    # For each word: its place in the text, and the number of its first sound.
    words: list[tuple[int, int]] = field(default_factory=list)


class Espeak:
    """The library; one for each process."""

    def __init__(self) -> None:
        self.espeak = ctypes.CDLL("libespeak-ng.so.1")
        self.rate = self.espeak.espeak_Initialize(SYNCHRONOUS, 0, None, PHONEME_EVENTS)
        if self.rate <= 0:
            raise RuntimeError("espeak-ng is missing: apt-get install espeak-ng")
        self.language = ""
        self.pieces: list[np.ndarray] = []
        self.events: list[tuple[int, int, int, bytes]] = []
        self.callback = Callback(self.take)  # held: the library keeps no reference
        self.espeak.espeak_SetSynthCallback(self.callback)

    def take(self, samples: ctypes.Array[ctypes.c_short], count: int, events: ctypes.Array[Event]) -> int:
        """What the library calls with every stretch of sound."""
        if samples and count > 0:
            self.pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        for event in listed(events):
            name = event.identity.string if event.type == PHONEME_EVENT else b""
            self.events.append((event.type, event.text_position, event.sample, name))
        return 0

    def choose(self, language: str) -> None:
        """Take the voice of a language."""
        if language != self.language and self.espeak.espeak_SetVoiceByName(VOICES[language]) != 0:
            raise RuntimeError(f"espeak-ng has no voice {VOICES[language]!r}: apt-get install espeak-ng")
        self.espeak.espeak_SetParameter(RATE_PARAMETER, WORDS_A_MINUTE, 0)
        self.language = language

    def speak(self, text: str, language: str) -> Clip:
        """`text` aloud: the silence around it is of one length for every clip."""
        self.choose(language)
        self.pieces.clear()
        self.events.clear()
        encoded = text.encode() + b"\0"
        self.espeak.espeak_Synth(encoded, ctypes.c_size_t(len(encoded)), 0, 1, 0, UTF8, None, None)
        self.espeak.espeak_Synchronize()
        clip = Clip(text, np.zeros(0, np.int16))
        for kind, position, sample, name in self.events:
            if kind == WORD_EVENT and position > 0:
                clip.words.append((position - 1, len(clip.sounds)))
            elif kind == PHONEME_EVENT:
                sound = name.decode("utf-8", "replace")
                clip.sounds.append(PAUSE if sound.startswith("_") else sound)
                clip.starts.append(sample / self.rate)
        self.trim(clip)
        return clip

    def trim(self, clip: Clip) -> None:
        """Cut the pause off the end, put a constant silence before and behind, and round up to whole steps."""
        end = sum(map(len, self.pieces)) / self.rate
        while clip.sounds and clip.sounds[-1] == PAUSE:
            clip.sounds.pop()
            end = clip.starts.pop()
        if not clip.sounds:
            return
        clip.starts.append(end)
        spoken = np.concatenate(self.pieces).astype(np.float32) / 32768
        sound = soxr.resample(spoken, self.rate, RATE)[: round(end * RATE)]
        length = LEAD + len(sound) + TAIL
        samples = np.zeros(length + -length % LEAD, np.float32)
        samples[LEAD : LEAD + len(sound)] = sound
        clip.samples = (samples * 32767).clip(-32768, 32767).astype(np.int16)
        clip.starts = [LEAD / RATE + one for one in clip.starts]


_espeak: list[Espeak] = []


def speak(order: tuple[str, str]) -> tuple[Clip, np.ndarray]:
    """One clip of (text, language) and its mel frames, for the workers of a pool."""
    if not _espeak:
        torch.set_num_threads(1)
        _espeak.append(Espeak())
    clip = _espeak[0].speak(*order)
    return clip, log_mel(clip.samples).numpy().astype(np.float16) if clip.sounds else np.zeros((0, 80), np.float16)


def words_of(clip: Clip) -> list[Word]:
    """The stretches of text between the words' beginnings, each with the sounds made of it."""
    count = len(clip.sounds)
    places = [*((place, min(first, count)) for place, first in clip.words), (len(clip.text), count)]
    found = []
    for (start, first), (stop, last) in pairwise(places):
        numbers = [number for number in range(first, last) if clip.sounds[number] != PAUSE]
        letters = clip.text[start:stop].lower()
        if numbers and stop > start:
            found.append(Word(letters, tuple(clip.sounds[number] for number in numbers), start, tuple(numbers)))
    return found


def letters_of_sounds(clip: Clip, spelling: Spelling) -> list[int]:
    """For each sound the place in the text of the letter that makes it; a pause is made by the mark before a word."""
    letters = [-1] * len(clip.sounds)
    for word in words_of(clip):
        for number, offset in zip(word.numbers, spelling.align(word), strict=True):
            letters[number] = word.start + offset
    following = len(clip.text)
    for number in reversed(range(len(letters))):
        if letters[number] < 0:
            letters[number] = max(0, following - 2)
        following = letters[number]
    return letters


def save(folder: Path, name: str, made: list[tuple[Clip, np.ndarray]], spelling: Spelling) -> float:
    """Write frames, samples and an index; return the hours."""
    kept = [pair for pair in made if pair[0].sounds and len(pair[0].samples) < LONGEST_SECONDS * RATE]
    np.save(folder / f"{name}.mel.npy", np.concatenate([mel for _, mel in kept]))
    np.save(folder / f"{name}.npy", np.concatenate([clip.samples for clip, _ in kept[:SOUNDING]]))
    index = [
        {
            "text": clip.text,
            "frames": len(mel),
            "sounds": clip.sounds,
            "starts": [round(one * RATE / HOP, 3) for one in clip.starts],
            "letters": letters_of_sounds(clip, spelling),
        }
        for clip, mel in kept
    ]
    (folder / f"{name}.json").write_text(json.dumps(index), encoding="utf-8")
    return sum(len(mel) for _, mel in kept) * HOP / RATE / 3600


def main() -> None:
    """Speak everything and write train and heldout of each language: frames, samples, indexes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--languages", nargs="+", choices=LANGUAGES, default=LANGUAGES)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    with Pool(options.processes) as pool:
        for language in options.languages:
            suffix = SUFFIXES[language]
            text = json.loads((options.work / f"text{suffix}.json").read_text(encoding="utf-8"))
            orders = {name: [(one, language) for one in text[name]] for name in ("heldout", "train")}
            made = {name + suffix: pool.map(speak, part, chunksize=64) for name, part in orders.items()}
            spelling = Spelling.learn([word for clip, _ in made["train" + suffix] for word in words_of(clip)])
            for name, clips in made.items():
                print(f"{name}: {len(clips)} clips, {save(options.work, name, clips, spelling):.1f} h", flush=True)


if __name__ == "__main__":
    main()
