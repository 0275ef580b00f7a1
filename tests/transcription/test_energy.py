"""How loud a file is, and its pauses: over background noise, in steady noise, short ones, none."""

from __future__ import annotations

import pytest

from antiphon.transcription.energy import HOP, measure
from antiphon.types.audio import SAMPLE_RATE
from tests.support.levels import join, noise, silence, speech

SECOND = SAMPLE_RATE


@pytest.mark.parametrize("level", [-10.0, -30.0, -50.0])
def test_steady_noise_has_no_pauses(level: float) -> None:
    assert measure(noise(60.0, level)).pauses == ()


@pytest.mark.parametrize("floor", [-85.0, -60.0, -50.0])
def test_pauses_are_found_over_background_noise(floor: float) -> None:
    samples = join(speech(4.0), silence(0.25), speech(3.0), silence(0.5), speech(2.0), silence(1.0))
    samples = samples + noise(len(samples) / SAMPLE_RATE, floor, seed=1)
    assert [round(pause.start / SAMPLE_RATE, 1) for pause in measure(samples).pauses] == [4.0, 7.3, 9.8]


@pytest.mark.parametrize(("milliseconds", "found"), [(50, False), (70, False), (120, True), (150, True)])
def test_the_shortest_pause(milliseconds: int, found: bool) -> None:
    samples = join(speech(2.0), silence(milliseconds / 1000), speech(2.0))
    assert bool(measure(samples).pauses) == found


def test_speech_seconds() -> None:
    loudness = measure(join(silence(2.0), speech(3.0), silence(2.0)))
    assert loudness.speech_seconds(0, loudness.total) == pytest.approx(3.0, abs=0.05)
    assert loudness.speech_seconds(0, 2 * SECOND - 2 * HOP) == 0.0
    assert loudness.speech_seconds(4 * SECOND, loudness.total) == pytest.approx(1.0, abs=0.05)
    assert loudness.speech_seconds(5, 5) == 0.0


def test_what_is_lively() -> None:
    """Noise, steady or switched on and off, is not; what rises and falls as speech does is."""
    bursts = [part for seed in range(20) for part in (noise(0.4, -20.0, seed), noise(0.4, -50.0, seed))]
    assert measure(join(*bursts)).lively > 0.4
    assert measure(noise(10.0, -20.0)).lively == 0.0
    assert measure(join(noise(10.0, -20.0), silence(10.0), noise(5.0, -20.0))).lively == 0.0
    assert measure(silence(3.0)).lively == 0.0


def test_the_pauses_between() -> None:
    """Those that reach into a stretch, whole."""
    loudness = measure(join(speech(2.0), silence(1.0), speech(2.0), silence(1.0), speech(2.0)))
    first, second = loudness.pauses
    assert loudness.between(0, loudness.total) == (first, second)
    assert loudness.between(SECOND, 2 * SECOND + SECOND // 2) == (first,)
    assert loudness.between(2 * SECOND + SECOND // 2, 3 * SECOND) == (first,)
    assert loudness.between(first.end, second.start) == ()
    assert loudness.between(4 * SECOND, 4 * SECOND) == ()


def test_sounding_seconds() -> None:
    loudness = measure(join(silence(2.0), noise(3.0, -65.0), silence(2.0)))
    assert loudness.sounding_seconds(0, loudness.total) == pytest.approx(3.0, abs=0.05)
    assert loudness.sounding_seconds(3 * SECOND, 4 * SECOND) == pytest.approx(1.0, abs=0.02)
    assert loudness.sounding_seconds(0, SECOND) == 0.0
