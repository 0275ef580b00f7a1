"""Where files are cut: in pauses, never through sound if it can be helped, and nothing is left out but dead air."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from antiphon.service.windows import DEAD_LEVEL, HOP, Loudness, Run, measure, plan
from antiphon.types import SAMPLE_RATE, WINDOW_SAMPLES, Samples

SECOND = SAMPLE_RATE


def noise(seconds: float, level: float, seed: int = 0) -> Samples:
    """White noise at `level` dBFS."""
    generator = np.random.default_rng(seed)
    white = generator.standard_normal(round(seconds * SAMPLE_RATE)).astype(np.float32)
    return np.asarray(white * np.float32(10.0 ** (level / 20.0)), np.float32)


def speech(seconds: float, seed: int = 0) -> Samples:
    return noise(seconds, -20.0, seed)


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def join(*parts: Samples) -> Samples:
    return np.concatenate(parts)


def test_a_short_file_is_one_window_as_it_is() -> None:
    samples = join(silence(5.0), speech(10.0), silence(14.0))
    assert plan(measure(samples)) == (Run(0, len(samples)),)


@pytest.mark.parametrize("seconds", [0.001, 0.01, 29.98, 30.0])
def test_up_to_thirty_seconds_are_one_window(seconds: float) -> None:
    samples = speech(seconds)
    assert plan(measure(samples)) == (Run(0, len(samples)),)


def test_no_samples_are_no_windows() -> None:
    assert plan(measure(silence(0.0))) == ()


def test_digital_silence_hides_no_pauses() -> None:
    """The zeros of a file say nothing of the noise its speech stands in."""
    bursts = [join(speech(2.5, seed), noise(0.5, -50.0, seed)) for seed in range(20)]
    runs = plan(measure(join(silence(40.0), *bursts)))
    assert max(run.end - run.start for run in runs) <= WINDOW_SAMPLES


@pytest.mark.parametrize("samples", [silence(75.0), noise(75.0, -80.0), silence(0.004)])
def test_dead_air_is_not_decoded(samples: Samples) -> None:
    assert plan(measure(samples)) == ()


def test_the_cut_is_in_the_middle_of_the_longest_pause_in_reach() -> None:
    samples = join(
        speech(15.0), silence(2.0), speech(5.0), silence(0.2), speech(3.0), silence(0.6), speech(2.0), silence(0.3),
        speech(20.0),
    )  # fmt: skip
    first, second = plan(measure(samples))
    assert first == Run(0, second.start)
    assert second.end == len(samples)
    assert first.end == pytest.approx(25.5 * SECOND, abs=HOP)


def test_a_pause_before_the_reach_is_used_if_there_is_none_in_it() -> None:
    samples = join(speech(7.0), silence(0.3), speech(5.0), silence(0.3), speech(40.0))
    first, second = plan(measure(samples))
    assert first.end == second.start == pytest.approx(12.45 * SECOND, abs=HOP)
    assert second.end == len(samples)  # no pause in reach: a chain


def test_without_a_pause_the_run_goes_on_to_the_first_one_beyond() -> None:
    samples = join(speech(41.0), silence(0.4), speech(10.0), silence(0.4), speech(10.0))
    first, second = plan(measure(samples))
    assert first.end == second.start == pytest.approx(41.2 * SECOND, abs=HOP)


def test_a_cut_never_waits_for_the_end_of_a_long_silence() -> None:
    samples = join(speech(41.0), silence(100.0), speech(5.0))
    first, second = plan(measure(samples))
    assert first.end < 42 * SECOND
    assert 140 * SECOND < second.start < 141 * SECOND
    assert second.end == len(samples)


def test_long_silence_around_words_costs_no_windows() -> None:
    samples = join(silence(60.0), speech(1.5), silence(60.0), speech(4.0), silence(20.0))
    first, second = plan(measure(samples))
    for run, at in ((first, 60.0), (second, 121.5)):
        assert run.start == pytest.approx((at - 0.5) * SECOND, abs=2 * HOP)
        assert run.end - run.start <= WINDOW_SAMPLES


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


STRETCHES = st.lists(
    st.tuples(st.sampled_from([-130.0, -75.0, -60.0, -40.0, -20.0, -6.0]), st.integers(1, 4_000)), max_size=25
)


def make_loudness(stretches: list[tuple[float, int]], rest: int) -> Loudness:
    """Loudness from (level, frames) directly: the planner sees no samples."""
    levels: NDArray[np.float32] = np.concatenate(
        [np.zeros(0, np.float32), *(np.full(frames, level, np.float32) for level, frames in stretches)]
    )
    total = max(0, len(levels) * HOP - rest) if len(levels) else 0
    return Loudness(levels, -50.0, total)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(STRETCHES, st.integers(0, HOP - 1))
def test_every_sound_is_in_exactly_one_run(stretches: list[tuple[float, int]], rest: int) -> None:
    loudness = make_loudness(stretches, rest)
    runs = plan(loudness)

    assert all(run.start < run.end for run in runs)
    assert all(before.end <= after.start for before, after in pairwise(runs))
    covered = np.zeros(loudness.total, np.bool_)
    for run in runs:
        covered[run.start : run.end] = True
    sounding = np.repeat(loudness.levels >= DEAD_LEVEL, HOP)[: loudness.total]
    assert not np.any(sounding & ~covered)
    assert len(runs) <= loudness.total / (5 * SECOND) + 1

    quiet = np.repeat(loudness.levels < loudness.threshold, HOP)
    for run in runs:
        for edge in (run.start, run.end):
            assert edge in (0, loudness.total) or quiet[edge]
        if run.end - run.start > WINDOW_SAMPLES:  # a chain only where there was no choice
            reach = [pause for pause in loudness.pauses if run.start < pause.end and pause.start < run.start + 480_000]
            assert all((pause.start + pause.end) // 2 < run.start + 5 * SECOND for pause in reach)
