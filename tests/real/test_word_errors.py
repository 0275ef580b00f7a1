"""Word errors of real speech by language: ours in each precision, faster-whisper's and transformers'."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from antiphon.benchmark.word_errors import WordErrors
from tests.real.conftest import ModelOf
from tests.real.models import BASE, TINY, RealModel
from tests.real.peers import FasterWhisper, Transformers
from tests.real.recordings import SAMPLE_LANGUAGES, Recording, samples_in_nine_languages, speech
from tests.real.word_errors import Table, Transcribe

OURS: dict[str, dict[str, str]] = {
    "f32": {"precision": "f32"},
    "default": {},  # bf16 where the processor has it
    "int8": {"weight_format": "int8"},
}
FASTER_WHISPER, TRANSFORMERS = "faster-whisper", "transformers"
TO_PEERS, TO_F32 = 0.003, 0.005  # how much higher our rate may be than that of the peers, and of f32

ErrorsOf = Callable[..., dict[str, WordErrors]]


@pytest.fixture(scope="session")
def errors_of(
    table: Table,
    real: Callable[[str], RealModel],
    model_of: ModelOf,
    faster_whisper_of: Callable[[str], FasterWhisper],
    transformers_of: Callable[[str], Transformers],
) -> ErrorsOf:
    """The errors by language of an engine with a model."""

    def engine(name: str, kind: str) -> Transcribe:
        if kind == FASTER_WHISPER:
            return faster_whisper_of(name).text
        if kind == TRANSFORMERS:
            return transformers_of(name).text
        model = model_of(real(name).ctranslate2, **OURS[kind])
        return lambda recording: model.transcribe(recording.path, language=recording.language).text

    def errors(name: str, kind: str) -> dict[str, WordErrors]:
        known = [recording for recording in (*speech(), *samples_in_nine_languages()) if recording.texts]
        recordings: list[Recording] = [part for part in known if name == BASE or part.language == "en"]
        title = kind if name == BASE else f"{name} {kind}"
        return table.measure(title, engine(name, kind), recordings)

    return errors


@pytest.mark.parametrize("peer", [FASTER_WHISPER, TRANSFORMERS])
@pytest.mark.parametrize("name", [BASE, TINY])
def test_english_word_errors_in_f32_are_those_of_the_peers(name: str, peer: str, errors_of: ErrorsOf) -> None:
    ours, theirs = errors_of(name, "f32")["en"], errors_of(name, peer)["en"]
    assert ours.words > 100
    assert ours.rate <= theirs.rate + TO_PEERS


@pytest.mark.parametrize("language", SAMPLE_LANGUAGES)
def test_word_errors_in_nine_languages_are_at_most_those_of_faster_whisper(language: str, errors_of: ErrorsOf) -> None:
    ours, theirs = errors_of(BASE, "f32")[language], errors_of(BASE, FASTER_WHISPER)[language]
    assert ours.rate <= theirs.rate + TO_PEERS


@pytest.mark.parametrize("kind", ["default", "int8"])
def test_english_word_errors_in_bf16_and_int8_are_those_of_f32(kind: str, errors_of: ErrorsOf) -> None:
    assert errors_of(BASE, kind)["en"].rate <= errors_of(BASE, "f32")["en"].rate + TO_F32


def test_transformers_is_measured_in_nine_languages(errors_of: ErrorsOf) -> None:
    """Our tokens are the same, so our rates are: in every language, not only within a margin."""
    assert errors_of(BASE, TRANSFORMERS) == errors_of(BASE, "f32")
