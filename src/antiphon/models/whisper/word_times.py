"""The words of a window: its tokens joined into words, each with the times and the probability of its tokens.

Whisper has no word tokens; what counts as a word, and how far a pause may stretch it, follows openai-whisper (`timing.py`).
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from antiphon.types.results import Piece, Word

Decode = Callable[[list[int]], str]

_OPENING = "\"'“¿([{-"  # marks that, after a space, belong to the next word
_CLOSING = "\"'.。,，!！?？:：”)]}、"  # marks that belong to the previous word
_SENTENCE_ENDS = ".。!！?？"
_LONGEST_MEDIAN_S = 0.7  # words are usually not longer
_SLACK_S = 0.5  # a word that crosses its segment's border by more than this is cut there


@dataclass(slots=True)
class Timing:
    """A word whose times are still being corrected; seconds from the window's start."""

    text: str
    start: float
    end: float
    probability: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class TokenTimings:
    """When a window's text tokens begin (`begins`, in seconds, and the end of the last one) and how probable each is."""

    begins: Sequence[float]
    probabilities: Sequence[float]


def split_words(tokens: list[int], decode: Decode, *, spaces: bool) -> list[tuple[str, int]]:
    """Words and the number of tokens of each; joined they are the decoded text, even where tokens split a character.

    With `spaces` a word begins at a space or is a punctuation mark; without, it is as few tokens as make whole characters.
    """
    text = decode(tokens)
    parts: list[tuple[str, int]] = []
    written = taken = 0  # characters and tokens that are in `parts` already
    for count in range(1, len(tokens) + 1):
        so_far = decode(tokens[:count])
        # An incomplete character decodes to the replacement character, which the text does not have there.
        if len(so_far) > written and text.startswith(so_far):
            parts.append((text[written : len(so_far)], count - taken))
            written, taken = len(so_far), count
    if parts and taken < len(tokens):  # tokens without text
        parts[-1] = (parts[-1][0], parts[-1][1] + len(tokens) - taken)
    return _joined_at_spaces(parts) if spaces else parts


def _joined_at_spaces(parts: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    words: list[tuple[str, int]] = []
    for text, count in parts:
        if words and not text.startswith(" ") and text.strip() not in string.punctuation:
            words[-1] = (words[-1][0] + text, words[-1][1] + count)
        else:
            words.append((text, count))
    return words


def time_words(pieces: Sequence[Sequence[tuple[str, int]]], tokens: TokenTimings) -> list[list[Timing]]:
    """The words of each piece with the times of their tokens; `tokens` are those of all pieces in order."""
    timings: list[list[Timing]] = []
    begin = 0
    for words in pieces:
        timings.append([])
        for text, count in words:
            end = begin + count
            probability = float(np.mean(tokens.probabilities[begin:end]))
            timings[-1].append(Timing(text, tokens.begins[begin], tokens.begins[end], probability))
            begin = end
    return timings


def settle(pieces: Sequence[Piece], timings: Sequence[Sequence[Timing]], seconds: float) -> tuple[Piece, ...]:
    """The pieces of a window of `seconds` with their words: in order, of a likely length, marks joined to their word.

    Attention is least exact at pauses: it stays on the word before one, or moves to the next word too early.
    """
    every = [timing for timings_of_piece in timings for timing in timings_of_piece]
    durations = [timing.seconds for timing in every if timing.seconds]
    usual = min(_LONGEST_MEDIAN_S, float(np.median(durations))) if durations else 0.0
    if durations:
        _shorten_at_sentence_ends(every, 2 * usual)
    settled: list[Piece] = []
    before = 0.0  # when the previous piece ended
    reached = 0.0
    for piece, timings_of_piece in zip(pieces, timings, strict=True):
        merged = merge_marks(timings_of_piece)
        for timing in merged:
            timing.start, timing.end = round(timing.start, 2), round(timing.end, 2)
        if merged:
            before = _fit(merged, piece, usual, before)
        words: list[Word] = []
        for timing in merged:
            start = min(max(round(timing.start, 2), reached), seconds)
            reached = min(max(round(timing.end, 2), start), seconds)
            words.append(Word(timing.text, start, reached, timing.probability))
        settled.append(Piece(piece.start, piece.end, piece.text, piece.tokens, tuple(words)))
    return tuple(settled)


def _shorten_at_sentence_ends(timings: Sequence[Timing], longest: float) -> None:
    """Cut a mark that ends a sentence, or the word after one, where it extends through the pause between them."""
    for before, timing in pairwise(timings):
        if timing.seconds > longest:
            if timing.text in _SENTENCE_ENDS:
                timing.end = timing.start + longest
            elif before.text in _SENTENCE_ENDS:
                timing.start = timing.end - longest


def merge_marks(timings: Sequence[Timing]) -> list[Timing]:
    """Join punctuation marks to the word they belong to, whose times and probability do not change."""
    words: list[Timing] = []
    for timing in reversed(timings):
        if words and timing.text.startswith(" ") and timing.text.strip() in _OPENING:
            words[-1].text = timing.text + words[-1].text
        else:
            words.append(timing)
    merged: list[Timing] = []
    for timing in reversed(words):
        if merged and timing.text in _CLOSING and not merged[-1].text.endswith(" "):
            merged[-1].text += timing.text
        else:
            merged.append(timing)
    return merged


def _fit(words: Sequence[Timing], piece: Piece, usual: float, before: float) -> float:
    """Cut the first and last word of a piece where they extend across a pause; returns the time when the piece ends."""
    first, last = words[0], words[-1]
    longest = 2 * usual
    if first.end - before > 4 * usual and (
        first.seconds > longest or (len(words) > 1 and words[1].end - first.start > 2 * longest)
    ):
        if len(words) > 1 and words[1].seconds > longest:
            first.end = words[1].start = max(words[1].end / 2, words[1].end - longest)
        first.start = max(0.0, first.end - longest)
    if piece.start < first.end and piece.start - _SLACK_S > first.start:
        first.start = max(0.0, min(first.end - usual, piece.start))
    if piece.end > last.start and piece.end + _SLACK_S < last.end:
        last.end = max(last.start + usual, piece.end)
        return piece.end
    return last.end
