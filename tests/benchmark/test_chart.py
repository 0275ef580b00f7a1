"""The picture: throughput adds up, and what is written is an SVG or a PNG."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from antiphon.benchmark.chart import check_chart, draw_chart, throughput
from antiphon.benchmark.load_generator import Answer, Outcome
from antiphon.errors import ConfigError

OUTCOMES = [
    Outcome(0, 100.0, 102.0, Answer("200", seconds=8.0)),
    Outcome(1, 101.0, 103.0, Answer("200", seconds=2.0)),
    Outcome(2, 101.0, 101.1, Answer("429")),
]


def test_throughput_spreads_audio_over_the_time_it_took() -> None:
    edges, rates = throughput(OUTCOMES)
    assert (edges[0], edges[-1]) == (0.0, 3.0)
    assert float(np.sum(rates * np.diff(edges))) == pytest.approx(10.0)
    np.testing.assert_allclose(rates[[0, 15, 29]], [4.0, 5.0, 1.0])


@pytest.mark.parametrize("name", ["chart.svg", "chart.png"])
def test_a_picture_is_written(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    check_chart(path)
    draw_chart(OUTCOMES, "two clients", path)
    data = path.read_bytes()
    if name.endswith("svg"):
        assert ElementTree.fromstring(data).tag.endswith("svg")
    else:
        assert data.startswith(b"\x89PNG")


def test_nothing_answered_is_drawn_too(tmp_path: Path) -> None:
    draw_chart([Outcome(0, 0.0, 1.0, Answer("500"))], "nothing", tmp_path / "chart.svg")


@pytest.mark.parametrize(("name", "why"), [("chart.gif", "ends in .svg or .png"), ("no/chart.svg", "no folder")])
def test_a_chart_that_cannot_be_is_told(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        check_chart(tmp_path / name)
    (tmp_path / "taken.svg").mkdir()
    with pytest.raises(ConfigError, match="cannot write it"):
        draw_chart(OUTCOMES, "", tmp_path / "taken.svg")


def test_what_is_not_installed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ConfigError, match="--chart needs matplotlib, which is not installed"):
        check_chart(tmp_path / "chart.svg")
