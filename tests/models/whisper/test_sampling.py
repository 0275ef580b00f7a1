"""Probabilities and keyed sampling of single rows."""

from __future__ import annotations

import numpy as np
import pytest

from antiphon.models.whisper.sampling import language_of, log_softmax, probability, sample

ROW = np.array([0.0, 2.0, 1.0, -1e30], np.float32)


def test_probabilities_sum_to_one() -> None:
    assert np.exp(log_softmax(ROW)).sum() == pytest.approx(1.0)
    assert probability(ROW, 1) == pytest.approx(np.exp(2) / (1 + np.exp(2) + np.exp(1)))


def test_detected_language_is_the_likeliest_of_the_languages() -> None:
    code, chance = language_of(ROW, {"en": 0, "es": 2})
    assert code == "es"
    assert chance == pytest.approx(np.exp(1) / (1 + np.exp(1)))


def test_sampling_depends_on_its_key_alone() -> None:
    first = [sample(ROW, 1.0, (0, 16_000), position)[0] for position in range(50)]
    assert first == [sample(ROW, 1.0, (0, 16_000), position)[0] for position in range(50)]
    assert first != [sample(ROW, 1.0, (1, 16_000), position)[0] for position in range(50)]
    assert first != [sample(ROW, 1.0, (0, 32_000), position)[0] for position in range(50)]


def test_tiny_temperature_is_greedy() -> None:
    assert {sample(ROW, 1e-40, (0, 0), position)[0] for position in range(20)} == {1}


def test_sampling_follows_the_probabilities() -> None:
    drawn = [sample(ROW, 1.0, (7, 0), position) for position in range(4000)]
    shares = np.bincount([token for token, _ in drawn], minlength=4) / 4000
    np.testing.assert_allclose(shares, np.exp(log_softmax(ROW)), atol=0.03)
    assert shares[3] == 0
    token, logprob = drawn[0]
    assert logprob == pytest.approx(log_softmax(ROW)[token])
