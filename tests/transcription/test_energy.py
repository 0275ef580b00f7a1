"""Energy: levels and pauses in speech, background noise and steady noise."""

from __future__ import annotations

import pytest

from antiphon.transcription.energy import HOP_SAMPLES, measure
from antiphon.types.audio import SAMPLE_RATE
from tests.support.levels import join, noise, silence, speech

SECOND = SAMPLE_RATE


@pytest.mark.parametrize("level", [-10.0, -30.0, -50.0])
def test_steady_noise_has_no_pauses(level: float) -> None:
    assert measure(noise(60.0, level)).pauses == ()


@pytest.mark.parametrize("floor", [-85.0, -60.0, -50.0])
def test_pauses_are_found_in_background_noise(floor: float) -> None:
    samples = join(speech(4.0), silence(0.25), speech(3.0), silence(0.5), speech(2.0), silence(1.0))
    samples = samples + noise(len(samples) / SAMPLE_RATE, floor, seed=1)
    assert [round(pause.start / SAMPLE_RATE, 1) for pause in measure(samples).pauses] == [4.0, 7.3, 9.8]


@pytest.mark.parametrize(("milliseconds", "found"), [(50, False), (70, False), (120, True), (150, True)])
def test_shortest_pause(milliseconds: int, found: bool) -> None:
    samples = join(speech(2.0), silence(milliseconds / 1000), speech(2.0))
    assert bool(measure(samples).pauses) == found


def test_loud_seconds() -> None:
    energy = measure(join(silence(2.0), speech(3.0), silence(2.0)))
    assert energy.loud_seconds(0, energy.total) == pytest.approx(3.0, abs=0.05)
    assert energy.loud_seconds(0, 2 * SECOND - 2 * HOP_SAMPLES) == 0.0
    assert energy.loud_seconds(4 * SECOND, energy.total) == pytest.approx(1.0, abs=0.05)
    assert energy.loud_seconds(5, 5) == 0.0


def test_dynamic_share_is_zero_for_steady_noise() -> None:
    """Steady noise has no dynamics, even if interrupted by silence; bursts over a noise floor do."""
    bursts = [part for seed in range(20) for part in (noise(0.4, -20.0, seed), noise(0.4, -50.0, seed))]
    assert measure(join(*bursts)).dynamic_share > 0.4
    assert measure(noise(10.0, -20.0)).dynamic_share == 0.0
    assert measure(join(noise(10.0, -20.0), silence(10.0), noise(5.0, -20.0))).dynamic_share == 0.0
    assert measure(silence(3.0)).dynamic_share == 0.0


def test_pauses_in_a_range_are_returned_at_full_length() -> None:
    energy = measure(join(speech(2.0), silence(1.0), speech(2.0), silence(1.0), speech(2.0)))
    first, second = energy.pauses
    assert energy.pauses_in(0, energy.total) == (first, second)
    assert energy.pauses_in(SECOND, 2 * SECOND + SECOND // 2) == (first,)
    assert energy.pauses_in(2 * SECOND + SECOND // 2, 3 * SECOND) == (first,)
    assert energy.pauses_in(first.end, second.start) == ()
    assert energy.pauses_in(4 * SECOND, 4 * SECOND) == ()


def test_audible_seconds() -> None:
    energy = measure(join(silence(2.0), noise(3.0, -65.0), silence(2.0)))
    assert energy.audible_seconds(0, energy.total) == pytest.approx(3.0, abs=0.05)
    assert energy.audible_seconds(3 * SECOND, 4 * SECOND) == pytest.approx(1.0, abs=0.02)
    assert energy.audible_seconds(0, SECOND) == 0.0
