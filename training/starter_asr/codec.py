"""Owns the vocabulary: byte-level BPE, then the special tokens in real Whisper's order.

It must not know about audio or training; it turns text and seconds into token ids and back."""

from __future__ import annotations

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
CHARACTERS = " 'abcdefghijklmnopqrstuvwxyz"


def train_tokenizer(sentences: list[str]) -> Tokenizer:
    """A BPE of BPE_SIZE tokens over the bytes of sentences, each of which begins with a space."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=BPE_SIZE, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator((f" {one}" for one in sentences), trainer)
    return tokenizer


class Codec:
    """Text to ids and back, and the ids of the special tokens."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.text_size = tokenizer.get_vocab_size()
        self.special = {name: self.text_size + place for place, name in enumerate(SPECIALS)}
        self.end = self.special["<|endoftext|>"]
        self.start = self.special["<|startoftranscript|>"]
        self.english = self.special["<|en|>"]
        self.transcribe = self.special["<|transcribe|>"]
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
