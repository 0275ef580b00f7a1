"""Owns the batches: tokens, frames, and what is known about which token is spoken when.

It must not know about the network or the clock; the training loop tells it how far to reach."""

from __future__ import annotations

import json
import random
from bisect import bisect_left
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import torch

from training.starter_tts.codec import Codec
from training.starter_tts.mel import MELS
from training.starter_tts.speech import LANGUAGES, REDUCTION, SUFFIXES

LONGEST_BATCH = 64
SHORTEST_BATCH = 8
# Steps of several clips in one, 12.8 s.
LONGEST_CHAIN = 200
MOST_JOINED = 4
# Below one, longer clips are drawn more often.
LENGTHWARDS = 0.7


@dataclass
class Utterance:
    """One clip, unpadded."""

    language: int
    ids: list[int]
    frames: np.ndarray
    # The token spoken in each frame.
    spoken: np.ndarray
    sounds: list[int]


def join(first: Utterance, second: Utterance) -> Utterance:
    """Two clips in one breath: what follows keeps its leading space, and the silence between belongs to the mark."""
    kept = len(first.ids) - 1
    spoken = np.concatenate([np.minimum(first.spoken, kept - 1), second.spoken + kept])
    frames = np.concatenate([first.frames, second.frames])
    return Utterance(first.language, first.ids[:-1] + second.ids, frames, spoken, first.sounds + second.sounds)


@dataclass
class Batch:
    """What one training step needs; b clips of at most n tokens and t steps of REDUCTION frames."""

    languages: torch.Tensor  # [b], which of LANGUAGES
    ids: torch.Tensor  # [b, n]
    mask: torch.Tensor  # [b, n], 1 where there is a token
    frames: torch.Tensor  # [b, REDUCTION * t, mels]
    steps: torch.Tensor  # [b, t], 1 where there is a step
    last: torch.Tensor  # [b, t], 1 in the last step
    aims: torch.Tensor  # [b, t, n], how much of a step each token is spoken in
    times: torch.Tensor  # [b, n, 2], log of a token's frames, and the steps before it
    colours: torch.Tensor  # [b, n, mels], a token's mean frame
    sounds: list[list[int]]


def all_sounds(folder: Path) -> list[str]:
    """The names of the sounds of all languages."""
    texts = [(folder / f"train{suffix}.json").read_text(encoding="utf-8") for suffix in SUFFIXES.values()]
    return sorted({sound for text in texts for one in json.loads(text) for sound in one["sounds"]})


class Clips:
    """Spoken texts of one language in memory, shortest first."""

    def __init__(self, folder: Path, name: str, language: str, codec: Codec, names: list[str]) -> None:
        name += SUFFIXES[language]
        self.language = LANGUAGES.index(language)
        self.index = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        # Mapped, so that all processes share it.
        self.mels: np.ndarray = np.load(folder / f"{name}.mel.npy", mmap_mode="r")
        lengths = [one["frames"] for one in self.index]
        self.starts = np.concatenate([[0], np.cumsum(lengths)])
        self.order = sorted(range(len(lengths)), key=lambda one: lengths[one])
        self.names = {sound: one for one, sound in enumerate(names)}
        self.codec = codec

    def __len__(self) -> int:
        return len(self.order)

    def steps(self, place: int) -> int:
        """Decoder steps of the clip at `place` among the shortest first."""
        return int(self.index[self.order[place]]["frames"]) // REDUCTION

    def around(self, steps: int, count: int, draw: random.Random) -> list[Utterance]:
        """Clips of about so many steps. Not the nearest ones: no clip is always in the same company."""
        first, last = (bisect_left(range(len(self)), one, key=self.steps) for one in (steps, steps + 1))
        middle = min(draw.randint(first, last), len(self) - 1)
        near = range(max(0, middle - 2 * count), min(len(self), middle + 2 * count))
        return [self.utterance(place) for place in draw.sample(near, min(count, len(near)))]

    def utterance(self, place: int) -> Utterance:
        """Everything about one clip."""
        number = self.order[place]
        entry = self.index[number]
        ids = self.codec.encode(entry["text"])
        frames = self.mels[self.starts[number] : self.starts[number + 1]].astype(np.float32)
        # Before the first sound the leading space is spoken, after the last one the end.
        tokens = np.array([0, *(letter + 1 for letter in entry["letters"]), len(ids) - 1])
        spoken = tokens[np.searchsorted(entry["starts"], np.arange(len(frames)), side="right")]
        sounds = [self.names[one] for one in entry["sounds"] if one in self.names]
        return Utterance(self.language, ids, frames, spoken.clip(0, len(ids) - 1), sounds)


