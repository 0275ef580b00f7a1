"""The throughput estimate: audio per second of work, in which the past decays."""

from __future__ import annotations

import pytest

from antiphon.scheduling.throughput import ThroughputEstimate


def test_unknown_until_audio_was_done() -> None:
    estimate = ThroughputEstimate()
    assert estimate.time_for(10.0) is None
    estimate.add(0.0, 2.0)
    assert estimate.time_for(10.0) is None


def test_steady_throughput_is_exact_whatever_the_number_of_turns() -> None:
    for turns in (1, 10, 1000):
        estimate = ThroughputEstimate()
        for _ in range(turns):
            estimate.add(300.0 / turns, 4.0 / turns)
        assert estimate.time_for(75.0) == pytest.approx(1.0)


def test_audio_finished_in_lumps_gives_the_mean() -> None:
    """Seven turns in which no unit ends, then one in which all do."""
    estimate = ThroughputEstimate(half_life_s=100.0)
    for _ in range(20):
        for _ in range(7):
            estimate.add(0.0, 1.0)
        estimate.add(80.0, 1.0)
    assert estimate.time_for(10.0) == pytest.approx(1.0, rel=0.03)


def test_work_one_half_life_ago_counts_half() -> None:
    estimate = ThroughputEstimate(half_life_s=10.0)
    estimate.add(100.0, 10.0)
    estimate.add(0.0, 10.0)
    assert estimate.time_for(1.0) == pytest.approx((10.0 / 2 + 10.0) / (100.0 / 2))
