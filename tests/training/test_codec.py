"""The vocabulary of the starter: a second language is added behind the first, which keeps its numbers."""

from __future__ import annotations

import pytest

from training.starter_asr import codec
from training.starter_asr.codec import Codec, characters_of, train_tokenizer, widen_tokenizer

ENGLISH = ["The lazy dog sleeps.", "The quick fox runs over the lazy dog.", "The dog is quick."] * 3
SPANISH = ["La casa está cerca de la plaza.", "La plaza está en la ciudad.", "La ciudad está cerca."] * 3


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> tuple[Codec, Codec]:
    monkeypatch.setattr(codec, "BPE_SIZE", 275)
    monkeypatch.setattr(codec, "ADDED_MERGES", 12)
    known = train_tokenizer(ENGLISH)
    return Codec(known), Codec(widen_tokenizer(known, ENGLISH, SPANISH))


def test_tokens_of_before_keep_their_numbers(both: tuple[Codec, Codec]) -> None:
    before, after = both
    assert after.text_size == before.text_size + 12
    old, new = before.tokenizer.get_vocab(), after.tokenizer.get_vocab()
    assert {name: new[name] for name in old} == old
    assert sorted(new.values()) == list(range(after.text_size))
    assert after.end - before.end == after.first_timestamp - before.first_timestamp == 12


def test_the_second_language_is_shorter_and_the_first_is_as_it_was(both: tuple[Codec, Codec]) -> None:
    before, after = both
    assert all(before.encode(text) == after.encode(text) for text in ENGLISH)
    assert len(after.encode(SPANISH[0])) < len(before.encode(SPANISH[0]))
    assert after.decode(after.encode(SPANISH[0])) == f" {SPANISH[0]}"


def test_letters_of_both_languages_are_classes() -> None:
    assert len(characters_of("¿Qué? Año, it's")) == len("qué año it's")
