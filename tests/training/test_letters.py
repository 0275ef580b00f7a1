"""The letters and the text of the voice: a second language is added behind the first, and what is held out is out."""

from __future__ import annotations

import random
import unicodedata
from pathlib import Path

import pytest

from training.starter_tts.codec import LETTERS, PLAIN, SPANISH, Codec, make_pieces
from training.starter_tts.spelling import Spelling, Word
from training.starter_tts.text import mixed, number_strings, punctuate

SHIPPED = Path(__file__).parents[2] / "src" / "antiphon" / "starter" / "tts" / "spm_char.model"


@pytest.fixture(scope="module")
def codec() -> Codec:
    return Codec(make_pieces())


def pieces(codec: Codec, text: str) -> str:
    return "".join(codec.processor.id_to_piece(number) for number in codec.encode(text)[1:-1]).replace("▁", " ")


def test_letters_of_before_keep_their_numbers(codec: Codec) -> None:
    shipped = Codec(SHIPPED.read_bytes())
    names = [codec.processor.id_to_piece(number) for number in range(codec.size)]
    assert names[: shipped.size] == [shipped.processor.id_to_piece(number) for number in range(shipped.size)]
    assert names[-len(SPANISH) :] == list(SPANISH)
    assert codec.size == 5 + len(LETTERS) + len(SPANISH)
    assert codec.encode("The quick brown fox, isn't it?") == shipped.encode("The quick brown fox, isn't it?")


def test_spanish_accents_are_letters_and_foreign_ones_are_folded(codec: Codec) -> None:
    assert pieces(codec, "¿DÓNDE está el pingüino? ¡Ñandú!") == "¿dónde está el pingüino? ¡ñandú!"
    assert pieces(codec, unicodedata.normalize("NFD", "Está, Ñandú, pingüino")) == "está, ñandú, pingüino"
    assert pieces(codec, "“Façade” — naïve…") == "facade - naive."


def test_every_spanish_letter_is_near_one_of_before() -> None:
    assert set(PLAIN) == set(SPANISH)
    assert set(PLAIN.values()) < set(LETTERS)


def test_inverted_marks_make_no_sound() -> None:
    sounds = ("l^", "a", "B", "e")
    assert Spelling().align(Word("llave ¡", sounds)) == Spelling().align(Word("llave", sounds))


def test_questions_and_calls_open_in_spanish_only() -> None:
    source = random.Random(0)
    made = {punctuate("hola amigo", source, "es") for _ in range(200)}
    assert {"¿hola amigo?", "¡hola amigo!", "hola amigo.", "hola amigo"} <= made
    assert not any("¿" in punctuate("hello there", source) for _ in range(50))


def test_numbers_are_in_the_words_of_their_language() -> None:
    english, spanish = (" ".join(number_strings(language, ["x"], random.Random(0))) for language in ("en", "es"))
    assert "twenty-" in english
    assert " point " in english
    assert "veinti" in spanish
    assert " coma " in spanish
    assert not any(one.isdigit() for one in english + spanish)


def test_what_is_held_out_is_not_trained_on() -> None:
    text = mixed("es", ["El río.", "La casa está aquí."], ["la casa"], ["¡La CASA está aquí!"])
    assert "El río." in text["train"]
    assert "La casa está aquí." not in text["train"]
    assert len(text["train"]) == 2
