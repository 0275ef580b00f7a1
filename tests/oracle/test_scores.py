"""The two scores of a window: no_speech_prob at <|startoftranscript|> and avg_logprob of the answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from antiphon.models.whisper.sampling import log_softmax
from tests.oracle.reference import Comparison, ask_oracle
from tests.oracle.shapes import ENGLISH, ODD, PLAIN
from tests.oracle.signals import chirps
from tests.support.drive_session import drive, make_unit
from tests.support.whisper_checkpoint import Shape

# Whisper rounds nothing before these are read; float32 logits differ by less than 1e-3, a mean of them by far less.
TOLERANCE = 1e-4

PROMPTS = [None, "A house by the river."]


@pytest.mark.parametrize("shape", [PLAIN, ENGLISH], ids=["multilingual", "english"])
@pytest.mark.parametrize("prompt", PROMPTS, ids=["bare", "prompted"])
@pytest.mark.parametrize("timestamps", [False, True], ids=["plain", "timed"])
def test_no_speech_is_read_at_the_start_of_the_transcript(
    shape: Shape, prompt: str | None, timestamps: bool, comparison_of: Callable[[Shape], Comparison]
) -> None:
    comparison, samples = comparison_of(replace(shape, name=f"{shape.name}-silent", silence=9.0)), chirps(4, seed=11)
    language = "en" if comparison.config.multilingual else None
    unit = make_unit(samples, timestamps=timestamps, language=language, prompt=prompt, max_new_tokens=2)
    prefix, start = comparison.tokenizer.prefix(language, "transcribe", prompt, timestamps=timestamps)
    rows = np.array([log_softmax(row) for row in comparison.logits(comparison.features(samples), prefix)])
    chances = rows[:, comparison.config.tokens.no_speech]
    # The other positions say something else; reading one of those would be seen.
    assert (np.abs(np.delete(chances, start) - chances[start]) > 0.005).all()
    (ours,) = drive(comparison.session, [unit])
    assert np.log(ours.no_speech_prob) == pytest.approx(chances[start], abs=1e-3)  # a logit's own tolerance


def test_no_speech_covers_all_of_0_to_1(comparison_of: Callable[[Shape], Comparison]) -> None:
    found = []
    for silence in (0.0, 9.0, 25.0):
        comparison = comparison_of(replace(PLAIN, name=f"silence-{silence:.0f}", silence=silence))
        (ours,) = drive(comparison.session, [make_unit(chirps(4), language="en", max_new_tokens=1)])
        logits = comparison.logits(comparison.features(chirps(4)), [comparison.config.tokens.start])[0]
        assert ours.no_speech_prob == pytest.approx(
            np.exp(log_softmax(logits)[comparison.config.tokens.no_speech]), abs=TOLERANCE
        )
        found.append(ours.no_speech_prob)
    assert found[0] < 0.01
    assert found[0] < found[1] < found[2]
    assert found[2] > 0.99


@pytest.mark.parametrize("timestamps", [False, True], ids=["plain", "timed"])
@pytest.mark.parametrize("limit", [3, 60], ids=["cut short", "long"])
@pytest.mark.parametrize("shape", [PLAIN, ODD, ENGLISH], ids=lambda shape: shape.name)
def test_avg_logprob_matches_the_reference(
    shape: Shape, limit: int, timestamps: bool, comparison_of: Callable[[Shape], Comparison]
) -> None:
    """Filtered, untempered log-probabilities of the tokens and the end, over one more than the tokens."""
    comparison = comparison_of(shape)
    language = "de" if comparison.config.multilingual else None
    for seed in range(3):
        unit = make_unit(chirps(6, seed), timestamps=timestamps, language=language, max_new_tokens=limit)
        theirs = ask_oracle(comparison, unit)
        sampled = [*theirs.tokens, comparison.config.tokens.end] if theirs.ended else theirs.tokens
        total = sum(log_softmax(row)[token] for row, token in zip(theirs.scores, sampled, strict=True))
        (ours,) = drive(comparison.session, [unit])
        assert list(ours.tokens) == theirs.tokens
        assert ours.avg_logprob == pytest.approx(total / (len(theirs.tokens) + 1), abs=TOLERANCE)
        assert ours.avg_logprob < -0.1


def test_cases_have_both_kinds_of_ending(comparison_of: Callable[[Shape], Comparison]) -> None:
    """The end token's own term is only tested by answers that end, its absence only by those that are cut."""
    lengths = []
    for seed in range(3):
        unit = make_unit(chirps(6, seed), language="de", max_new_tokens=60)
        (ours,) = drive(comparison_of(PLAIN).session, [unit])
        lengths.append(len(ours.tokens))
    assert min(lengths) < 60
