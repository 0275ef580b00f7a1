"""Figures of hand-made measurements."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.benchmark.figures import Percentiles, percentile, percentiles, summarise
from antiphon.benchmark.load_generator import Measurement, Response


@pytest.mark.parametrize(
    ("values", "percent", "found"),
    [
        ([7.0], 50, 7.0),
        ([7.0], 99, 7.0),
        ([4.0, 1.0, 3.0, 2.0], 50, 2.0),
        ([4.0, 1.0, 3.0, 2.0], 51, 3.0),
        ([4.0, 1.0, 3.0, 2.0], 75, 3.0),
        ([float(n) for n in range(1, 101)], 95, 95.0),
        ([float(n) for n in range(1, 101)], 99, 99.0),
        ([float(n) for n in range(1, 102)], 99, 100.0),
        ([1.0, 2.0], 100, 2.0),
    ],
)
def test_percentiles_are_by_nearest_rank(values: list[float], percent: float, found: float) -> None:
    assert percentile(values, percent) == found


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=200), st.sampled_from([50.0, 95.0, 99.0, 100.0]))
def test_percentiles_are_numpys(values: list[float], percent: float) -> None:
    assert percentile(values, percent) == np.percentile(values, percent, method="inverted_cdf")


def test_percentiles_of_no_values_are_none() -> None:
    assert percentiles([]) is None
    assert percentiles([0.5, 0.25]) == Percentiles(0.25, 0.5, 0.5, 0.5)


def test_latency_excludes_429_and_failures() -> None:
    outcomes = [
        Measurement(0, 10.0, 12.0, Response("200", "a", seconds=6.0, first_audio=10.5)),
        Measurement(1, 11.0, 14.0, Response("200", "b", seconds=4.0, first_audio=13.0)),
        Measurement(2, 11.0, 11.25, Response("429")),
        Measurement(3, 12.0, 15.0, Response("500")),
        Measurement(4, 12.0, 13.0, Response("no answer")),
    ]
    figures = summarise(outcomes)
    assert (figures.requests, figures.answered, figures.refused, figures.failed) == (5, 2, 1, 2)
    assert figures.statuses == {"200": 2, "429": 1, "500": 1, "no answer": 1}
    assert (figures.seconds, figures.audio_seconds) == (5.0, 10.0)
    assert (figures.rtfx, figures.requests_per_second) == (2.0, 0.4)
    assert figures.latency == Percentiles(2.0, 3.0, 3.0, 3.0)
    assert figures.first_audio == Percentiles(0.5, 2.0, 2.0, 2.0)
    assert figures.refusal == Percentiles(0.25, 0.25, 0.25, 0.25)


def test_latency_without_completed_requests_is_none() -> None:
    figures = summarise([Measurement(0, 0.0, 1.0, Response("429"))])
    assert (figures.rtfx, figures.latency, figures.first_audio) == (0.0, None, None)
