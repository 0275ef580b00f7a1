"""Owns the question which letter makes which sound, learnt from words and their sounds alone.

It must not know about audio, time or models."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

ROUNDS = 4
# How much a sound should stand where it would if the letters were spread evenly.
EVENNESS = 0.3
UNSEEN = 0.05


@dataclass(frozen=True)
class Word:
    """A stretch of text with the sounds made of it; `start` and `numbers` say where both are in their clip."""

    letters: str
    sounds: tuple[str, ...]
    start: int = 0
    numbers: tuple[int, ...] = ()


@dataclass
class Spelling:
    """How often each letter made each sound."""

    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    letters: Counter[str] = field(default_factory=Counter)
    known: dict[tuple[str, tuple[str, ...]], list[int]] = field(default_factory=dict)

    @classmethod
    def learn(cls, words: list[Word]) -> Spelling:
        """Align evenly, count, and align anew by the counts, a few times (Viterbi training)."""
        distinct = Counter((word.letters, word.sounds) for word in words)
        spelling = cls()
        for _ in range(ROUNDS):
            fresh = cls()
            for letters, sounds in distinct:
                for place, sound in zip(spelling.align(Word(letters, sounds)), sounds, strict=True):
                    fresh.pairs[letters[place], sound] += 1
                    fresh.letters[letters[place]] += 1
            spelling = fresh
        return spelling

    def align(self, word: Word) -> list[int]:
        """For each sound the letter that makes it, never going back."""
        key = (word.letters, word.sounds)
        if key not in self.known:
            self.known[key] = self.best_path(*key)
        return self.known[key]

    def score(self, letters: str, place: int, sound: str, even: float) -> float:
        """How likely the letter at `place` makes `sound`, which would stand at `even`."""
        if not letters[place].isalpha():
            return -20.0
        letter = letters[place]
        likely = (self.pairs[letter, sound] + UNSEEN) / (self.letters[letter] + 1)
        return math.log(likely) - EVENNESS * abs(place - even)

    def best_path(self, letters: str, sounds: tuple[str, ...]) -> list[int]:
        """The monotonic alignment with the highest score."""
        count = len(letters.rstrip(" .,?!;:-'¿¡")) or len(letters)
        table: list[list[float]] = []
        origin: list[list[int]] = []
        for number, sound in enumerate(sounds):
            even = (number + 0.5) * count / len(sounds) - 0.5
            row, back, best = [], [], 0
            for place in range(count):
                if table and table[-1][place] > table[-1][best]:
                    best = place
                before = table[-1][best] if table else 0.0
                row.append(before + self.score(letters, place, sound, even))
                back.append(best)
            table.append(row)
            origin.append(back)
        place = max(range(count), key=lambda one: table[-1][one])
        path = [place]
        for back in reversed(origin[1:]):
            place = back[place]
            path.append(place)
        return path[::-1]
