"""How what was heard is compared with what was said."""

from __future__ import annotations

from training.starter_asr.heldout import word_errors, words


def test_words_are_compared_without_case_and_marks() -> None:
    assert words("It's five, or six!") == ["it's", "five", "or", "six"]


def test_word_errors_counts() -> None:
    assert word_errors("a b c", "a b c") == 0
    assert word_errors("a b c", "a x c d") == 2
    assert word_errors("a b c", "") == 3