def batch_of(chosen: list[Utterance]) -> Batch:
    """Clips padded to a common length."""
    tokens = max(len(one.ids) for one in chosen)
    steps = max(len(one.frames) for one in chosen) // REDUCTION
    size = len(chosen)
    ids = np.ones((size, tokens), np.int64)
    mask, present, last = np.zeros((size, tokens)), np.zeros((size, steps)), np.zeros((size, steps))
    frames = np.zeros((size, steps * REDUCTION, MELS), np.float32)
    aims = np.zeros((size, steps, tokens), np.float32)
    times = np.zeros((size, tokens, 2), np.float32)
    colours = np.zeros((size, tokens, MELS), np.float32)
    for row, one in enumerate(chosen):
        count, length = len(one.ids), len(one.frames)
        ids[row, :count] = one.ids
        mask[row, :count] = 1
        frames[row, :length] = one.frames
        present[row, : length // REDUCTION] = 1
        last[row, length // REDUCTION - 1] = 1
        np.add.at(aims[row], (np.arange(length) // REDUCTION, one.spoken), 1 / REDUCTION)
        durations = np.bincount(one.spoken, minlength=tokens)
        times[row, :, 0] = np.log1p(durations)
        times[row, :, 1] = (np.cumsum(durations) - durations) / REDUCTION
        np.add.at(colours[row], one.spoken, one.frames)
        colours[row] /= np.maximum(durations, 1)[:, None]
    arrays = (mask, frames, present, last, aims, times, colours)
    tensors = [torch.from_numpy(one.astype(np.float32)) for one in arrays]
    languages = torch.tensor([one.language for one in chosen])
    return Batch(languages, torch.from_numpy(ids), *tensors, sounds=[one.sounds for one in chosen])


class Draw:
    """Draws batches of neighbours in length, out of all languages."""

    def __init__(self, clips: list[Clips], seed: int) -> None:
        self.clips = clips
        self.random = random.Random(seed)

    def chains(self, work: float) -> Batch:
        """Two to four clips of one language in one breath: places in time that no single clip reaches."""
        clips, many = self.random.choice(self.clips), self.random.randint(2, MOST_JOINED)
        end = bisect_left(range(len(clips)), LONGEST_CHAIN // many, key=clips.steps)
        longest = self.random.randrange(end // 2, end)
        count = max(SHORTEST_BATCH // 2, round(work / (many * clips.steps(longest))))
        places = [[self.random.randint(longest * 2 // 3, longest) for _ in range(many)] for _ in range(count)]
        return batch_of([reduce(join, map(clips.utterance, group)) for group in places])

    def batch(self, work: float, reach: float, shares: list[float]) -> Batch:
        """About `work` decoder steps in all, out of the shorter `reach` (0 to 1) of the clips; `shares` of each language."""
        (leading,) = self.random.choices(self.clips, shares)
        highest = max(SHORTEST_BATCH, int(len(leading) * reach)) - 1
        steps = leading.steps(int(highest * self.random.random() ** LENGTHWARDS))
        count = min(LONGEST_BATCH, max(SHORTEST_BATCH, round(work / steps)))
        counts = [max(1, round(count * share)) for share in shares]
        groups = [clips.around(steps, one, self.random) for clips, one in zip(self.clips, counts, strict=True)]
        return batch_of([one for group in groups for one in group])
