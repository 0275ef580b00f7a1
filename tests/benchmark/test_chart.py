"""Charts: throughput adds up, and the file is an SVG or a PNG."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from antiphon.benchmark.chart import check_chart, draw_chart, throughput
from antiphon.benchmark.load_generator import Measurement, Response
from antiphon.errors import ConfigError

MEASUREMENTS = [
    Measurement(0, 100.0, 102.0, Response("200", seconds=8.0)),
    Measurement(1, 101.0, 103.0, Response("200", seconds=2.0)),
    Measurement(2, 101.0, 101.1, Response("429")),
]


def test_throughput_spreads_audio_over_the_time_it_took() -> None:
    edges, rates = throughput(MEASUREMENTS)
    assert (edges[0], edges[-1]) == (0.0, 3.0)
    assert float(np.sum(rates * np.diff(edges))) == pytest.approx(10.0)
    np.testing.assert_allclose(rates[[0, 15, 29]], [4.0, 5.0, 1.0])


@pytest.mark.parametrize("name", ["chart.svg", "chart.png"])
def test_chart_is_svg_or_png(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    check_chart(path)
    draw_chart(MEASUREMENTS, "two clients", path)
    data = path.read_bytes()
    if name.endswith("svg"):
        assert ElementTree.fromstring(data).tag.endswith("svg")
    else:
        assert data.startswith(b"\x89PNG")


def test_chart_without_completed_requests(tmp_path: Path) -> None:
    draw_chart([Measurement(0, 0.0, 1.0, Response("500"))], "nothing", tmp_path / "chart.svg")


@pytest.mark.parametrize(
    ("name", "why"), [("chart.gif", r"does not end in \.svg or \.png"), ("no/chart.svg", "no folder")]
)
def test_chart_that_cannot_be_written_is_a_config_error(tmp_path: Path, name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        check_chart(tmp_path / name)
    (tmp_path / "taken.svg").mkdir()
    with pytest.raises(ConfigError, match=r"taken\.svg cannot be written"):
        draw_chart(MEASUREMENTS, "", tmp_path / "taken.svg")


def test_missing_extra_is_a_config_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(
        ConfigError, match=r"chart: matplotlib is not installed; pip install 'antiphon\[bench\]' installs it"
    ):
        check_chart(tmp_path / "chart.svg")
