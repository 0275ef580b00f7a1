"""Owns the windows: which clips stand where in them, and the tokens the decoder should say.

It must not know about the network or the clock; the training loop tells it the phase."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from training.starter_asr import augment
from training.starter_asr.codec import TIMESTAMP_STEP, Codec, characters_of

RATE = 16000
FULL = 30 * RATE
# Samples behind one position of the encoder.
FRAME = 320
IGNORED = -100
NOWHERE = -1
SILENT_SHARE = 0.03
PROMPT_SHARE = 0.05
TIMED_SHARE = 0.4
LATE_SHARE = 0.3
# While the decoder learns to listen: how much of each complication it gets.
EASY_SILENT_SHARE = 0.01
EASY_TIMED_SHARE = 0.25
PLAIN_SHARE = 0.5
# Clips are played up to this much faster or slower, pitch included: no two epochs sound the same.
STRETCH = 0.10
STRETCHED_SHARE = 0.6
FILLED_SHARE = 0.5
LONGEST_SEVERAL = 18.0  # seconds
MOST_SEVERAL = 6
LONGEST_PROMPT = 223
PLAIN_VOICE = "en-us"


class Clips:
    """Spoken sentences in memory, shortest first."""

    def __init__(self, folder: Path, name: str) -> None:
        index = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        self.samples: np.ndarray = np.load(folder / f"{name}.npy")
        starts = np.concatenate([[0], np.cumsum(index["lengths"])]).tolist()
        order = sorted(range(len(index["texts"])), key=lambda one: index["lengths"][one])
        self.spans = [(starts[one], starts[one + 1]) for one in order]
        voices = index.get("voices") or [""] * len(order)
        # The plain voice is the one people try first; clips of it, shortest first.
        self.plain = [place for place, one in enumerate(order) if voices[one] == PLAIN_VOICE]
        self.texts = [index["texts"][one] for one in order]

    def __len__(self) -> int:
        return len(self.texts)

    def length(self, number: int) -> int:
        """Samples of one clip."""
        start, stop = self.spans[number]
        return int(stop - start)

    def sound(self, number: int, speed: float = 1.0) -> np.ndarray:
        """One clip as float32, played at `speed`."""
        start, stop = self.spans[number]
        sound = self.samples[start:stop].astype(np.float32) / 32768
        if speed == 1.0:
            return sound
        places = np.arange(0, len(sound) - 1, speed)
        return np.interp(places, np.arange(len(sound)), sound).astype(np.float32)


@dataclass
class Window:
    """One thing to listen to: its sound, and what is said when (in samples)."""

    sound: np.ndarray
    segments: list[tuple[int, int, str]] = field(default_factory=list)
    # Where a sentence begins that the window's end cuts off, if one does.
    cut_from: int | None = None


@dataclass
class Batch:
    """What one training step needs."""

    sound: torch.Tensor
    tokens: torch.Tensor
    labels: torch.Tensor
    # Per window: character classes for CTC, or nothing where the window should not count.
    characters: list[list[int]]
    lengths: list[int]
    offset: int
    # Per decoder position: the encoder frame where what it should say is spoken, or a negative.
    aims: torch.Tensor


class Windows:
    """Draws batches of three kinds."""

    def __init__(self, clips: Clips, codec: Codec, seed: int) -> None:
        self.clips = clips
        self.codec = codec
        self.draw = random.Random(seed)
        self.noise = np.random.default_rng(seed)
        # Clean sound, few timestamps, no prompts: half an hour of the hard mixture taught the decoder nothing.
        self.easy = True

    def single(self, work: float, reach: float) -> Batch:
        """Single sentences: neighbours in length out of the shorter `reach` (0 to 1) of all clips.

        `work` is about how many seconds of sound the batch holds."""
        numbers = self.plain_or_any()
        middle = self.draw.randrange(max(1, int(len(numbers) * reach)))
        count = min(36, max(8, round(work * RATE / self.clips.length(numbers[middle]))))
        first = max(0, min(middle - count // 2, len(numbers) - count))
        windows = [self.line_up([one], 0.2, None, rest=0.4) for one in numbers[first : first + count]]
        return self.batch(windows, None)

    def several(self, work: float) -> Batch:
        """One to six sentences with pauses; `work` is the batch's seconds of sound."""
        target = self.draw.uniform(3.0, LONGEST_SEVERAL)
        count = min(24, max(4, round(work / (target + 1.5))))
        windows = [self.line_up(self.fill(target, MOST_SEVERAL), 1.0, None) for _ in range(count)]
        return self.batch(windows, None)

    def full(self, work: float) -> Batch:
        """Padded windows of 30 s and shorter, some with one sentence, some filled to the brim.

        Silence around speech is learnt as well, and much sooner, on windows that hold less of it."""
        limit = self.draw.choice([FULL, FULL, FULL // 2, FULL // 3])
        windows = []
        for _ in range(max(1, round(work * RATE / limit))):
            if self.draw.random() < FILLED_SHARE:
                chosen = self.fill(self.draw.uniform(0.4, 1.03) * limit / RATE, 12)
            else:
                chosen = self.pick(self.draw.choice([1, 1, 1, 2]))
            windows.append(self.line_up(chosen, 3.0, limit))
        return self.batch(windows, limit)

    def plain_or_any(self) -> Sequence[int]:
        """Mostly the clips of the plain voice."""
        if self.clips.plain and self.draw.random() < PLAIN_SHARE:
            return self.clips.plain
        return range(len(self.clips))

    def speed(self) -> float:
        """How fast to play the next clip."""
        if self.draw.random() >= STRETCHED_SHARE:
            return 1.0
        return self.draw.uniform(1 - STRETCH, 1 + STRETCH)

    def pick(self, count: int) -> list[int]:
        """Random clips."""
        return [self.draw.choice(self.plain_or_any()) for _ in range(count)]

    def fill(self, seconds: float, most: int) -> list[int]:
        """Random clips, at least one, until they last about `seconds`."""
        chosen = self.pick(1)
        total = self.clips.length(chosen[0])
        while len(chosen) < most:
            following = self.pick(1)[0]
            total += self.clips.length(following) + RATE // 2
            if total > seconds * RATE:
                break
            chosen.append(following)
        return chosen

    def line_up(self, chosen: list[int], lead: float, limit: int | None, rest: float = 1.2) -> Window:
        """Clips one after another, each with a pause of at most `rest` seconds; what is beyond `limit` is cut off."""
        place = int(self.draw.uniform(0, lead) * RATE) if self.draw.random() < 0.7 else 0
        pieces = [np.zeros(place, np.float32)]
        window = Window(pieces[0])
        for number in chosen:
            sound = self.clips.sound(number, self.speed())
            if limit is not None and place + len(sound) > limit:
                # A beginning too short to be heard as speech is not announced.
                window.cut_from = place if limit - place > RATE // 2 else None
                if window.cut_from is not None:
                    pieces.append(sound)
                break
            window.segments.append((place, place + len(sound), self.clips.texts[number]))
            pause = np.zeros(int(self.draw.uniform(0.1, rest) * RATE), np.float32)
            pieces += [sound, pause]
            place += len(sound) + len(pause)
        window.sound = np.concatenate(pieces)[:limit]
        return window

    def batch(self, windows: list[Window], limit: int | None) -> Batch:
        """Augment, replace a few windows by noise, write the targets, pad everything."""
        size = limit or max(len(one.sound) for one in windows)
        size += -size % 320
        offset = 0
        if limit is None and not self.easy and self.draw.random() < LATE_SHARE:
            # Late positions and timestamps are learnt cheaply by pretending a late start.
            offset = self.draw.randint(0, FULL // 320 - size // 320)
        rows, targets, characters, lengths = [], [], [], []
        for window in windows:
            if self.draw.random() < (EASY_SILENT_SHARE if self.easy else SILENT_SHARE):
                window = Window(augment.not_speech(size, self.noise))
                sound = window.sound
            else:
                sound = self.dress(window.sound, size)
            rows.append(sound)
            tokens, labels, aims, timed = self.target(window, offset)
            targets.append((tokens, labels, aims))
            spoken = " ".join(text for _, _, text in window.segments)
            characters.append([] if timed and window.cut_from is not None else characters_of(spoken))
            lengths.append(len(window.sound) // 320)
        tokens, labels, aims = pad_targets(targets, self.codec.end)
        stacked = torch.from_numpy(np.stack(rows))
        return Batch(stacked, tokens, labels, characters, lengths, offset, aims)

    def dress(self, sound: np.ndarray, size: int) -> np.ndarray:
        """Augmented sound of `size` samples; noise may go on after the speech or stop with it."""
        padding = np.zeros(size - len(sound), np.float32)
        if self.easy and self.draw.random() < 0.8:
            return np.concatenate([augment.at_random_level(sound, self.noise), padding])
        if self.draw.random() < 0.5:
            return augment.augment(np.concatenate([sound, padding]), self.noise)
        return np.concatenate([augment.augment(sound, self.noise), padding])

    def target(self, window: Window, offset: int) -> tuple[list[int], list[int], list[int], bool]:
        """Decoder input, the label and the aim of each of its tokens, and whether it has times."""
        codec = self.codec
        # Only timestamps can say that the last sentence is not finished.
        timed = window.cut_from is not None or self.draw.random() < (EASY_TIMED_SHARE if self.easy else TIMED_SHARE)
        head = [codec.start, codec.english, codec.transcribe]
        prompt = self.prompt() if not self.easy and self.draw.random() < PROMPT_SHARE else []
        aims = [NOWHERE] * 4
        if not window.segments and window.cut_from is None:
            # Decoding rules may force a first timestamp, after which there is nothing to say either.
            last = codec.timestamp(self.draw.choice([0.0, self.draw.uniform(0, 1)]))
            tokens = [*head, last if timed else codec.no_timestamps]
            labels = [codec.no_speech, IGNORED, codec.end if timed else IGNORED, codec.end]
        else:
            said = self.said(window, offset, timed)
            tokens = head + [token for token, _ in said]
            labels = [codec.english, IGNORED, *tokens[3:], codec.end]
            aims = [NOWHERE, NOWHERE, *[aim for _, aim in said], NOWHERE]
            if not timed:
                labels[2] = IGNORED
        before = len(prompt)
        return prompt + tokens, [IGNORED] * before + labels, [NOWHERE] * before + aims, timed

    def said(self, window: Window, offset: int, timed: bool) -> list[tuple[int, int]]:
        """What follows the task token, up to the end token, and the frame where it is spoken."""
        said = [] if timed else [(self.codec.no_timestamps, NOWHERE)]
        for start, stop, text in window.segments:
            if timed:
                said.append(self.moment(start, offset))
            said += self.spread(start, stop, text)
            if timed:
                said.append(self.moment(stop, offset))
        if window.cut_from is not None:
            said.append(self.moment(window.cut_from, offset))
        return said

    def moment(self, sample: int, offset: int) -> tuple[int, int]:
        """The timestamp token for a sample of the window, and its frame."""
        return self.codec.timestamp(sample / RATE + offset * TIMESTAMP_STEP), sample // FRAME

    def spread(self, start: int, stop: int, text: str) -> list[tuple[int, int]]:
        """Tokens of one sentence; longer ones are taken to last longer, which is near enough."""
        tokens = self.codec.encode(text)
        sizes = np.array([len(self.codec.tokenizer.id_to_token(one)) for one in tokens])
        middles = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
        frames = (start + middles * (stop - start)) / FRAME
        return list(zip(tokens, frames.astype(int).tolist(), strict=True))

    def prompt(self) -> list[int]:
        """Text that came before, unrelated to the window: one sentence, or a page of them."""
        count = 1 if self.draw.random() < 0.6 else self.draw.randint(2, 12)
        texts = [self.clips.texts[number] for number in self.pick(count)]
        tokens = [token for text in texts for token in self.codec.encode(text)]
        return [self.codec.previous, *tokens[-LONGEST_PROMPT:]]


def pad_targets(
    targets: list[tuple[list[int], list[int], list[int]]], padding: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Decoder inputs, labels and aims as rectangles."""
    width = max(len(tokens) for tokens, _, _ in targets)
    inputs = torch.full((len(targets), width), padding)
    wanted = torch.full((len(targets), width), IGNORED)
    aims = torch.full((len(targets), width), NOWHERE)
    for row, (tokens, labels, places) in enumerate(targets):
        inputs[row, : len(tokens)] = torch.tensor(tokens)
        wanted[row, : len(labels)] = torch.tensor(labels)
        aims[row, : len(places)] = torch.tensor(places)
    return inputs, wanted, aims
