"""The arithmetic of a benchmark, by hand-made outcomes whose figures can be told by heart."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.benchmark.figures import Spread, percentile, spread, summarise
from antiphon.benchmark.load_generator import Answer, Outcome


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


def test_the_spread_of_nothing_is_none() -> None:
    assert spread([]) is None
    assert spread([0.5, 0.25]) == Spread(0.25, 0.5, 0.5, 0.5)


def test_figures_keep_refusals_and_failures_out_of_the_latencies() -> None:
    outcomes = [
        Outcome(0, 10.0, 12.0, Answer("200", "a", seconds=6.0, first=10.5)),
        Outcome(1, 11.0, 14.0, Answer("200", "b", seconds=4.0, first=13.0)),
        Outcome(2, 11.0, 11.25, Answer("429")),
        Outcome(3, 12.0, 15.0, Answer("500")),
        Outcome(4, 12.0, 13.0, Answer("no answer")),
    ]
    figures = summarise(outcomes)
    assert (figures.requests, figures.answered, figures.refused, figures.failed) == (5, 2, 1, 2)
    assert figures.statuses == {"200": 2, "429": 1, "500": 1, "no answer": 1}
    assert (figures.seconds, figures.audio_seconds) == (5.0, 10.0)
    assert (figures.rtfx, figures.requests_per_second) == (2.0, 0.4)
    assert figures.latency == Spread(2.0, 3.0, 3.0, 3.0)
    assert figures.first_audio == Spread(0.5, 2.0, 2.0, 2.0)
    assert figures.refusal == Spread(0.25, 0.25, 0.25, 0.25)


def test_nothing_answered_has_no_latency() -> None:
    figures = summarise([Outcome(0, 0.0, 1.0, Answer("429"))])
    assert (figures.rtfx, figures.latency, figures.first_audio) == (0.0, None, None)
