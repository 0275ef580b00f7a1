"""The metrics: names, labels, buckets and help, and OVMS's names letter by letter."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from antiphon.errors import ConfigError
from antiphon.telemetry import METRICS, OVMS_BUCKETS_US, Telemetry
from tests.support.prometheus_parse import families, value

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "metrics.md"
# What OVMS shows by default, and what it shows only if listed.
_DEFAULT = """
ovms_streams ovms_current_requests ovms_current_graphs ovms_requests_success ovms_requests_fail ovms_requests_accepted
ovms_requests_rejected ovms_responses ovms_graph_error ovms_graph_processing_time_us ovms_request_time_us
ovms_inference_time_us ovms_wait_for_infer_req_time_us
"""
DEFAULT = _DEFAULT.split()
LISTED = ["ovms_infer_req_queue_size", "ovms_infer_req_active"]


@dataclass(frozen=True)
class Busy:
    name: str = "ears"
    requests: int = 5
    seconds: float = 12.5
    waiting: int = 7
    in_flight: int = 3
    slots: int = 16
    healthy: bool = True


def rendered(*listed: str) -> str:
    telemetry = Telemetry(listed)
    telemetry.model("ears")
    telemetry.record("antiphon_requests_total", task="speech", status="200")
    return telemetry.render([Busy()])


def test_every_metric_is_shown_with_its_own_help() -> None:
    found = families(rendered(*(metric.name for metric in METRICS)))
    assert {name.removesuffix("_total") for name in found} == {metric.name.removesuffix("_total") for metric in METRICS}
    for family in found.values():
        assert family.documentation
        assert family.samples
    assert len({family.documentation for family in found.values()}) == len(METRICS)


def test_default_and_listed_ovms_metrics_are_those_of_ovms() -> None:
    shown = [name for name in families(rendered()) if name.startswith("ovms_")]
    assert sorted(shown) == sorted(DEFAULT)
    assert sorted(families(rendered(*LISTED))) == sorted(LISTED)


def test_ovms_counters_have_no_total_suffix() -> None:
    text = rendered("ovms_responses", "antiphon_requests_total")
    assert "# TYPE ovms_responses counter\n" in text
    assert 'ovms_responses{api="V3",interface="REST",method="Stream",name="ears"} 0.0\n' in text
    assert "# TYPE antiphon_requests_total counter\n" in text
    assert 'antiphon_requests_total{status="200",task="speech"} 1.0\n' in text
    assert "_created" not in text


@pytest.mark.parametrize(
    "name", ["requests_accepted", "requests_rejected", "requests_success", "requests_fail", "responses"]
)
def test_request_metrics_have_ovms_labels(name: str) -> None:
    [family] = families(rendered(f"ovms_{name}")).values()
    common = {"name": "ears", "api": "V3", "interface": "REST"}
    assert [sample.labels for sample in family.samples] == [
        {**common, "method": "Unary"},
        {**common, "method": "Stream"},
    ]


def test_microsecond_buckets_are_those_of_ovms() -> None:
    text = rendered("ovms_request_time_us")
    bounds = [sample.labels["le"] for sample in families(text)["ovms_request_time_us"].samples if "le" in sample.labels]
    assert bounds == [*(str(int(bound)) for bound in OVMS_BUCKETS_US), "+Inf"]
    assert (len(OVMS_BUCKETS_US), bounds[:3], bounds[15], bounds[-2]) == (33, ["10", "18", "32"], "67466", "1474755971")


def test_gauges_are_read_from_the_current_load() -> None:
    telemetry = Telemetry()
    text = telemetry.render([Busy(), Busy("mouth", waiting=1)])
    assert value(text, "antiphon_queue_units", name="ears") == 7
    assert value(text, "antiphon_queue_units", name="mouth") == 1
    assert value(text, "antiphon_units_in_flight", name="ears") == 3
    assert value(text, "antiphon_slots", name="ears") == value(text, "ovms_streams", name="ears", version="1") == 16
    assert value(text, "ovms_current_graphs", name="ears") == 5
    assert "ears" not in telemetry.render([])  # a model that was unloaded


def test_times_are_recorded_in_seconds_and_shown_in_the_metrics_unit() -> None:
    telemetry = Telemetry()
    model = telemetry.model("ears")
    model.record("ovms_wait_for_infer_req_time_us", 0.5)
    model.record("ovms_inference_time_us", 2.0)
    model.record("antiphon_join_seconds", 0.25)
    model.record("antiphon_batch_units", 8)
    model.record("antiphon_step_seconds", 0.125)
    model.record("antiphon_units_total", outcome="done")
    model.record("antiphon_units_total", outcome="failed")
    model.record("antiphon_audio_heard_seconds_total", 30.0)
    model.record("antiphon_audio_skipped_seconds_total", 4.0)
    model.record("antiphon_segments_dropped_total", 2)
    model.record("antiphon_audio_spoken_seconds_total", 1.5)
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


def test_model_name_with_quotes_and_newlines_is_escaped() -> None:
    telemetry = Telemetry()
    name = 'a "b"\\\n# TYPE ovms_x_total le="10.0"'
    telemetry.record("ovms_responses", name=name)
    assert value(telemetry.render([]), "ovms_responses", name=name) == 1


def test_two_servers_in_one_process_have_separate_metrics() -> None:
    one, other = Telemetry(), Telemetry()
    one.record("antiphon_requests_total", task="speech", status="200")
    assert 'task="speech"' not in other.render([])


@pytest.mark.parametrize(
    ("name", "hint"),
    [("ovms_request_success", "ovms_requests_success"), ("x", "There are: antiphon_audio_heard"), ("", "There are")],
)
def test_unknown_metric_in_metrics_list_is_a_config_error_with_a_hint(name: str, hint: str) -> None:
    with pytest.raises(ConfigError, match="metrics_list: there is no metric") as caught:
        Telemetry(["ovms_responses", name])
    assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


def test_docs_list_every_metric_with_its_kind_and_labels() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    documented = {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert documented == {metric.name: (metric.kind, metric.labels) for metric in METRICS}


def test_every_name_recorded_in_the_source_is_a_metric_and_every_metric_is_recorded() -> None:
    names = {metric.name for metric in METRICS if metric.level is None}
    recorded: set[str] = set()
    for path in (ROOT / "src" / "antiphon").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("record", "_record") and node.args:
                texts = (part.value for part in ast.walk(node.args[0]) if isinstance(part, ast.Constant))
                recorded |= {text for text in texts if isinstance(text, str)}
    assert recorded == names


def test_all_metrics_of_a_model_start_at_zero() -> None:
    telemetry = Telemetry()
    telemetry.model("ears")
    text = telemetry.render([])
    for reason in ("units", "seconds", "requests", "deadline"):
        assert value(text, "antiphon_refused_total", name="ears", reason=reason) == 0
    for metric in METRICS:
        if metric.default and metric.level is None and "name" in metric.labels:
            sample = f"{metric.name}_count" if metric.kind == "histogram" else metric.name
            assert value(text, sample, name="ears") == 0
