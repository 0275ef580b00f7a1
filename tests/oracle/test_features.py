"""Log-mel features against transformers' short form: 30 s of waveform, zeros after the sound."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from antiphon.types.audio import Samples
from tests.oracle.reference import Comparison, oracle_log_mel
from tests.oracle.shapes import DISTILLED, PLAIN
from tests.oracle.signals import chirps, clap, noise
from tests.support.sounds import tone
from tests.support.whisper_checkpoint import Shape

SOUNDS: dict[str, Callable[[], Samples]] = {
    **{f"noise {seconds} s": lambda seconds=seconds: noise(seconds) for seconds in (0.05, 0.2, 1, 5, 29.99, 30)},
    "chirps": lambda: chirps(7.3),
    "clap, then quiet": lambda: clap(12),
    "silence": lambda: np.zeros(16_000, np.float32),
    "nothing": lambda: np.zeros(0, np.float32),
    "full-scale square": lambda: np.sign(tone(3, 16_000, 220)),
    "tone": lambda: tone(4, 16_000),
}

# Both sides sum 400 float32 products a bin, in different orders: 3e-5 apart at worst, on quiet bins next to loud ones.
TOLERANCE = 5e-5


@pytest.fixture(scope="module", params=[PLAIN, DISTILLED], ids=["80 mels", "128 mels"])
def comparison(request: pytest.FixtureRequest, comparison_of: Callable[[Shape], Comparison]) -> Comparison:
    return comparison_of(request.param)


@pytest.mark.parametrize("name", SOUNDS)
def test_log_mel_matches_transformers(comparison: Comparison, name: str) -> None:
    samples = SOUNDS[name]()
    ours = comparison.session.runner.log_mel(samples)
    assert ours.shape == (1, comparison.shape.mels, 3000)
    np.testing.assert_allclose(ours, oracle_log_mel(samples, comparison.shape.mels), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("seconds", [0.05, 5, 29.5])
def test_log_mel_padding_is_silence_and_not_zero(comparison: Comparison, seconds: float) -> None:
    """0.0 in normalised log-mel space is loud (openai-whisper since #1838): padding with it makes phantoms."""
    samples = noise(seconds)
    ours = comparison.session.runner.log_mel(samples)
    padding = ours[0, :, round(seconds * 100) + 3 :]
    assert padding.size > 0
    assert (padding == ours.min()).all()
    assert ours.min() < -0.4


def test_log_mel_does_not_depend_on_the_window_before(comparison: Comparison) -> None:
    first = comparison.session.runner.log_mel(noise(1, seed=5)).copy()
    comparison.session.runner.log_mel(noise(30, seed=6, level=0.9))
    assert np.array_equal(comparison.session.runner.log_mel(noise(1, seed=5)), first)
