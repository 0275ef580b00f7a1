"""SpeechActivity: lazy VAD whose results do not depend on earlier queries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.transcription.energy import Span
from antiphon.transcription.vad import BLOCK_FRAMES, FRAME_SAMPLES, SpeechActivity
from antiphon.types.audio import SAMPLE_RATE
from antiphon.types.options import VadOptions
from tests.support.speech_map import DEAD, HUSH, SOUND, SPEECH, UNIT, Map, MapDetectors

TALK = ((SOUND, 60), (SPEECH, 30), (HUSH, 2), (SPEECH, 40), (SOUND, 100), (SPEECH, 1))


def test_vad_next_speech() -> None:
    file = Map(TALK)
    activity = file.activity()
    assert activity.next_speech(0) == 60 * UNIT
    assert activity.next_speech(70 * UNIT + 7) == 70 * UNIT + 7
    assert activity.next_speech(90 * UNIT) == 92 * UNIT
    assert activity.next_speech(140 * UNIT) == 232 * UNIT  # one unit is 160 ms
    assert activity.next_speech(len(file)) == len(file)
    assert activity.next_speech(140 * UNIT, 200 * UNIT) == 200 * UNIT


def test_speech_seconds_are_counted_lazily() -> None:
    file = Map(TALK)
    assert file.activity().seconds(0, len(file)) == pytest.approx(71 * UNIT / SAMPLE_RATE)
    assert file.activity().seconds(50 * UNIT, 65 * UNIT) == pytest.approx(5 * UNIT / SAMPLE_RATE)
    activity = file.activity()
    assert activity.seconds(60 * UNIT, len(file), enough=0.5) >= 0.5
    assert activity.analysed_seconds < 3.0
    assert file.activity().seconds(5, 5) == 0.0
    assert file.activity().share() == pytest.approx(71 / 233)


def test_speech_seconds_with_padding() -> None:
    """Padded speech before and after a range reaches into it, and nothing is counted twice."""
    activity = Map(((SOUND, 60), (SPEECH, 30), (HUSH, 2), (SPEECH, 40), (SOUND, 100))).activity()
    second = UNIT / SAMPLE_RATE
    assert activity.seconds(0, 60 * UNIT, padding=2 * UNIT) == pytest.approx(2 * second)
    assert activity.seconds(50 * UNIT, 140 * UNIT, padding=2 * UNIT) == pytest.approx(76 * second)
    assert activity.seconds(133 * UNIT, 160 * UNIT, padding=2 * UNIT) == pytest.approx(second)
    assert activity.seconds(134 * UNIT, 160 * UNIT, padding=2 * UNIT) == 0.0


def test_vad_pauses() -> None:
    activity = Map(TALK).activity()
    assert activity.pauses(60 * UNIT, 140 * UNIT) == [
        Span(90 * UNIT, 92 * UNIT),
        Span(132 * UNIT, 140 * UNIT),
    ]
    longer = Map(TALK).activity(VadOptions(silence=0.5))
    assert longer.pauses(60 * UNIT, 140 * UNIT) == [Span(132 * UNIT, 140 * UNIT)]


def test_vad_long_pause() -> None:
    activity = Map(TALK).activity()
    assert activity.long_pause(60 * UNIT, 233 * UNIT, 8 * SAMPLE_RATE) == Span(132 * UNIT, 232 * UNIT)
    assert activity.long_pause(60 * UNIT, 233 * UNIT, 17 * SAMPLE_RATE) is None
    assert activity.long_pause(60 * UNIT, 140 * UNIT, 8 * SAMPLE_RATE) is None


def test_vad_ignores_speech_shorter_than_96_ms() -> None:
    class Clicks(MapDetectors):
        def probabilities(self, samples: np.ndarray) -> np.ndarray:
            return (np.arange(-(-len(samples) // FRAME_SAMPLES)) % 8 < 2).astype(np.float32)

    file = Map([(SOUND, 100)])
    assert SpeechActivity(file, file.energy, Clicks(), VadOptions()).next_speech(0) == len(file)  # type: ignore[arg-type]


def test_vad_threshold_option() -> None:
    class Unsure(MapDetectors):
        def probabilities(self, samples: np.ndarray) -> np.ndarray:
            return np.full(-(-len(samples) // FRAME_SAMPLES), 0.4, np.float32)

    file = Map([(SOUND, 100)])
    for threshold, start in ((0.35, 0), (0.5, len(file))):
        activity = SpeechActivity(file, file.energy, Unsure(), VadOptions(threshold=threshold))  # type: ignore[arg-type]
        assert activity.next_speech(0) == start


def test_vad_does_not_run_on_dead_air() -> None:
    file = Map([(DEAD, 4_000), (SPEECH, 10), (DEAD, 4_000)])
    detectors = MapDetectors()
    activity = SpeechActivity(file, file.energy, detectors, VadOptions())  # type: ignore[arg-type]
    assert activity.share() < 0.01
    assert detectors.frames <= 4 * 2 * BLOCK_FRAMES


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from([SPEECH, SOUND, DEAD]), st.integers(1, 40)), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), max_size=6),
)
def test_vad_results_do_not_depend_on_earlier_queries(
    stretches: list[tuple[int, int]], queries: list[tuple[int, int]]
) -> None:
    file = Map(stretches)
    activity = file.activity()
    for one, other in queries:
        start, end = sorted((min(one * UNIT, len(file)), min(other * UNIT, len(file))))
        expected = file.of(SPEECH)[start:end].sum() / SAMPLE_RATE
        assert activity.seconds(start, end) == pytest.approx(expected)
    spoken = np.flatnonzero(file.of(SPEECH))
    assert activity.next_speech(0) == (spoken[0] if len(spoken) else len(file))
