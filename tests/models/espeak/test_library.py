"""eSpeak NG's shared library, in the process of the tests."""

from __future__ import annotations

import pytest

from antiphon.errors import EngineFailed
from antiphon.models.espeak.library import Library

TEXT = "Hello there, my friend."


@pytest.fixture(scope="module")
def library() -> Library:
    return Library()


def length(library: Library, text: str, **options: int) -> int:
    blocks: list[bytes] = []
    library.speak(text, "en-us", blocks.append, **options)
    return sum(map(len, blocks))


def test_speed_of_one_sentence_does_not_affect_the_next(library: Library) -> None:
    usual = length(library, TEXT)
    slow = length(library, TEXT, words_a_minute=90)
    assert slow > 1.5 * usual
    assert abs(length(library, TEXT) - usual) < 0.01 * usual


def test_control_characters_are_neither_spoken_nor_commands(library: Library) -> None:
    usual = length(library, TEXT)
    # To the library itself, U+0001 with 80S means 80 words a minute from here on.
    assert abs(length(library, f"\x0180S {TEXT}") - length(library, f" 80S {TEXT}")) < 0.01 * usual
    assert abs(length(library, TEXT.replace(" ", "\x07\x9f\0 ")) - usual) < 0.01 * usual


def test_unknown_voice_is_an_error(library: Library) -> None:
    with pytest.raises(EngineFailed, match="no voice 'unknown'"):
        library.speak("hello", "unknown", lambda samples: None)


def test_an_exception_in_the_callback_ends_the_synthesis(library: Library) -> None:
    calls = []

    def refuse(samples: bytes) -> None:
        calls.append(len(samples))
        raise EOFError

    with pytest.raises(EOFError):
        library.speak(TEXT, "en-us", refuse)
    assert len(calls) == 1
    assert length(library, TEXT)
