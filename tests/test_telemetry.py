"""What is counted and how it reads, OVMS's names letter by letter."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from antiphon.errors import ConfigError
from antiphon.telemetry import FAMILIES, MICROSECONDS, Telemetry
from tests.support.prometheus_parse import families, value

PAGE = Path(__file__).parent.parent / "docs" / "metrics.md"
# What OVMS shows unasked, and what it shows only if it is listed.
_USUAL = """
ovms_streams ovms_current_requests ovms_current_graphs ovms_requests_success ovms_requests_fail ovms_requests_accepted
ovms_requests_rejected ovms_responses ovms_graph_error ovms_graph_processing_time_us ovms_request_time_us
ovms_inference_time_us ovms_wait_for_infer_req_time_us
"""
USUAL = _USUAL.split()
LISTED = ["ovms_infer_req_queue_size", "ovms_infer_req_active"]


@dataclass(frozen=True)
class Busy:
    name: str = "ears"
    requests: int = 5
    seconds: float = 12.5
    waiting: int = 7
    in_flight: int = 3
    slots: int = 16


def rendered(*listed: str) -> str:
    telemetry = Telemetry(listed)
    telemetry.model("ears")
    telemetry.answered("speech", 200)
    return telemetry.render([Busy()])


def test_every_family_is_shown_with_a_help_of_its_own() -> None:
    found = families(rendered(*(family.name for family in FAMILIES)))
    assert {name.removesuffix("_total") for name in found} == {
        family.name.removesuffix("_total") for family in FAMILIES
    }
    for family in found.values():
        assert family.documentation
        assert family.samples
    assert len({family.documentation for family in found.values()}) == len(FAMILIES)


def test_ovms_names_are_ovms_names() -> None:
    shown = [name for name in families(rendered()) if name.startswith("ovms_")]
    assert sorted(shown) == sorted(USUAL)
    assert sorted(families(rendered(*LISTED))) == sorted(LISTED)


def test_a_counter_of_ovms_has_no_suffix_and_is_a_counter() -> None:
    text = rendered("ovms_responses", "antiphon_requests_total")
    assert "# TYPE ovms_responses counter\n" in text
    assert 'ovms_responses{api="V3",interface="REST",method="Stream",name="ears"} 0.0\n' in text
    assert "# TYPE antiphon_requests_total counter\n" in text
    assert 'antiphon_requests_total{status="200",task="speech"} 1.0\n' in text
    assert "_created" not in text


@pytest.mark.parametrize(
    "name", ["requests_accepted", "requests_rejected", "requests_success", "requests_fail", "responses"]
)
def test_requests_have_ovms_labels(name: str) -> None:
    [family] = families(rendered(f"ovms_{name}")).values()
    common = {"name": "ears", "api": "V3", "interface": "REST"}
    assert [sample.labels for sample in family.samples] == [
        {**common, "method": "Unary"},
        {**common, "method": "Stream"},
    ]


def test_buckets_are_ovms_buckets() -> None:
    text = rendered("ovms_request_time_us")
    bounds = [sample.labels["le"] for sample in families(text)["ovms_request_time_us"].samples if "le" in sample.labels]
    assert bounds == [*(str(int(bound)) for bound in MICROSECONDS), "+Inf"]
    assert (len(MICROSECONDS), bounds[:3], bounds[15], bounds[-2]) == (33, ["10", "18", "32"], "67466", "1474755971")


def test_levels_are_those_of_the_moment() -> None:
    telemetry = Telemetry()
    text = telemetry.render([Busy(), Busy("mouth", waiting=1)])
    assert value(text, "antiphon_queue_units", name="ears") == 7
    assert value(text, "antiphon_queue_units", name="mouth") == 1
    assert value(text, "antiphon_units_in_flight", name="ears") == 3
    assert value(text, "antiphon_slots", name="ears") == value(text, "ovms_streams", name="ears", version="1") == 16
    assert value(text, "ovms_current_graphs", name="ears") == 5
    assert "ears" not in telemetry.render([])  # a model that was let go


def test_what_is_told_is_counted_in_its_unit() -> None:
    telemetry = Telemetry()
    model = telemetry.model("ears")
    model.waited(0.5)
    model.worked(2.0)
    model.joined(0.25)
    model.stepped(8, 0.125)
    model.ended(failed=False)
    model.ended(failed=True)
    model.heard(30.0, 4.0)
    model.dropped(2)
    model.spoken(1.5)
    text = telemetry.render([])
    assert value(text, "ovms_wait_for_infer_req_time_us_sum", name="ears") == 500_000
    assert value(text, "ovms_inference_time_us_sum", name="ears") == 2_000_000
    assert value(text, "antiphon_join_seconds_sum", name="ears") == 0.25
    assert value(text, "antiphon_batch_units_bucket", name="ears", le="6.0") == 0
    assert value(text, "antiphon_batch_units_bucket", name="ears", le="8.0") == 1
    assert value(text, "antiphon_step_seconds_sum", name="ears") == 0.125
    assert value(text, "antiphon_units_total", name="ears", outcome="done") == 1
    assert value(text, "antiphon_units_total", name="ears", outcome="failed") == 1
    assert value(text, "antiphon_audio_heard_seconds_total", name="ears") == 30
    assert value(text, "antiphon_audio_skipped_seconds_total", name="ears") == 4
    assert value(text, "antiphon_segments_dropped_total", name="ears") == 2
    assert value(text, "antiphon_audio_spoken_seconds_total", name="ears") == 1.5


def test_a_name_with_quotes_and_lines_reads_back() -> None:
    telemetry = Telemetry()
    name = 'a "b"\\\n# TYPE ovms_x_total le="10.0"'
    telemetry.calls(name, streamed=False).responses.inc()
    assert value(telemetry.render([]), "ovms_responses", name=name) == 1


def test_two_servers_in_a_process_count_apart() -> None:
    one, other = Telemetry(), Telemetry()
    one.answered("speech", 200)
    assert 'task="speech"' not in other.render([])


@pytest.mark.parametrize(
    ("name", "hint"),
    [("ovms_request_success", "ovms_requests_success"), ("x", "There are: antiphon_audio_heard"), ("", "There are")],
)
def test_a_metric_that_nobody_has_is_refused(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match="metrics_list: there is no metric") as caught:
        Telemetry(["ovms_responses", name])
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_page_has_every_metric_with_its_labels() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    told = {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert told == {family.name: (family.kind, family.labels) for family in FAMILIES}
