"""Features, encoder states and greedy tokens against what transformers made of the same folder (`make_golden.py`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest

from antiphon.models.whisper.config import read_config
from antiphon.models.whisper.session import WhisperSession
from antiphon.weights.safetensors import open_checkpoint
from tests.support.drive_session import drive, make_unit
from tests.support.encoder_states import compile_exact, whisper_states_model
from tests.support.tiny_whisper import noise

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text())
CASES = list(enumerate(GOLDEN["cases"]))


@pytest.fixture(scope="module")
def encoder(tiny_folder: Path) -> ov.CompiledModel:
    with open_checkpoint(tiny_folder) as weights:
        return compile_exact(whisper_states_model(read_config(tiny_folder), weights))


@pytest.mark.parametrize(("index", "case"), CASES)
def test_features_and_encoder_states_match_the_reference(
    empty_session: WhisperSession, encoder: ov.CompiledModel, index: int, case: dict[str, Any]
) -> None:
    features = empty_session.runner.log_mel(noise(case["seconds"], seed=index))
    # f32 sums of 400 products against numpy's f64 transform.
    np.testing.assert_allclose(features[0, ::16, ::500].flatten(), case["features"], atol=1e-4)
    states = encoder(features)["states"][0, ::300, ::10].flatten()
    np.testing.assert_allclose(states, case["states"], atol=1e-3)


@pytest.mark.parametrize(("index", "case"), CASES)
def test_tokens_match_the_reference(empty_session: WhisperSession, index: int, case: dict[str, Any]) -> None:
    unit = make_unit(
        noise(case["seconds"], seed=index),
        timestamps=case["timestamps"],
        language=case["language"],
        task=case["task"],
        prompt=case["prompt"],
        max_new_tokens=GOLDEN["new_tokens"],
    )
    assert list(drive(empty_session, [unit])[0].tokens) == case["tokens"]


def test_golden_cases_differ() -> None:
    assert len({tuple(case["tokens"]) for _, case in CASES}) == len(CASES)
    assert min(len(set(case["tokens"])) for _, case in CASES) >= 3
