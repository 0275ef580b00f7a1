"""Word error rate on normalised text, over all words."""

from __future__ import annotations

import sys

import pytest

from antiphon.benchmark.word_errors import WordErrors, count_word_errors
from antiphon.errors import ConfigError


@pytest.mark.parametrize(
    ("reference", "hypothesis", "errors"),
    [
        ("Hello, world!", "hello world", 0),
        ("The colour of it's twenty-one.", "the color of it is 21", 0),
        ("we went along the river", "we went along river", 1),
        ("we went along the river", "we went along by the river", 1),
        ("we went along the river", "we went along the road", 1),
        ("one two", "", 1),  # both words are one number, which is missing
    ],
)
def test_word_errors_are_counted_on_normalised_text(reference: str, hypothesis: str, errors: int) -> None:
    found = count_word_errors(["a plain text", reference], ["a plain text", hypothesis])
    assert found.errors == errors


def test_word_error_rate_is_over_all_words() -> None:
    assert count_word_errors(["a b c d", "e f"], ["a b c", "e g"]) == WordErrors(2, 6)
    assert WordErrors(2, 6).rate == 2 / 6


def test_reference_without_words_is_not_counted() -> None:
    assert count_word_errors(["[music]", ""], ["something", "else"]) == WordErrors(0, 0)
    assert WordErrors(0, 0).rate == 0


def test_other_languages_use_the_basic_normaliser() -> None:
    assert count_word_errors(["¡El color!"], ["el COLOR"], "es").rate == 0
    assert count_word_errors(["colour"], ["color"], "es").rate == 1


def test_languages_without_spaces_are_counted_in_characters() -> None:
    assert count_word_errors(["砸自己的脚。"], ["砸自己脚"], "zh") == WordErrors(1, 5)
    assert count_word_errors(["砸自己的脚。"], ["砸自己脚"], "es") == WordErrors(1, 1)


def test_missing_extra_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jiwer", None)
    with pytest.raises(ConfigError, match=r"jiwer is not installed; pip install 'antiphon\[bench\]' installs it"):
        count_word_errors(["a"], ["a"])
