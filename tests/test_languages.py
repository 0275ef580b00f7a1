"""Codes, names and other spellings of languages."""

from __future__ import annotations

import pytest

from antiphon.languages import CODES, NAMES, OTHER_CODES, OTHER_NAMES, normalise


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("en", "en"),
        ("EN", "en"),
        (" en-US ", "en"),
        ("es_MX", "es"),
        ("english", "en"),
        ("Spanish", "es"),
        ("Castilian", "es"),
        ("mandarin", "zh"),
        ("Flemish", "nl"),
        ("haitian creole", "ht"),
        ("zh-Hant-TW", "zh"),
        ("nb-NO", "no"),
        ("cantonese", "yue"),
        ("jv", "jw"),
        ("", None),
        ("xx", None),
        ("klingon", None),
        ("en glish", None),
        ("<|en|>", None),
    ],
)
def test_normalise(text: str, code: str | None) -> None:
    assert normalise(text) == code


def test_codes_are_in_the_order_of_whisper() -> None:
    codes = list(NAMES)
    assert len(codes) == len(CODES) == 100
    assert codes[:4] == ["en", "zh", "de", "es"]
    assert codes[-1] == "yue"


def test_other_spellings_map_to_known_codes() -> None:
    assert {*OTHER_NAMES.values(), *OTHER_CODES.values()} <= set(NAMES)
    assert not set(OTHER_NAMES) & set(CODES)
    assert not set(OTHER_CODES) & set(NAMES)
