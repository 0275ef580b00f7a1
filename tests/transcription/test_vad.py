"""Where somebody speaks: found a block at a time, the same whatever was asked before, and dead air is not looked at."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.transcription.energy import Span
from antiphon.transcription.silero import FRAME
from antiphon.transcription.vad import BLOCK, Voice
from antiphon.types.audio import SAMPLE_RATE
from antiphon.types.options import VadOptions
from tests.support.speech_map import DEAD, HUSH, SOUND, SPEECH, UNIT, Knowing, Map

TALK = ((SOUND, 60), (SPEECH, 30), (HUSH, 2), (SPEECH, 40), (SOUND, 100), (SPEECH, 1))


def test_the_next_speech() -> None:
    file = Map(TALK)
    voice = file.voice()
    assert voice.next_speech(0) == 60 * UNIT
    assert voice.next_speech(70 * UNIT + 7) == 70 * UNIT + 7
    assert voice.next_speech(90 * UNIT) == 92 * UNIT
    assert voice.next_speech(140 * UNIT) == 232 * UNIT  # one unit is 160 ms
    assert voice.next_speech(len(file)) == len(file)
    assert voice.next_speech(140 * UNIT, 200 * UNIT) == 200 * UNIT


def test_seconds_are_counted_as_far_as_needed() -> None:
    file = Map(TALK)
    assert file.voice().seconds(0, len(file)) == pytest.approx(71 * UNIT / SAMPLE_RATE)
    assert file.voice().seconds(50 * UNIT, 65 * UNIT) == pytest.approx(5 * UNIT / SAMPLE_RATE)
    voice = file.voice()
    assert voice.seconds(60 * UNIT, len(file), enough=0.5) >= 0.5
    assert voice.seconds_looked_at < 3.0
    assert file.voice().seconds(5, 5) == 0.0
    assert file.voice().share() == pytest.approx(71 / 233)


def test_seconds_with_padding() -> None:
    """What is spoken just before and behind a stretch reaches into it, and nothing is counted twice."""
    voice = Map(((SOUND, 60), (SPEECH, 30), (HUSH, 2), (SPEECH, 40), (SOUND, 100))).voice()
    second = UNIT / SAMPLE_RATE
    assert voice.seconds(0, 60 * UNIT, padding=2 * UNIT) == pytest.approx(2 * second)
    assert voice.seconds(50 * UNIT, 140 * UNIT, padding=2 * UNIT) == pytest.approx(76 * second)
    assert voice.seconds(133 * UNIT, 160 * UNIT, padding=2 * UNIT) == pytest.approx(second)
    assert voice.seconds(134 * UNIT, 160 * UNIT, padding=2 * UNIT) == 0.0


def test_pauses() -> None:
    voice = Map(TALK).voice()
    assert voice.pauses(60 * UNIT, 140 * UNIT) == [
        Span(90 * UNIT, 92 * UNIT),
        Span(132 * UNIT, 140 * UNIT),
    ]
    longer = Map(TALK).voice(VadOptions(silence=0.5))
    assert longer.pauses(60 * UNIT, 140 * UNIT) == [Span(132 * UNIT, 140 * UNIT)]


def test_a_long_pause() -> None:
    voice = Map(TALK).voice()
    assert voice.long_pause(60 * UNIT, 233 * UNIT, 8 * SAMPLE_RATE) == Span(132 * UNIT, 232 * UNIT)
    assert voice.long_pause(60 * UNIT, 233 * UNIT, 17 * SAMPLE_RATE) is None
    assert voice.long_pause(60 * UNIT, 140 * UNIT, 8 * SAMPLE_RATE) is None


def test_speech_that_is_too_short_is_none() -> None:
    class Clicks(Knowing):
        def probabilities(self, samples: np.ndarray) -> np.ndarray:
            return (np.arange(-(-len(samples) // FRAME)) % 8 < 2).astype(np.float32)

    file = Map([(SOUND, 100)])
    assert Voice(file, file.loudness, Clicks(), VadOptions()).next_speech(0) == len(file)  # type: ignore[arg-type]


def test_the_threshold_is_as_asked() -> None:
    class Unsure(Knowing):
        def probabilities(self, samples: np.ndarray) -> np.ndarray:
            return np.full(-(-len(samples) // FRAME), 0.4, np.float32)

    file = Map([(SOUND, 100)])
    for threshold, start in ((0.35, 0), (0.5, len(file))):
        voice = Voice(file, file.loudness, Unsure(), VadOptions(threshold=threshold))  # type: ignore[arg-type]
        assert voice.next_speech(0) == start


def test_dead_air_costs_nothing() -> None:
    file = Map([(DEAD, 4_000), (SPEECH, 10), (DEAD, 4_000)])
    detectors = Knowing()
    voice = Voice(file, file.loudness, detectors, VadOptions())  # type: ignore[arg-type]
    assert voice.share() < 0.01
    assert detectors.frames <= 4 * 2 * BLOCK


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from([SPEECH, SOUND, DEAD]), st.integers(1, 40)), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), max_size=6),
)
def test_what_is_found_does_not_depend_on_what_was_asked(
    stretches: list[tuple[int, int]], asked: list[tuple[int, int]]
) -> None:
    file = Map(stretches)
    voice = file.voice()
    for one, other in asked:
        start, end = sorted((min(one * UNIT, len(file)), min(other * UNIT, len(file))))
        expected = file.of(SPEECH)[start:end].sum() / SAMPLE_RATE
        assert voice.seconds(start, end) == pytest.approx(expected)
    spoken = np.flatnonzero(file.of(SPEECH))
    assert voice.next_speech(0) == (spoken[0] if len(spoken) else len(file))
