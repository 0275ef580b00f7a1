"""Chunking: files are cut in pauses, all speech is kept, and long silences are skipped."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from antiphon.transcription.chunking import CUT_SEARCH, MIN_CHUNK, has_misleading_pause, plan_chunks, resume_position
from antiphon.transcription.energy import DEAD_AIR_DBFS, HOP_SAMPLES, Energy, Span, measure
from antiphon.types.audio import SAMPLE_RATE, WINDOW_SAMPLES, Samples
from antiphon.types.options import VadOptions
from tests.support.levels import join, noise, silence, speech
from tests.support.speech_map import DEAD, HUSH, MURMUR, SOUND, SPEECH, UNIT, Map

SECOND = SAMPLE_RATE


def test_short_file_is_one_unchanged_chunk() -> None:
    samples = join(silence(5.0), speech(10.0), silence(14.0))
    assert plan_chunks(measure(samples)) == (Span(0, len(samples)),)


@pytest.mark.parametrize("seconds", [0.001, 0.01, 29.98, 30.0])
def test_up_to_30_s_is_one_chunk(seconds: float) -> None:
    samples = speech(seconds)
    assert plan_chunks(measure(samples)) == (Span(0, len(samples)),)


def test_empty_file_has_no_chunks() -> None:
    assert plan_chunks(measure(silence(0.0))) == ()


def test_digital_silence_does_not_hide_pauses() -> None:
    bursts = [join(speech(2.5, seed), noise(0.5, -50.0, seed)) for seed in range(20)]
    runs = plan_chunks(measure(join(silence(40.0), *bursts)))
    assert max(run.end - run.start for run in runs) <= WINDOW_SAMPLES


@pytest.mark.parametrize("samples", [silence(75.0), noise(75.0, -80.0), silence(0.004)])
def test_dead_air_has_no_chunks(samples: Samples) -> None:
    assert plan_chunks(measure(samples)) == ()


def test_cut_is_in_the_middle_of_the_longest_pause_of_the_last_10_s() -> None:
    samples = join(
        speech(15.0), silence(2.0), speech(5.0), silence(0.2), speech(3.0), silence(0.6), speech(2.0), silence(0.3),
        speech(20.0),
    )  # fmt: skip
    first, second = plan_chunks(measure(samples))
    assert first == Span(0, second.start)
    assert second.end == len(samples)
    assert first.end == pytest.approx(25.5 * SECOND, abs=HOP_SAMPLES)


def test_earlier_pause_is_used_if_the_last_10_s_have_none() -> None:
    samples = join(speech(7.0), silence(0.3), speech(5.0), silence(0.3), speech(40.0))
    first, second = plan_chunks(measure(samples))
    assert first.end == second.start == pytest.approx(12.45 * SECOND, abs=HOP_SAMPLES)
    assert second.end == len(samples)  # no pause to cut in: a chain


def test_chunk_without_a_pause_extends_to_the_first_one_after_30_s() -> None:
    samples = join(speech(41.0), silence(0.4), speech(10.0), silence(0.4), speech(10.0))
    first, second = plan_chunks(measure(samples))
    assert first.end == second.start == pytest.approx(41.2 * SECOND, abs=HOP_SAMPLES)


def test_cut_is_early_in_a_long_silence() -> None:
    samples = join(speech(41.0), silence(100.0), speech(5.0))
    first, second = plan_chunks(measure(samples))
    assert first.end < 42 * SECOND
    assert 140 * SECOND < second.start < 141 * SECOND
    assert second.end == len(samples)


def test_long_silence_is_skipped() -> None:
    samples = join(silence(60.0), speech(1.5), silence(60.0), speech(4.0), silence(20.0))
    first, second = plan_chunks(measure(samples))
    for run, at in ((first, 60.0), (second, 121.5)):
        assert run.start == pytest.approx((at - 0.5) * SECOND, abs=2 * HOP_SAMPLES)
        assert run.end - run.start <= WINDOW_SAMPLES


STRETCHES = st.lists(
    st.tuples(st.sampled_from([-130.0, -75.0, -60.0, -40.0, -20.0, -6.0]), st.integers(1, 4_000)), max_size=25
)


def make_energy(stretches: list[tuple[float, int]], rest: int) -> Energy:
    """Energy from (level, frames) directly, without samples."""
    levels: NDArray[np.float32] = np.concatenate(
        [np.zeros(0, np.float32), *(np.full(frames, level, np.float32) for level, frames in stretches)]
    )
    total = max(0, len(levels) * HOP_SAMPLES - rest) if len(levels) else 0
    return Energy(levels, -50.0, total)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(STRETCHES, st.integers(0, HOP_SAMPLES - 1))
def test_every_audible_frame_is_in_exactly_one_chunk(stretches: list[tuple[float, int]], rest: int) -> None:
    energy = make_energy(stretches, rest)
    runs = plan_chunks(energy)

    assert all(run.start < run.end for run in runs)
    assert all(before.end <= after.start for before, after in pairwise(runs))
    covered = np.zeros(energy.total, np.bool_)
    for run in runs:
        covered[run.start : run.end] = True
    sounding = np.repeat(energy.levels >= DEAD_AIR_DBFS, HOP_SAMPLES)[: energy.total]
    assert not np.any(sounding & ~covered)
    assert len(runs) <= energy.total / (5 * SECOND) + 1

    quiet = np.repeat(energy.levels < energy.threshold, HOP_SAMPLES)
    for run in runs:
        for edge in (run.start, run.end):
            assert edge in (0, energy.total) or quiet[edge]
        if run.end - run.start > WINDOW_SAMPLES:  # a chain only where there is no pause
            reach = [pause for pause in energy.pauses if run.start < pause.end and pause.start < run.start + 480_000]
            assert all((pause.start + pause.end) // 2 < run.start + 5 * SECOND for pause in reach)


# --- with voice activity -----------------------------------------------------------------------------------------


def units(seconds: float) -> int:
    return round(seconds * SECOND / UNIT)


def make_map(*stretches: tuple[int, float]) -> Map:
    """A file of consecutive parts, each a kind and a length in seconds."""
    return Map([(kind, units(seconds)) for kind, seconds in stretches])


def planned(file: Map, options: VadOptions = VadOptions()) -> list[tuple[float, float]]:  # noqa: B008  immutable
    """The start and end of each chunk in seconds."""
    runs = plan_chunks(file.energy, options, file.activity(options))
    return [(round(run.start / SECOND, 2), round(run.end / SECOND, 2)) for run in runs]


def test_vad_skips_music_before_between_and_after_speech() -> None:
    file = make_map((SOUND, 40.0), (SPEECH, 8.0), (SOUND, 24.0), (SPEECH, 8.0), (SOUND, 40.0))
    assert planned(file) == [(39.7, 48.5), (71.7, 80.5)]


def test_vad_finds_pauses_in_background_noise() -> None:
    file = make_map((SPEECH, 12.8), (SOUND, 0.16), (SPEECH, 12.8), (SOUND, 0.32), (SPEECH, 12.8))
    assert planned(file) == [(0.0, 25.92), (25.92, 38.88)]
    assert [run.end - run.start for run in plan_chunks(file.energy)] == [len(file)]


def test_speech_after_a_long_pause_has_its_own_chunk() -> None:
    file = make_map((SPEECH, 8.0), (HUSH, 8.16), (SPEECH, 8.0), (HUSH, 8.0), (SPEECH, 4.0))
    assert planned(file) == [(0.0, 8.5), (15.86, 36.16)]


def test_vad_never_skips_quiet_speech() -> None:
    file = make_map((SPEECH, 16.0), (MURMUR, 40.0), (SPEECH, 16.0))
    assert sum(end - start for start, end in planned(file)) == pytest.approx(72.0)


def test_vad_scans_short_files_in_mode_always_only() -> None:
    file = make_map((SOUND, 12.8), (SPEECH, 3.2), (SOUND, 8.0))
    assert planned(file) == [(0.0, 24.0)]
    assert planned(file, VadOptions("always")) == [(12.5, 24.0)]
    assert planned(make_map((SOUND, 12.8)), VadOptions("always")) == []


def test_vad_padding_and_silence_options() -> None:
    file = make_map((SOUND, 16.0), (SPEECH, 12.8), (SOUND, 0.32), (SPEECH, 8.0), (SOUND, 0.16), (SPEECH, 16.0))
    assert planned(file, VadOptions(padding=2.0))[0][0] == 14.0
    assert planned(file, VadOptions(silence=0.3))[0][1] == pytest.approx(28.96, abs=0.01)
    pauses = join(speech(15.0), silence(0.5), speech(8.0), silence(0.3), speech(20.0))
    assert plan_chunks(measure(pauses), VadOptions(silence=0.4))[0].end == pytest.approx(
        15.25 * SECOND, abs=HOP_SAMPLES
    )


def test_vad_without_speech_is_distrusted_in_dynamic_audio() -> None:
    """A song is kept although VAD finds no speech in it; steady noise is skipped."""
    song = make_map(*[(kind, 0.8) for _ in range(40) for kind in (SOUND, HUSH)])
    assert sum(end - start for start, end in planned(song)) == pytest.approx(64.0)
    assert planned(make_map((SOUND, 64.0))) == []
    assert planned(make_map((SOUND, 64.0), (DEAD, 16.0))) == []


def test_vad_none_makes_one_chain() -> None:
    file = make_map((DEAD, 40.0), (SPEECH, 40.0))
    assert planned(file, VadOptions("none")) == [(0.0, 80.0)]


def test_vad_analyses_little_of_fluent_speech() -> None:
    file = make_map(*[(kind, seconds) for _ in range(100) for kind, seconds in ((SPEECH, 4.0), (HUSH, 0.48))])
    activity = file.activity()
    assert len(plan_chunks(file.energy, VadOptions(), activity)) == pytest.approx(448 / 28, abs=2)
    assert activity.analysed_seconds < 0.1 * 448


# --- where decoding resumes inside a window ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("closed", "begin"),
    [
        (7.0, 7.0),  # in the middle of speech: the model's own time
        (9.7, 9.7),
        (9.9, 12.7),  # slightly too early: the rest of the last word is not a word
        (10.0, 12.7),  # correct: only the end of the pause is decoded again
        (12.9, 12.7),
        (13.1, 12.7),  # slightly too late: the next word is decoded from its start
        (13.3, 13.3),
    ],
)
def test_resume_position_is_in_a_pause_near_the_end_time(closed: float, begin: float) -> None:
    energy = measure(join(speech(10.0), silence(3.0), speech(10.0)))
    found = resume_position(energy, None, round(closed * SECOND), 23 * SECOND)
    assert found == pytest.approx(begin * SECOND, abs=2 * HOP_SAMPLES)


def test_resume_position_in_a_short_pause_is_its_middle_within_the_window() -> None:
    energy = measure(join(speech(10.0), silence(0.2), speech(10.0)))
    assert resume_position(energy, None, 10 * SECOND, 20 * SECOND) == pytest.approx(10.1 * SECOND, abs=HOP_SAMPLES)
    energy = measure(join(speech(10.0), silence(3.0), speech(10.0)))
    assert resume_position(energy, None, 10 * SECOND, 11 * SECOND) == 11 * SECOND


def test_resume_position_uses_vad_in_background_noise() -> None:
    file = make_map((SPEECH, 8.0), (SOUND, 3.2), (SPEECH, 8.0))
    closed = 8 * SECOND
    assert resume_position(file.energy, file.activity(), closed, len(file)) == pytest.approx(
        10.9 * SECOND, abs=HOP_SAMPLES
    )
    assert resume_position(file.energy, None, closed, len(file)) == closed
    assert resume_position(file.energy, file.activity(), closed, 10 * SECOND) == closed  # no speech up to there
    assert resume_position(file.energy, file.activity(), 4 * SECOND, len(file)) == 4 * SECOND


@pytest.mark.parametrize(("seconds", "long"), [(2.4, False), (2.7, True), (7.0, True)])
def test_pause_longer_than_2_5_s_is_misleading(seconds: float, long: bool) -> None:
    energy = measure(join(speech(3.0), silence(seconds), speech(3.0)))
    assert has_misleading_pause(energy, 0, energy.total) == long
    assert not has_misleading_pause(energy, 0, 3 * SECOND)
    assert not has_misleading_pause(measure(join(silence(7.0), speech(3.0), silence(7.0))), 0, 17 * SECOND)


MAPS = st.lists(
    st.tuples(st.sampled_from([SPEECH, SPEECH, MURMUR, SOUND, HUSH, DEAD]), st.integers(1, 300)), max_size=16
)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(MAPS)
def test_vad_all_speech_is_in_exactly_one_chunk(stretches: list[tuple[int, int]]) -> None:
    file = Map(stretches)
    runs = plan_chunks(file.energy, VadOptions(), file.activity())

    assert all(run.start < run.end for run in runs)
    assert all(before.end <= after.start for before, after in pairwise(runs))
    covered = np.zeros(len(file), np.bool_)
    for run in runs:
        covered[run.start : run.end] = True
    assert not np.any(file.of(SPEECH, MURMUR) & ~covered)
    # A cut comes after at least 5 s, or in a pause of more than 8 s.
    assert len(runs) <= len(file) / MIN_CHUNK + 1

    loud = file.of(SPEECH)
    silent = file.of(SOUND, HUSH, DEAD)
    believed = bool(len(file)) and silent.mean() <= 0.9
    for run in runs:
        for edge in (run.start, run.end):
            assert edge in (0, len(file)) or not loud[edge - 1 : edge + 1].all()
        # A chain only where there is no pause in speech, if VAD is trusted.
        if run.end - run.start > WINDOW_SAMPLES and believed:
            assert not silent[run.start + WINDOW_SAMPLES - CUT_SEARCH + UNIT : run.start + WINDOW_SAMPLES - UNIT].any()
