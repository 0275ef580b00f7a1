"""Encoder states and decoder logits of every shape against transformers, teacher-forced, in float32."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from antiphon.models.layers import NEVER
from antiphon.weights.safetensors import open_checkpoint
from tests.oracle.reference import Comparison
from tests.oracle.shapes import SHAPES
from tests.oracle.signals import chirps
from tests.support.encoder_states import compile_exact, whisper_states_model
from tests.support.whisper_checkpoint import Shape

# float32 sums in another order, through at most four layers of random weights ten times as large as trained ones start.
STATES_TOLERANCE = 2e-4
LOGITS_TOLERANCE = 1e-3

PROMPT = [11, 2425, 13, 300, 40_000, 17, 4, 999, 31_415]


@pytest.fixture(scope="module", params=SHAPES, ids=lambda shape: shape.name)
def comparison(request: pytest.FixtureRequest, comparison_of: Callable[[Shape], Comparison]) -> Comparison:
    return comparison_of(request.param)


def test_encoder_states_match_transformers(comparison: Comparison) -> None:
    samples = chirps(8, seed=1)
    with open_checkpoint(comparison.folder) as weights:
        encoder = compile_exact(whisper_states_model(comparison.config, weights.expanded()))
    ours = encoder(comparison.session.runner.log_mel(samples))["states"]
    with torch.no_grad():
        theirs = comparison.model.model.encoder(comparison.features(samples)).last_hidden_state.numpy()
    assert theirs.std() > 0.5
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=STATES_TOLERANCE)


def test_prefill_and_cached_steps_match_a_single_pass_of_transformers(comparison: Comparison) -> None:
    samples, start = chirps(3, seed=2), len(PROMPT) + 1
    prefix = [
        comparison.config.tokens.previous or 0,
        *PROMPT,
        comparison.config.tokens.start,
        7,
        comparison.config.tokens.no_timestamps,
    ]
    answer = [int(token) for token in np.random.default_rng(3).integers(0, comparison.config.vocabulary, 12)]
    theirs = comparison.logits(comparison.features(samples), prefix + answer)
    assert theirs.std() > 0.5

    comparison.session.runner.encode(samples, 0)
    at_start, rows = _teacher_force(comparison, prefix, start, answer)

    np.testing.assert_allclose(at_start, theirs[start], rtol=0, atol=LOGITS_TOLERANCE)
    for ours, expected in zip(rows, theirs[len(prefix) - 1 :], strict=True):
        allowed = ours > NEVER / 2
        assert set(np.flatnonzero(~allowed)) == set(comparison.config.suppress)
        np.testing.assert_allclose(ours[allowed], expected[allowed], rtol=0, atol=LOGITS_TOLERANCE)


def _teacher_force(
    comparison: Comparison, prefix: Sequence[int], start: int, answer: Sequence[int]
) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
    """Raw logits at `start`, and the scores after the prefix and after each token of the answer."""
    runner = comparison.session.runner
    # Every id may come but the suppressed ones: the rules are not what is compared here.
    free = np.array(
        [[1, 1, comparison.config.tokens.timestamp_begin, comparison.config.vocabulary - 1, 0, 0]], np.int32
    )
    output = runner.prefill(0, np.array([prefix], np.int32), [start], free, [0])
    at_start, rows = output.logits[0].copy(), [output.scores[0].copy()]
    for token in answer:
        rows.append(runner.advance(np.array([[token]], np.int32), free, [0]).scores[0].copy())
    return at_start, rows
