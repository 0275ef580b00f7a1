"""Owns the windows: which clips stand where in them, and the tokens the decoder should say.

It must not know about the network or the clock; the training loop tells it the phase."""

from __future__ import annotations

import json
import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from training.starter_asr import augment
from training.starter_asr.codec import TIMESTAMP_STEP, Codec, characters_of
from training.starter_asr.speech import PLAIN_VOICES

RATE = 16000
FULL = 30 * RATE
# Samples behind one position of the encoder.
FRAME = 320
IGNORED = -100
NOWHERE = -1
SILENT_SHARE = 0.05
PROMPT_SHARE = 0.05
TIMED_SHARE = 0.4
LATE_SHARE = 0.3
# While the decoder learns to listen: how much of each complication it gets.
EASY_SILENT_SHARE = 0.01
EASY_TIMED_SHARE = 0.25
PLAIN_SHARE = 0.7
# Of the Spanish windows, and of the English ones, whose translation is what is said.
TRANSLATED_SHARES = {"es": 0.35, "en": 0.03}
# Clips are played up to this much faster or slower, pitch included: no two epochs sound the same.
STRETCH = 0.10
STRETCHED_SHARE = 0.6
FILLED_SHARE = 0.5
LONGEST_SEVERAL = 18.0  # seconds
MOST_SEVERAL = 6
LONGEST_PROMPT = 223


class Clips:
    """Spoken sentences on disk, shortest first; several processes share the pages they read."""

    def __init__(self, folder: Path, name: str) -> None:
        index = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        self.samples: np.ndarray = np.load(folder / f"{name}.npy", mmap_mode="r")
        starts = np.concatenate([[0], np.cumsum(index["lengths"])]).tolist()
        order = sorted(range(len(index["texts"])), key=lambda one: index["lengths"][one])
        self.spans = [(starts[one], starts[one + 1]) for one in order]
        self.texts, self.voices, self.languages, self.meanings = (
            [index[what][one] for one in order] for what in ("texts", "voices", "languages", "meanings")
        )
        # Numbers of clips, shortest first, by language and task; and those of the plain voice alone.
        self.pools: dict[tuple[str, str], list[int]] = {}
        self.plain: dict[tuple[str, str], list[int]] = {}
        for number, language in enumerate(self.languages):
            keys = [(language, "transcribe")]
            if language == "en" or self.meanings[number]:
                keys.append((language, "translate"))
            for key in keys:
                self.pools.setdefault(key, []).append(number)
                if self.voices[number] == PLAIN_VOICES[language]:
                    self.plain.setdefault(key, []).append(number)

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


@dataclass(frozen=True)
class Segment:
    """What is spoken between two samples of a window, and what is to be written: the same, or its translation."""

    start: int
    stop: int
    spoken: str
    written: str


