"""Time stretching: length, pitch, and independence of the block sizes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.audio.time_stretch import TimeStretcher
from antiphon.types.audio import Samples
from tests.support.sounds import tone

SPEEDS = [0.25, 0.3, 0.5, 0.75, 0.9, 1.1, 1.5, 2.0, 2.5, 3.0, 4.0]


def stretch(samples: Samples, rate: int, speed: float, *, block: int | None = None) -> Samples:
    stream = TimeStretcher(rate, speed)
    step = block or max(1, len(samples))
    pieces = [stream.push(samples[start : start + step]) for start in range(0, len(samples), step)]
    return np.concatenate([*pieces, stream.finish()])


@pytest.mark.parametrize("rate", [16_000, 24_000])
@pytest.mark.parametrize("speed", SPEEDS)
def test_time_stretch_changes_length_and_keeps_pitch(speed: float, rate: int) -> None:
    samples = stretch(tone(3.0, rate), rate, speed)
    assert samples.dtype == np.float32
    assert len(samples) == round(3 * rate / speed)
    middle = samples[len(samples) // 8 : -len(samples) // 8]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert spectrum.argmax() * rate / len(middle) == pytest.approx(440, rel=0.01)
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.1)


@pytest.mark.parametrize("speed", SPEEDS)
def test_time_stretch_keeps_relative_positions(speed: float) -> None:
    """Half a second of tone after a second of silence."""
    rate = 24_000
    quiet = np.zeros(rate, np.float32)
    samples = stretch(np.concatenate([quiet, tone(0.5, rate), quiet]), rate, speed)
    sounding = np.flatnonzero(np.abs(samples) > 0.25) / rate
    assert sounding[0] == pytest.approx(1.0 / speed, abs=0.05 / min(speed, 1.0))
    assert sounding[-1] == pytest.approx(1.5 / speed, abs=0.05 / min(speed, 1.0))


def test_speed_1_passes_samples_through() -> None:
    stream = TimeStretcher(24_000, 1.0)
    samples = tone(0.1, 24_000)
    assert stream.push(samples) is samples
    assert stream.finish().size == 0


@settings(derandomize=True, deadline=None, max_examples=40)
@given(
    cuts=st.lists(st.integers(0, 20_000), max_size=40),
    total=st.integers(0, 20_000),
    speed=st.floats(0.25, 4.0),
    rate=st.sampled_from([8_000, 16_000, 22_050, 24_000]),
)
def test_block_sizes_do_not_change_the_result(cuts: list[int], total: int, speed: float, rate: int) -> None:
    samples = tone(20_000 / rate, rate, 300.0)[:total]
    stream = TimeStretcher(rate, speed)
    pieces = [stream.push(piece) for piece in np.split(samples, sorted(cuts))]
    result = np.concatenate([*pieces, stream.finish()])
    assert len(result) == round(total / speed)
    np.testing.assert_array_equal(result, stretch(samples, rate, speed))


@pytest.mark.parametrize("speed", [0.25, 0.9, 1.0, 4.0])
def test_empty_input_gives_empty_output(speed: float) -> None:
    assert stretch(np.empty(0, np.float32), 24_000, speed).size == 0


@pytest.mark.parametrize("speed", SPEEDS)
def test_at_most_0_35_s_is_held_back(speed: float) -> None:
    rate, block = 24_000, 240
    stream = TimeStretcher(rate, speed)
    returned = 0
    for start in range(0, rate, block):
        returned += len(stream.push(tone(1.0, rate)[start : start + block]))
        assert returned * speed >= start + block - 0.35 * rate
        assert returned * speed <= start + block


@pytest.mark.parametrize("speed", [0.0, -1.0, 0.249, 4.001, float("nan"), float("inf")])
def test_speed_out_of_range_raises(speed: float) -> None:
    with pytest.raises(ValueError, match=r"The speed must be from 0\.25 to 4"):
        TimeStretcher(24_000, speed)
