"""Owns the batches: tokens, frames, and what is known about which token is spoken when.

It must not know about the network or the clock; the training loop tells it how far to reach."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from training.starter_tts.codec import Codec
from training.starter_tts.mel import MELS
from training.starter_tts.speech import REDUCTION

LONGEST_BATCH = 64
SHORTEST_BATCH = 8
# Below one, longer clips are drawn more often.
LENGTHWARDS = 0.7


@dataclass
class Utterance:
    """One clip, unpadded."""

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
    return Utterance(first.ids[:-1] + second.ids, frames, spoken, first.sounds + second.sounds)


@dataclass
class Batch:
    """What one training step needs; b clips of at most n tokens and t steps of REDUCTION frames."""

    ids: torch.Tensor  # [b, n]
    mask: torch.Tensor  # [b, n], 1 where there is a token
    frames: torch.Tensor  # [b, REDUCTION * t, mels]
    steps: torch.Tensor  # [b, t], 1 where there is a step
    last: torch.Tensor  # [b, t], 1 in the last step
    aims: torch.Tensor  # [b, t, n], how much of a step each token is spoken in
    times: torch.Tensor  # [b, n, 2], log of a token's frames, and the steps before it
    colours: torch.Tensor  # [b, n, mels], a token's mean frame
    sounds: list[list[int]]


class Clips:
    """Spoken texts in memory, shortest first."""

    def __init__(self, folder: Path, name: str, codec: Codec, names: list[str] | None = None) -> None:
        self.index = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        # Mapped, so that all processes share it.
        self.mels: np.ndarray = np.load(folder / f"{name}.mel.npy", mmap_mode="r")
        lengths = [one["frames"] for one in self.index]
        self.starts = np.concatenate([[0], np.cumsum(lengths)])
        self.order = sorted(range(len(lengths)), key=lambda one: lengths[one])
        self.names = names or sorted({sound for one in self.index for sound in one["sounds"]})
        self.codec = codec

    def __len__(self) -> int:
        return len(self.order)

    def steps(self, place: int) -> int:
        """Decoder steps of the clip at `place` among the shortest first."""
        return int(self.index[self.order[place]]["frames"]) // REDUCTION

    def utterance(self, place: int) -> Utterance:
        """Everything about one clip."""
        number = self.order[place]
        entry = self.index[number]
        ids = self.codec.encode(entry["text"])
        frames = self.mels[self.starts[number] : self.starts[number + 1]].astype(np.float32)
        # Before the first sound the leading space is spoken, after the last one the end.
        tokens = np.array([0, *(letter + 1 for letter in entry["letters"]), len(ids) - 1])
        spoken = tokens[np.searchsorted(entry["starts"], np.arange(len(frames)), side="right")]
        known = {sound: one for one, sound in enumerate(self.names)}
        sounds = [known[one] for one in entry["sounds"] if one in known]
        return Utterance(ids, frames, spoken.clip(0, len(ids) - 1), sounds)

    def batch(self, places: list[int], joined: list[int] | None = None) -> Batch:
        """Clips padded to a common length, each with one of `joined` behind it, if given."""
        chosen = [self.utterance(place) for place in places]
        if joined is not None:
            chosen = [join(one, self.utterance(place)) for one, place in zip(chosen, joined, strict=True)]
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
        return Batch(torch.from_numpy(ids), *tensors, sounds=[one.sounds for one in chosen])


class Draw:
    """Draws batches of neighbours in length."""

    def __init__(self, clips: Clips, seed: int) -> None:
        self.clips = clips
        self.random = random.Random(seed)

    def pairs(self, work: float) -> Batch:
        """Two clips of any length in one: places in time that no single clip reaches."""
        longest = self.random.randrange(len(self.clips) // 2, len(self.clips))
        count = max(SHORTEST_BATCH // 2, round(work / (2 * self.clips.steps(longest))))
        first, second = ([self.random.randint(longest * 2 // 3, longest) for _ in range(count)] for _ in range(2))
        return self.clips.batch(first, second)

    def batch(self, work: float, reach: float) -> Batch:
        """About `work` decoder steps in all, out of the shorter `reach` (0 to 1) of the clips."""
        highest = max(SHORTEST_BATCH, int(len(self.clips) * reach)) - 1
        middle = int(highest * self.random.random() ** LENGTHWARDS)
        count = min(LONGEST_BATCH, max(SHORTEST_BATCH, round(work / self.clips.steps(middle))))
        # Not the nearest ones: no clip is always in the same company.
        around = range(max(0, middle - 2 * count), min(len(self.clips), middle + 2 * count))
        return self.clips.batch(self.random.sample(around, min(count, len(around))))
