"""Features, encoder states and greedy tokens against what transformers made of the same folder (`make_golden.py`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon.models.whisper.session import WhisperSession
from tests.support.drive_session import drive, make_unit
from tests.support.tiny_whisper import noise

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
CASES = list(enumerate(GOLDEN["cases"]))


@pytest.mark.parametrize(("index", "case"), CASES)
def test_features_and_states(empty_session: WhisperSession, index: int, case: dict[str, Any]) -> None:
    samples = noise(case["seconds"], seed=index)
    features = empty_session.runner.log_mel(samples)[0, ::16, ::500].flatten()
    # f32 sums of 400 products against numpy's f64 transform.
    np.testing.assert_allclose(features, case["features"], atol=1e-4)
    states = empty_session.runner.encode(samples, 0)[0, ::300, ::10].flatten()
    np.testing.assert_allclose(states, case["states"], atol=1e-3)


@pytest.mark.parametrize(("index", "case"), CASES)
def test_tokens_are_those_of_the_reference(empty_session: WhisperSession, index: int, case: dict[str, Any]) -> None:
    unit = make_unit(
        noise(case["seconds"], seed=index),
        timestamps=case["timestamps"],
        language=case["language"],
        task=case["task"],
        prompt=case["prompt"],
        max_new_tokens=GOLDEN["new_tokens"],
    )
    assert list(drive(empty_session, [unit])[0].tokens) == case["tokens"]


def test_the_golden_says_something() -> None:
    assert len({tuple(case["tokens"]) for _, case in CASES}) == len(CASES)
    assert min(len(set(case["tokens"])) for _, case in CASES) >= 3
