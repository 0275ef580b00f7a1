"""Owns the vocabulary: byte-level BPE, then the special tokens in real Whisper's order.

It must not know about audio or training; it turns text and seconds into token ids and back."""

from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

BPE_SIZE = 1000
LANGUAGES = ("en", "es")
SPECIALS = (
    "<|endoftext|>",
    "<|startoftranscript|>",
    *(f"<|{language}|>" for language in LANGUAGES),
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
)
TIMESTAMP_STEP = 0.02
TIMESTAMPS = tuple(f"<|{index * TIMESTAMP_STEP:.2f}|>" for index in range(1501))
CHARACTERS = " 'abcdefghijklmnopqrstuvwxyzáéíñóúü"
# Merges a second language adds to the vocabulary of the first, and how much more often than there they must help.
ADDED_MERGES = 500
PREFERENCE = 2.0
# Words seen less often have no say in it.
SELDOM = 3


def plain_tokenizer(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> Tokenizer:
    """A byte-level BPE as Whisper has it."""
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def train_tokenizer(sentences: list[str]) -> Tokenizer:
    """A BPE of BPE_SIZE tokens over the bytes of sentences, each of which begins with a space."""
    tokenizer = plain_tokenizer({}, [])
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=BPE_SIZE, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator((f" {one}" for one in sentences), trainer)
    return tokenizer


def widen_tokenizer(tokenizer: Tokenizer, known: list[str], added: list[str]) -> Tokenizer:
    """The same BPE with ADDED_MERGES more at its end, learnt on `added`: no token of before changes its number.

    Pairs that are about as frequent in `known` are left alone, so that what is written well is written as before."""
    state = json.loads(tokenizer.to_str())
    inner = state["model"]
    words, before = (count_words(tokenizer, sentences) for sentences in (added, known))
    for _ in range(ADDED_MERGES):
        gain, loss = count_pairs(words), count_pairs(before)
        ratio = PREFERENCE * sum(gain.values()) / sum(loss.values())
        first, second = max(gain, key=lambda pair: (gain[pair] - ratio * loss[pair], pair))
        inner["merges"].append([first, second])
        inner["vocab"][first + second] = len(inner["vocab"])
        words, before = merge(words, first, second), merge(before, first, second)
    return Tokenizer.from_str(json.dumps(state))


Words = Counter[tuple[str, ...]]


def count_words(tokenizer: Tokenizer, sentences: list[str]) -> Words:
    """How often each word is written, as the tokens it is written with."""
    spelt = Counter(word for one in sentences for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(f" {one}"))
    inner = Tokenizer.from_str(tokenizer.to_str())
    inner.pre_tokenizer = None
    found: Words = Counter()
    for word, count in spelt.items():
        if count < SELDOM:
            continue
        found[tuple(inner.encode(word).tokens)] += count
    return found


def count_pairs(words: Words) -> Counter[tuple[str, str]]:
    """How often two tokens stand beside each other."""
    found: Counter[tuple[str, str]] = Counter()
    for tokens, count in words.items():
        for pair in pairwise(tokens):
            found[pair] += count
    return found


def merge(words: Words, first: str, second: str) -> Words:
    """Words with two tokens joined wherever they meet."""
    made: Words = Counter()
    for tokens, count in words.items():
        if first not in tokens:
            made[tokens] += count
            continue
        joined: list[str] = []
        for token in tokens:
            if joined and joined[-1] == first and token == second:
                joined[-1] = first + second
            else:
                joined.append(token)
        made[tuple(joined)] += count
    return made


class Codec:
    """Text to ids and back, and the ids of the special tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.text_size = tokenizer.get_vocab_size()
        self.special = {name: self.text_size + place for place, name in enumerate(SPECIALS)}
        self.end = self.special["<|endoftext|>"]
        self.start = self.special["<|startoftranscript|>"]
        self.languages = {one: self.special[f"<|{one}|>"] for one in LANGUAGES}
        self.tasks = {one: self.special[f"<|{one}|>"] for one in ("transcribe", "translate")}
        self.previous = self.special["<|startofprev|>"]
        self.no_speech = self.special["<|nospeech|>"]
        self.no_timestamps = self.special["<|notimestamps|>"]
        self.first_timestamp = self.text_size + len(SPECIALS)
        self.size = self.first_timestamp + len(TIMESTAMPS)
        self._known: dict[str, list[int]] = {}

    @classmethod
    def load(cls, path: Path) -> Codec:
        """Read a tokenizer written by `save`."""
        return cls(Tokenizer.from_file(str(path)))

    def save(self, path: Path) -> None:
        """Write the plain BPE, without the special tokens."""
        self.tokenizer.save(str(path))

    def encode(self, sentence: str) -> list[int]:
        """Ids of one sentence, with Whisper's leading space."""
        if sentence not in self._known:
            self._known[sentence] = self.tokenizer.encode(f" {sentence}").ids
        return self._known[sentence]

    def decode(self, ids: list[int]) -> str:
        """The text among `ids`; special tokens and timestamps are left out."""
        return self.tokenizer.decode([one for one in ids if one < self.text_size])

    def timestamp(self, seconds: float) -> int:
        """The id of the timestamp token nearest to `seconds`."""
        place = round(seconds / TIMESTAMP_STEP)
        return self.first_timestamp + min(max(place, 0), len(TIMESTAMPS) - 1)


def characters_of(text: str) -> list[int]:
    """Character classes for the CTC head: letters, apostrophe and space, nothing else."""
    return [CHARACTERS.index(one) for one in text.lower() if one in CHARACTERS]
