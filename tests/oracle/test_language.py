"""Language detection against transformers `detect_language`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from antiphon.models.whisper.sampling import log_softmax
from antiphon.types.events import LanguageDetected, WindowFinished
from tests.oracle.reference import Comparison, detected
from tests.oracle.shapes import DISTILLED, PLAIN
from tests.oracle.signals import chirps, clap, noise
from tests.support.drive_session import drive, make_unit
from tests.support.whisper_checkpoint import Shape

_SOME = {"<|ta|>": 50287, "<|en|>": 50259, "<|cy|>": 50297, "<|haw|>": 50352}
VOCABULARIES = {
    99: PLAIN,
    100: replace(DISTILLED, name="hundred", seed=28),
    4: replace(PLAIN, name="four", seed=22, generation={"lang_to_id": _SOME}),
}
SOUNDS = [chirps(0.2), chirps(5, seed=4), chirps(30, seed=5), noise(3), clap(8), noise(20, level=0.7)]


@pytest.fixture(params=VOCABULARIES, ids=lambda count: f"{count} languages")
def comparison(request: pytest.FixtureRequest, comparison_of: Callable[[Shape], Comparison]) -> Comparison:
    comparison = comparison_of(VOCABULARIES[request.param])
    assert len(comparison.config.tokens.languages) == request.param
    return comparison


def test_detected_language_and_probability_match_transformers(comparison: Comparison) -> None:
    codes = {index: code for code, index in comparison.config.tokens.languages.items()}
    detected_codes = set()
    for samples in SOUNDS:
        features = comparison.features(samples)
        event = detected(comparison.session, samples)
        assert event.language == codes[int(comparison.model.detect_language(features))]
        logits = comparison.logits(features, [comparison.config.tokens.start])[0]
        chance = np.exp(log_softmax(logits[list(codes)])).max()
        assert event.probability == pytest.approx(chance, abs=1e-4)  # float32 logits, exponentiated
        detected_codes.add(event.language)
    assert len(detected_codes) > 1


def test_language_is_detected_only_for_units_without_one(comparison: Comparison) -> None:
    forced = make_unit(chirps(5, seed=4), language="en", max_new_tokens=5)
    free = make_unit(chirps(5, seed=4), max_new_tokens=5)
    also = make_unit(noise(3), max_new_tokens=5)
    events = comparison.session.join([forced, free, also])
    while comparison.session._flight:
        events += comparison.session.step()
    detected_languages = {event.unit: event.language for event in events if isinstance(event, LanguageDetected)}
    results = {event.unit: event.result for event in events if isinstance(event, WindowFinished)}
    assert list(detected_languages) == [free, also]
    assert results[forced].language == "en"
    assert results[free].language == detected_languages[free] == detected(comparison.session, free.samples).language
    assert results[also].language == detected_languages[also] == detected(comparison.session, also.samples).language


def test_forcing_the_detected_language_changes_nothing(comparison: Comparison) -> None:
    """Forcing the language that is detected anyway changes nothing."""
    for samples in SOUNDS[1:3]:
        language = detected(comparison.session, samples).language
        free = make_unit(samples, timestamps=True, max_new_tokens=25)
        named = make_unit(samples, timestamps=True, max_new_tokens=25, language=language)
        first, second = (drive(comparison.session, [unit])[0] for unit in (free, named))
        assert first == second
