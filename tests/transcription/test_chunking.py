"""Where files are cut: in pauses, never through sound if it can be helped, and nothing is left out but dead air."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from antiphon.transcription.chunking import EARLIEST_CUT, REACH, pauses_long, plan, resume_at
from antiphon.transcription.energy import DEAD_LEVEL, HOP, Energy, Span, measure
from antiphon.types.audio import SAMPLE_RATE, WINDOW_SAMPLES, Samples
from antiphon.types.options import VadOptions
from tests.support.levels import join, noise, silence, speech
from tests.support.speech_map import DEAD, HUSH, MURMUR, SOUND, SPEECH, UNIT, Map

SECOND = SAMPLE_RATE


def test_a_short_file_is_one_window_as_it_is() -> None:
    samples = join(silence(5.0), speech(10.0), silence(14.0))
    assert plan(measure(samples)) == (Span(0, len(samples)),)


@pytest.mark.parametrize("seconds", [0.001, 0.01, 29.98, 30.0])
def test_up_to_thirty_seconds_are_one_window(seconds: float) -> None:
    samples = speech(seconds)
    assert plan(measure(samples)) == (Span(0, len(samples)),)


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
    assert first == Span(0, second.start)
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


STRETCHES = st.lists(
    st.tuples(st.sampled_from([-130.0, -75.0, -60.0, -40.0, -20.0, -6.0]), st.integers(1, 4_000)), max_size=25
)


def make_loudness(stretches: list[tuple[float, int]], rest: int) -> Energy:
    """Loudness from (level, frames) directly: the planner sees no samples."""
    levels: NDArray[np.float32] = np.concatenate(
        [np.zeros(0, np.float32), *(np.full(frames, level, np.float32) for level, frames in stretches)]
    )
    total = max(0, len(levels) * HOP - rest) if len(levels) else 0
    return Energy(levels, -50.0, total)


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


# --- with voice activity -----------------------------------------------------------------------------------------


def units(seconds: float) -> int:
    return round(seconds * SECOND / UNIT)


def make_map(*stretches: tuple[int, float]) -> Map:
    """A file of stretches of a kind, each so many seconds long."""
    return Map([(kind, units(seconds)) for kind, seconds in stretches])


def planned(file: Map, options: VadOptions = VadOptions()) -> list[tuple[float, float]]:  # noqa: B008  immutable
    """What is heard of it, from and to, in seconds."""
    runs = plan(file.loudness, options, file.voice(options))
    return [(round(run.start / SECOND, 2), round(run.end / SECOND, 2)) for run in runs]


def test_music_before_between_and_behind_speech_is_left_out() -> None:
    file = make_map((SOUND, 40.0), (SPEECH, 8.0), (SOUND, 24.0), (SPEECH, 8.0), (SOUND, 40.0))
    assert planned(file) == [(39.7, 48.5), (71.7, 80.5)]


def test_background_noise_hides_no_pause() -> None:
    file = make_map((SPEECH, 12.8), (SOUND, 0.16), (SPEECH, 12.8), (SOUND, 0.32), (SPEECH, 12.8))
    assert planned(file) == [(0.0, 25.92), (25.92, 38.88)]
    assert [run.end - run.start for run in plan(file.loudness)] == [len(file)]


def test_speech_behind_a_long_pause_has_its_own_window() -> None:
    file = make_map((SPEECH, 8.0), (HUSH, 8.16), (SPEECH, 8.0), (HUSH, 8.0), (SPEECH, 4.0))
    assert planned(file) == [(0.0, 8.5), (15.86, 36.16)]


def test_quiet_speech_is_never_skipped() -> None:
    file = make_map((SPEECH, 16.0), (MURMUR, 40.0), (SPEECH, 16.0))
    assert sum(end - start for start, end in planned(file)) == pytest.approx(72.0)


def test_a_file_of_a_window_is_heard_as_it_is_unless_asked() -> None:
    file = make_map((SOUND, 12.8), (SPEECH, 3.2), (SOUND, 8.0))
    assert planned(file) == [(0.0, 24.0)]
    assert planned(file, VadOptions("always")) == [(12.5, 24.0)]
    assert planned(make_map((SOUND, 12.8)), VadOptions("always")) == []


def test_padding_and_silence_are_as_asked() -> None:
    file = make_map((SOUND, 16.0), (SPEECH, 12.8), (SOUND, 0.32), (SPEECH, 8.0), (SOUND, 0.16), (SPEECH, 16.0))
    assert planned(file, VadOptions(padding=2.0))[0][0] == 14.0
    assert planned(file, VadOptions(silence=0.3))[0][1] == pytest.approx(28.96, abs=0.01)
    pauses = join(speech(15.0), silence(0.5), speech(8.0), silence(0.3), speech(20.0))
    assert plan(measure(pauses), VadOptions(silence=0.4))[0].end == pytest.approx(15.25 * SECOND, abs=HOP)


def test_a_song_is_heard_although_nobody_speaks() -> None:
    """Voice activity that finds nothing in what is lively is not believed; steady noise is no song."""
    song = make_map(*[(kind, 0.8) for _ in range(40) for kind in (SOUND, HUSH)])
    assert sum(end - start for start, end in planned(song)) == pytest.approx(64.0)
    assert planned(make_map((SOUND, 64.0))) == []
    assert planned(make_map((SOUND, 64.0), (DEAD, 16.0))) == []


def test_without_looking_for_speech_the_file_is_one_chain() -> None:
    file = make_map((DEAD, 40.0), (SPEECH, 40.0))
    assert planned(file, VadOptions("none")) == [(0.0, 80.0)]


def test_of_fluent_speech_little_is_looked_at() -> None:
    file = make_map(*[(kind, seconds) for _ in range(100) for kind, seconds in ((SPEECH, 4.0), (HUSH, 0.48))])
    voice = file.voice()
    assert len(plan(file.loudness, VadOptions(), voice)) == pytest.approx(448 / 28, abs=2)
    assert voice.seconds_looked_at < 0.1 * 448


# --- where it goes on inside a window ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("closed", "begin"),
    [
        (7.0, 7.0),  # in the middle of speech: as the model says
        (9.7, 9.7),
        (9.9, 12.7),  # a little too early: what is left of the last word is no word
        (10.0, 12.7),  # right: of the pause no more is heard than is needed
        (12.9, 12.7),
        (13.1, 12.7),  # a little too late: the next word is heard whole
        (13.3, 13.3),
    ],
)
def test_what_a_model_left_is_heard_again_from_a_pause(closed: float, begin: float) -> None:
    loudness = measure(join(speech(10.0), silence(3.0), speech(10.0)))
    found = resume_at(loudness, None, round(closed * SECOND), 23 * SECOND)
    assert found == pytest.approx(begin * SECOND, abs=2 * HOP)


def test_in_a_short_pause_it_is_the_middle_and_never_behind_the_window() -> None:
    loudness = measure(join(speech(10.0), silence(0.2), speech(10.0)))
    assert resume_at(loudness, None, 10 * SECOND, 20 * SECOND) == pytest.approx(10.1 * SECOND, abs=HOP)
    loudness = measure(join(speech(10.0), silence(3.0), speech(10.0)))
    assert resume_at(loudness, None, 10 * SECOND, 11 * SECOND) == 11 * SECOND


def test_over_background_noise_the_voice_tells_where_it_goes_on() -> None:
    file = make_map((SPEECH, 8.0), (SOUND, 3.2), (SPEECH, 8.0))
    closed = 8 * SECOND
    assert resume_at(file.loudness, file.voice(), closed, len(file)) == pytest.approx(10.9 * SECOND, abs=HOP)
    assert resume_at(file.loudness, None, closed, len(file)) == closed
    assert resume_at(file.loudness, file.voice(), closed, 10 * SECOND) == closed  # no speech up to there
    assert resume_at(file.loudness, file.voice(), 4 * SECOND, len(file)) == 4 * SECOND


@pytest.mark.parametrize(("seconds", "long"), [(2.4, False), (2.7, True), (7.0, True)])
def test_a_pause_that_may_seem_the_end(seconds: float, long: bool) -> None:
    loudness = measure(join(speech(3.0), silence(seconds), speech(3.0)))
    assert pauses_long(loudness, 0, loudness.total) == long
    assert not pauses_long(loudness, 0, 3 * SECOND)
    assert not pauses_long(measure(join(silence(7.0), speech(3.0), silence(7.0))), 0, 17 * SECOND)


MAPS = st.lists(
    st.tuples(st.sampled_from([SPEECH, SPEECH, MURMUR, SOUND, HUSH, DEAD]), st.integers(1, 300)), max_size=16
)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(MAPS)
def test_any_speech_is_in_exactly_one_run(stretches: list[tuple[int, int]]) -> None:
    file = Map(stretches)
    runs = plan(file.loudness, VadOptions(), file.voice())

    assert all(run.start < run.end for run in runs)
    assert all(before.end <= after.start for before, after in pairwise(runs))
    covered = np.zeros(len(file), np.bool_)
    for run in runs:
        covered[run.start : run.end] = True
    assert not np.any(file.of(SPEECH, MURMUR) & ~covered)
    # Five seconds before any cut but one in a long gap, which takes eight.
    assert len(runs) <= len(file) / EARLIEST_CUT + 1

    loud = file.of(SPEECH)
    silent = file.of(SOUND, HUSH, DEAD)
    believed = bool(len(file)) and silent.mean() <= 0.9
    for run in runs:
        for edge in (run.start, run.end):
            assert edge in (0, len(file)) or not loud[edge - 1 : edge + 1].all()
        # A chain only where speech goes on and on, if the voice activity is believed.
        if run.end - run.start > WINDOW_SAMPLES and believed:
            assert not silent[run.start + WINDOW_SAMPLES - REACH + UNIT : run.start + WINDOW_SAMPLES - UNIT].any()