@dataclass
class Window:
    """One thing to listen to: its sound, what is said when (in samples), in which language, and what to do with it."""

    sound: np.ndarray
    language: str
    task: str
    segments: list[Segment] = field(default_factory=list)
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
    """Draws batches of three kinds. Processes with one `shapes` draw batches of about one size, of different clips."""

    def __init__(self, clips: Clips, codec: Codec, seed: int) -> None:
        self.clips = clips
        self.codec = codec
        self.draw = random.Random(seed)
        self.shapes = random.Random(seed)
        self.noise = np.random.default_rng(seed)
        # Clean sound, few timestamps, no prompts: half an hour of the hard mixture taught the decoder nothing.
        self.easy = True
        # In a batch of single sentences one part of each; other windows are of any one of these.
        self.languages = tuple(sorted({language for language, _ in clips.pools}))

    def begin(self, step: int) -> None:
        """Make what the next batch looks like a matter of `draw` and of the number of the step alone."""
        self.shapes = random.Random(step)
        self.noise = np.random.default_rng(self.draw.getrandbits(64))

    def single(self, work: float, reach: float) -> Batch:
        """Single sentences: neighbours in length out of the shorter `reach` (0 to 1) of all clips.

        `work` is about how many seconds of sound the batch holds."""
        kinds = [
            self.kind(self.shapes, language) for language in self.shapes.sample(self.languages, k=len(self.languages))
        ]
        leader = self.clips.pools[kinds[0]]
        length = self.clips.length(leader[int(self.shapes.random() * len(leader) * reach)])
        count = min(36, max(8, round(work * RATE / length))) // len(kinds)
        windows = []
        for kind in kinds:
            pool = self.plain_or_any(kind)
            middle = bisect_left(pool, length, key=self.clips.length)
            first = max(0, min(middle - self.draw.randrange(count), len(pool) - count))
            windows += [self.line_up(kind, [one], 0.2, None, rest=0.4) for one in pool[first : first + count]]
        return self.batch(windows, None)

    def several(self, work: float) -> Batch:
        """One to six sentences with pauses; `work` is the batch's seconds of sound."""
        target = self.shapes.uniform(3.0, LONGEST_SEVERAL)
        windows = []
        for _ in range(min(24, max(4, round(work / (target + 1.5))))):
            kind = self.kind(self.draw)
            windows.append(self.line_up(kind, self.fill(kind, target, MOST_SEVERAL), 1.0, None))
        return self.batch(windows, None)

    def full(self, work: float) -> Batch:
        """Padded windows of 30 s and shorter, some with one sentence, some filled to the brim.

        Silence around speech is learnt as well, and much sooner, on windows that hold less of it."""
        limit = self.shapes.choice([FULL, FULL, FULL // 2, FULL // 3])
        windows = []
        for _ in range(max(1, round(work * RATE / limit))):
            kind = self.kind(self.draw)
            if self.draw.random() < FILLED_SHARE:
                chosen = self.fill(kind, self.draw.uniform(0.4, 1.03) * limit / RATE, 12)
            else:
                chosen = self.pick(kind, self.draw.choice([1, 1, 1, 2]))
            windows.append(self.line_up(kind, chosen, 3.0, limit))
        return self.batch(windows, limit)

    def kind(self, draw: random.Random, language: str | None = None) -> tuple[str, str]:
        """A language, unless it is given, and a task."""
        language = language or draw.choice(self.languages)
        return language, "translate" if draw.random() < TRANSLATED_SHARES[language] else "transcribe"

    def plain_or_any(self, kind: tuple[str, str]) -> Sequence[int]:
        """Mostly the clips of the plain voice."""
        return self.clips.plain[kind] if self.draw.random() < PLAIN_SHARE else self.clips.pools[kind]

    def speed(self) -> float:
        """How fast to play the next clip."""
        if self.draw.random() >= STRETCHED_SHARE:
            return 1.0
        return self.draw.uniform(1 - STRETCH, 1 + STRETCH)

    def pick(self, kind: tuple[str, str], count: int) -> list[int]:
        """Random clips."""
        return [self.draw.choice(self.plain_or_any(kind)) for _ in range(count)]

    def fill(self, kind: tuple[str, str], seconds: float, most: int) -> list[int]:
        """Random clips, at least one, until they last about `seconds`."""
        chosen = self.pick(kind, 1)
        total = self.clips.length(chosen[0])
        while len(chosen) < most:
            following = self.pick(kind, 1)[0]
            total += self.clips.length(following) + RATE // 2
            if total > seconds * RATE:
                break
            chosen.append(following)
        return chosen

    def line_up(
        self, kind: tuple[str, str], chosen: list[int], lead: float, limit: int | None, rest: float = 1.2
    ) -> Window:
        """Clips one after another, each with a pause of at most `rest` seconds; what is beyond `limit` is cut off."""
        place = int(self.draw.uniform(0, lead) * RATE) if self.draw.random() < 0.7 else 0
        pieces = [np.zeros(place, np.float32)]
        window = Window(pieces[0], *kind)
        for number in chosen:
            sound = self.clips.sound(number, self.speed())
            if limit is not None and place + len(sound) > limit:
                # A beginning too short to be heard as speech is not announced.
                window.cut_from = place if limit - place > RATE // 2 else None
                if window.cut_from is not None:
                    pieces.append(sound)
                break
            spoken = self.clips.texts[number]
            written = self.clips.meanings[number] if kind == ("es", "translate") else spoken
            window.segments.append(Segment(place, place + len(sound), spoken, written))
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
                # In every language and task there is nothing to say about it.
                window = Window(augment.not_speech(size, self.noise), *self.kind(self.draw))
                sound = window.sound
            else:
                sound = self.dress(window.sound, size)
            rows.append(sound)
            tokens, labels, aims, timed = self.target(window, offset)
            targets.append((tokens, labels, aims))
            spoken = " ".join(one.spoken for one in window.segments)
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
        language = codec.languages[window.language]
        head = [codec.start, language, codec.tasks[window.task]]
        prompt = (
            self.prompt((window.language, window.task)) if not self.easy and self.draw.random() < PROMPT_SHARE else []
        )
        aims = [NOWHERE] * 4
        if not window.segments and window.cut_from is None:
            # Decoding rules may force a first timestamp, after which there is nothing to say either.
            last = codec.timestamp(self.draw.choice([0.0, self.draw.uniform(0, 1)]))
            tokens = [*head, last if timed else codec.no_timestamps]
            labels = [codec.no_speech, IGNORED, codec.end if timed else IGNORED, codec.end]
        else:
            said = self.said(window, offset, timed)
            tokens = head + [token for token, _ in said]
            labels = [language, IGNORED, *tokens[3:], codec.end]
            aims = [NOWHERE, NOWHERE, *[aim for _, aim in said], NOWHERE]
            if not timed:
                labels[2] = IGNORED
        before = len(prompt)
        return prompt + tokens, [IGNORED] * before + labels, [NOWHERE] * before + aims, timed

    def said(self, window: Window, offset: int, timed: bool) -> list[tuple[int, int]]:
        """What follows the task token, up to the end token, and the frame where it is spoken."""
        said = [] if timed else [(self.codec.no_timestamps, NOWHERE)]
        for segment in window.segments:
            if timed:
                said.append(self.moment(segment.start, offset))
            said += self.spread(segment)
            if timed:
                said.append(self.moment(segment.stop, offset))
        if window.cut_from is not None:
            said.append(self.moment(window.cut_from, offset))
        return said

    def moment(self, sample: int, offset: int) -> tuple[int, int]:
        """The timestamp token for a sample of the window, and its frame."""
        return self.codec.timestamp(sample / RATE + offset * TIMESTAMP_STEP), sample // FRAME

    def spread(self, segment: Segment) -> list[tuple[int, int]]:
        """Tokens of one sentence; longer ones are taken to last longer, which is near enough.

        Where the words of a translation are spoken is not known."""
        tokens = self.codec.encode(segment.written)
        if segment.written != segment.spoken:
            return [(token, NOWHERE) for token in tokens]
        sizes = np.array([len(self.codec.tokenizer.id_to_token(one)) for one in tokens])
        middles = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
        frames = (segment.start + middles * (segment.stop - segment.start)) / FRAME
        return list(zip(tokens, frames.astype(int).tolist(), strict=True))

    def prompt(self, kind: tuple[str, str]) -> list[int]:
        """Text that came before, unrelated to the window: one sentence, or a page of them."""
        count = 1 if self.draw.random() < 0.6 else self.draw.randint(2, 12)
        written = self.clips.meanings if kind == ("es", "translate") else self.clips.texts
        texts = [written[number] for number in self.pick(kind, count)]
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
