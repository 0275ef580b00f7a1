"""The timestamp rules as rows: which tokens may follow which (openai/whisper `decoding.py`)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from antiphon.models.whisper.config import WhisperConfig, read_config
from antiphon.models.whisper.logits_rules import BEGIN, HIGH, LOW, SPECIAL, TEXT, TIMED, LogitsRules
from tests.support.tiny_whisper import FIRST_TIMESTAMP, IDS, VOCABULARY

LETTER = 97


@pytest.fixture(scope="module")
def config(tiny_folder: object) -> WhisperConfig:
    return read_config(tiny_folder)  # type: ignore[arg-type]


def after(config: WhisperConfig, tokens: list[int], *, timed: bool = True, minimum: int = 0) -> np.ndarray:
    """The rules row of a sequence that sampled `tokens`."""
    rules = LogitsRules(config, 3)
    rules.begin(1, timed=timed, minimum=minimum)
    for token in tokens:
        rules.advance(1, 2, np.array([token], np.int32))
    return rules.rows(1, 2)[0]


def stamp(seconds: float) -> int:
    return FIRST_TIMESTAMP + round(seconds / 0.02)


def allowed_stamps(row: np.ndarray) -> range:
    return range(row[LOW], row[HIGH] + 1)


def test_first_token_is_a_timestamp_of_at_most_one_second(config: WhisperConfig) -> None:
    row = after(config, [])
    assert not row[TEXT]
    assert not row[SPECIAL]
    assert row[BEGIN]
    assert row[TIMED]
    assert allowed_stamps(row) == range(stamp(0.0), stamp(1.0) + 1)


def test_any_timestamp_may_be_first_without_a_limit(config: WhisperConfig) -> None:
    row = after(replace(config, max_initial_timestamp=None), [])
    assert allowed_stamps(row) == range(stamp(0.0), VOCABULARY)


@pytest.mark.parametrize(
    ("tokens", "text", "special", "stamps"),
    [
        ([0.0], True, True, None),
        ([0.0, "a"], True, True, 0.02),
        ([0.0, "a", 4.0], False, True, 4.0),
        ([0.0, "a", 4.0, 4.0], True, True, None),
        ([0.0, "a", 4.0, 4.0, "b"], True, True, 4.02),
        ([0.5, "a", "b"], True, True, 0.52),
    ],
)
def test_allowed_next_tokens(
    config: WhisperConfig, tokens: list[object], text: bool, special: bool, stamps: float | None
) -> None:
    ids = [LETTER if isinstance(token, str) else stamp(token) for token in tokens]  # type: ignore[arg-type]
    row = after(config, ids)
    assert (bool(row[TEXT]), bool(row[SPECIAL])) == (text, special)
    expected = range(0) if stamps is None else range(stamp(stamps), VOCABULARY)
    assert list(allowed_stamps(row)) == list(expected)


def test_logits_rules_without_timestamps_affect_the_start_only(config: WhisperConfig) -> None:
    first, later = after(config, [], timed=False), after(config, [LETTER, stamp(3.0)], timed=False)
    assert first[BEGIN]
    assert not later[BEGIN]
    for row in (first, later):
        assert row[TEXT]
        assert row[SPECIAL]
        assert not row[TIMED]
        assert allowed_stamps(row) == range(FIRST_TIMESTAMP, VOCABULARY)


def test_min_new_tokens_delays_the_end_token(config: WhisperConfig) -> None:
    assert not after(config, [LETTER], timed=False, minimum=2)[SPECIAL]
    assert after(config, [LETTER, LETTER], timed=False, minimum=2)[SPECIAL]
    assert IDS["<|endoftext|>"] == config.tokens.end


def test_moved_slot_keeps_its_rules(config: WhisperConfig) -> None:
    rules = LogitsRules(config, 3)
    rules.begin(2, timed=True)
    rules.advance(2, 3, np.array([stamp(0.2)], np.int32))
    expected = rules.rows(2, 3)
    rules.move(2, 0)
    np.testing.assert_array_equal(rules.rows(0, 1), expected)
