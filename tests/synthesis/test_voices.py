"""Voice selection by name and language."""

from __future__ import annotations

from dataclasses import replace

import pytest

from antiphon.errors import InvalidParameter
from antiphon.synthesis.voices import OPENAI_VOICES, choose_voice, language_of
from antiphon.testing.fake import FAKE_VOICE_INFO

LANGUAGES = replace(
    FAKE_VOICE_INFO,
    languages=("cmn", "en-gb", "en-us", "es", "es-419", "pt-br"),
    voices=("en-us", "cmn", "en-gb", "es", "es-419", "pt-br", "en-us+f1"),
    openai_voices=("en-us", "en-us+f1"),
    default_language="en-us",
)
CALLED = replace(
    FAKE_VOICE_INFO,
    languages=("en", "es"),
    voices=("english", "Spanish", "zoe"),
    openai_voices=("english", "zoe"),
    default_language="en",
)


@pytest.mark.parametrize("name", [None, "", "default", "unused"])
def test_no_voice_name_is_the_default_voice(name: str | None) -> None:
    assert choose_voice(FAKE_VOICE_INFO, name) == "plain"


def test_models_own_voice_name_is_used() -> None:
    assert choose_voice(FAKE_VOICE_INFO, "loud") == "loud"
    assert choose_voice(replace(FAKE_VOICE_INFO, voices=("plain", "alloy", "nova")), "nova") == "nova"


def test_openai_voice_names_map_in_alphabetical_order() -> None:
    assert list(OPENAI_VOICES) == sorted(OPENAI_VOICES)
    assert len(OPENAI_VOICES) == 13
    dealt = [choose_voice(FAKE_VOICE_INFO, name) for name in OPENAI_VOICES]
    assert dealt == ["plain", "loud"] * 6 + ["plain"]
    assert choose_voice(replace(FAKE_VOICE_INFO, openai_voices=()), "ash") == "loud"


def test_unknown_voice_lists_the_valid_ones() -> None:
    with pytest.raises(InvalidParameter, match=r"'bob'.*plain, loud.*alloy, ash") as caught:
        choose_voice(FAKE_VOICE_INFO, "bob")
    assert caught.value.param == "voice"


@pytest.mark.parametrize(
    ("requested", "suggestion"),
    [
        ("v08x", r"Did you mean `v08`\? There are 41, which GET "),
        ("v08+g", "Did you mean `v08\\+f`"),
        ("V08", r"Did you mean `v08`\? There are 41, which GET "),
        ("nothing like it", r"has\. There are 41 \(v00, v01, v02, v03, v04, …\), which GET "),
    ],
)
def test_unknown_voice_of_many_suggests_similar_ones(requested: str, suggestion: str) -> None:
    names = tuple(f"v{number:02}{variant}" for variant in ("", "+f") for number in range(20))
    with pytest.raises(InvalidParameter, match=suggestion) as caught:
        choose_voice(replace(FAKE_VOICE_INFO, voices=(*names, "plain")), requested)
    assert "GET /v1/audio/voices and `antiphon speak --list-voices` list; and OpenAI's thirteen" in str(caught.value)


@pytest.mark.parametrize(
    ("requested", "suggestion"),
    [
        ("Es", "`es`"),
        ("spanish", "`es` or `es-419`"),
        ("Castilian", "`es` or `es-419`"),
        ("pt_PT", "`pt-br`"),
        ("EN-US+F1", "`en-us+f1`"),
    ],
)
def test_unknown_voice_suggests_by_case_and_language_name(requested: str, suggestion: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        choose_voice(LANGUAGES, requested)
    every = "Valid: en-us, cmn, en-gb, es, es-419, pt-br, en-us+f1; and OpenAI's alloy, ash, "
    assert f"that 'fake-voice' has. Did you mean {suggestion}? {every}" in str(caught.value)


@pytest.mark.parametrize(
    ("language", "voice"),
    [
        ("es", "es"),
        ("ES", "es"),
        ("Spanish", "es"),
        ("es-MX", "es"),
        ("es-419", "es-419"),
        ("pt", "pt-br"),
        ("zh", "cmn"),
        ("en", "en-us"),
        ("english", "en-us"),
        ("en_GB", "en-gb"),
        ("en-US", "en-us"),
    ],
)
def test_language_selects_its_voice(language: str, voice: str) -> None:
    assert choose_voice(LANGUAGES, None, language) == voice
    assert choose_voice(LANGUAGES, "alloy", language) == voice


def test_openai_voice_of_the_requested_language_is_kept() -> None:
    assert choose_voice(LANGUAGES, "ash", "en") == "en-us+f1"
    assert choose_voice(FAKE_VOICE_INFO, "ash", "en") == "loud"


def test_voice_name_takes_precedence_over_language() -> None:
    assert choose_voice(LANGUAGES, "en-gb", "es") == "en-gb"


@pytest.mark.parametrize("language", ["de", "klingon"])
def test_unknown_language_is_invalid(language: str) -> None:
    with pytest.raises(InvalidParameter, match="pt-br") as caught:
        choose_voice(LANGUAGES, None, language)
    assert caught.value.param == "language"
    with pytest.raises(InvalidParameter, match="Valid: en"):
        choose_voice(FAKE_VOICE_INFO, None, language)


@pytest.mark.parametrize(
    ("language", "voice"), [("es", "Spanish"), ("es-MX", "Spanish"), ("spanish", "Spanish"), ("en", "english")]
)
def test_language_selects_the_voice_named_after_it(language: str, voice: str) -> None:
    assert choose_voice(CALLED, None, language) == voice
    assert choose_voice(CALLED, "alloy", language) == voice
    assert choose_voice(CALLED, "zoe", language) == "zoe"


def test_language_of_a_voice() -> None:
    assert [language_of(CALLED, voice) for voice in CALLED.voices] == ["en", "es", "en"]
    assert [language_of(LANGUAGES, voice) for voice in LANGUAGES.voices] == ["en", "zh", "en", "es", "es", "pt", "en"]
    assert language_of(FAKE_VOICE_INFO, "loud") == "en"
