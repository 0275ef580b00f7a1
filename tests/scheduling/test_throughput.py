"""The pace: a ratio of what was done to how long it took, in which the past fades."""

from __future__ import annotations

import pytest

from antiphon.scheduling.throughput import ThroughputEstimate


def test_nothing_is_known_before_something_was_done() -> None:
    pace = ThroughputEstimate()
    assert pace.time_for(10.0) is None
    pace.add(0.0, 2.0)
    assert pace.time_for(10.0) is None


def test_a_steady_pace_is_found_at_once_whatever_the_turns() -> None:
    for turns in (1, 10, 1000):
        pace = ThroughputEstimate()
        for _ in range(turns):
            pace.add(300.0 / turns, 4.0 / turns)
        assert pace.time_for(75.0) == pytest.approx(1.0)


def test_lumps_do_not_matter() -> None:
    """Seven turns in which nothing ends, then one in which all does."""
    pace = ThroughputEstimate(half_life=100.0)
    for _ in range(20):
        for _ in range(7):
            pace.add(0.0, 1.0)
        pace.add(80.0, 1.0)
    assert pace.time_for(10.0) == pytest.approx(1.0, rel=0.03)


def test_after_a_half_life_the_past_counts_half() -> None:
    pace = ThroughputEstimate(half_life=10.0)
    pace.add(100.0, 10.0)
    pace.add(0.0, 10.0)
    assert pace.time_for(1.0) == pytest.approx((10.0 / 2 + 10.0) / (100.0 / 2))
