"""What is counted: every metric's name, labels and buckets, the registry a server has of its own, and its text.

It must not know who counts, nor HTTP: calls, models and their load are told to it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from operator import attrgetter
from typing import Any, Literal, Protocol, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from antiphon.errors import ConfigError, Refusal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OVMS = "ovms_"
# OVMS's: 33 of them, in whole microseconds, from 10 to 24 minutes.
MICROSECONDS = tuple(float(math.floor(10 * 1.8**power)) for power in range(33))
_BATCHES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0, 128.0, 256.0)
_STEPS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_PATIENCE = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)

# What every model says of itself to OVMS's dashboards: there is one version of each, and this is how it is asked.
_FIXED = {"version": "1", "api": "V3", "interface": "REST"}
_NAME = ("name",)
_MODEL = ("name", "version")
_CALL = ("name", "api", "method", "interface")


class Load(Protocol):
    """How busy a model is at this moment: its requests and their seconds, its units waiting and in flight, its slots."""

    @property
    def name(self) -> str: ...
    @property
    def requests(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def waiting(self) -> int: ...
    @property
    def in_flight(self) -> int: ...
    @property
    def slots(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Family:
    """One metric under the name it is read by. `level` reads it off a model's load; others are counted as things happen."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()
    level: Callable[[Load], float] | None = None
    usual: bool = True  # without a list; OVMS has two that are not


def _counter(name: str, labels: tuple[str, ...], text: str) -> Family:
    return Family(name, "counter", labels, text)


def _histogram(name: str, labels: tuple[str, ...], buckets: tuple[float, ...], text: str) -> Family:
    return Family(name, "histogram", labels, text, buckets)


def _level(name: str, labels: tuple[str, ...], field: str, text: str, *, usual: bool = True) -> Family:
    return Family(name, "gauge", labels, text, level=attrgetter(field), usual=usual)


FAMILIES: tuple[Family, ...] = (
    # OVMS's. accepted + rejected are all requests for a model; accepted = success + fail + those being answered.
    _counter("ovms_requests_accepted", _CALL, "Requests that were let in, counted when their answer begins."),
    _counter("ovms_requests_rejected", _CALL, "Requests turned away because the queue was full or the server closing."),
    _counter("ovms_requests_success", _CALL, "Requests that were let in and got their whole answer."),
    _counter("ovms_requests_fail", _CALL, "Requests that were let in and got an error, or hung up."),
    _counter("ovms_graph_error", _CALL, "The same as ovms_requests_fail, where OVMS counts it for graphs."),
    _counter("ovms_responses", _CALL, "Answers; of a stream, its pieces."),
    Family("ovms_current_requests", "gauge", _MODEL, "Requests being read, worked on or answered."),
    _level("ovms_current_graphs", _NAME, "requests", "Requests that have something waiting or in flight."),
    _level("ovms_streams", _MODEL, "slots", "How many windows or sentences a model works on side by side."),
    _histogram(
        "ovms_request_time_us",
        (*_MODEL, "interface"),
        MICROSECONDS,
        "Microseconds from a request's first byte to its answer's last, upload included; successful ones.",
    ),
    _histogram(
        "ovms_graph_processing_time_us",
        ("name", "method"),
        MICROSECONDS,
        "Microseconds from the end of a request's upload to its answer's last byte; successful ones.",
    ),
    _histogram(
        "ovms_wait_for_infer_req_time_us",
        _MODEL,
        MICROSECONDS,
        "Microseconds a request waits in the queue until the first of its windows or sentences has a slot.",
    ),
    _histogram(
        "ovms_inference_time_us",
        _MODEL,
        MICROSECONDS,
        "Microseconds from then until the model has done the last of them.",
    ),
    _level("ovms_infer_req_queue_size", _MODEL, "slots", "The same as ovms_streams.", usual=False),
    _level("ovms_infer_req_active", _MODEL, "in_flight", "Slots that are taken.", usual=False),
    # Antiphon's own.
    _counter("antiphon_requests_total", ("task", "status"), "Requests for a task, by the status of their answer."),
    _counter("antiphon_audio_heard_seconds_total", _NAME, "Seconds of audio that were transcribed, silence included."),
    _counter("antiphon_audio_skipped_seconds_total", _NAME, "Those of them that were skipped as silence."),
    _counter("antiphon_segments_dropped_total", _NAME, "Segments left out because nobody spoke where they were heard."),
    _counter("antiphon_audio_spoken_seconds_total", _NAME, "Seconds of audio that were spoken."),
    _counter("antiphon_units_total", ("name", "outcome"), "Windows and sentences that ended: done or failed."),
    _counter(
        "antiphon_refused_total", ("name", "reason"), "Times that a request got 429, by what there was too much of."
    ),
    _level("antiphon_queue_units", _NAME, "waiting", "Windows and sentences that wait for a slot."),
    _level("antiphon_queue_seconds", _NAME, "seconds", "Audio of the requests inside that is not done."),
    _level("antiphon_units_in_flight", _NAME, "in_flight", "Windows and sentences that have one."),
    _level("antiphon_slots", _NAME, "slots", "How many can have one."),
    _histogram("antiphon_batch_units", _NAME, _BATCHES, "Windows and sentences that a step advanced together."),
    _histogram("antiphon_step_seconds", _NAME, _STEPS, "Seconds that a step took."),
    _histogram(
        "antiphon_join_seconds", _NAME, _STEPS, "Seconds that newcomers took to join the batch: their encoding."
    ),
    _histogram(
        "antiphon_first_audio_seconds", _NAME, _PATIENCE, "Seconds from a request for speech to its first sound."
    ),
)


class Telemetry:
    """One server's metrics. `listed` are the names of those to show; none means the usual ones.

    Every method may be called from any thread. ConfigError for a name that no metric has.
    """

    def __init__(self, listed: Sequence[str] = ()) -> None:
        families = {family.name: family for family in FAMILIES}
        for name in listed:
            if name not in families:
                raise ConfigError(f"metrics_list: there is no metric {name!r}.{_hint(name, families)}")
        self._shown = {name for name, family in families.items() if (name in listed if listed else family.usual)}
        self._registry = CollectorRegistry()
        self._counted = {
            name: (_metric(family, self._registry), family.labels)
            for name, family in families.items()
            if family.level is None
        }
        self._calls: dict[tuple[str, bool], Calls] = {}  # looking ten of them up takes 0.2 ms

    def model(self, name: str) -> ModelTelemetry:
        """Where a model's work is counted. From now on all that is counted of it is shown, with zeros."""
        for streamed in (False, True):
            self.calls(name, streamed=streamed)
        return ModelTelemetry(
            waiting=self._child("ovms_wait_for_infer_req_time_us", name=name),
            working=self._child("ovms_inference_time_us", name=name),
            join=self._child("antiphon_join_seconds", name=name),
            step=self._child("antiphon_step_seconds", name=name),
            batch=self._child("antiphon_batch_units", name=name),
            done=self._child("antiphon_units_total", name=name, outcome="done"),
            failed_units=self._child("antiphon_units_total", name=name, outcome="failed"),
            refusals={
                reason: self._child("antiphon_refused_total", name=name, reason=reason) for reason in get_args(Refusal)
            },
            heard_seconds=self._child("antiphon_audio_heard_seconds_total", name=name),
            skipped_seconds=self._child("antiphon_audio_skipped_seconds_total", name=name),
            dropped_segments=self._child("antiphon_segments_dropped_total", name=name),
            spoken_seconds=self._child("antiphon_audio_spoken_seconds_total", name=name),
        )

    def calls(self, name: str, *, streamed: bool) -> Calls:
        """Where requests for a model are counted, whose answers are asked for in one piece or as a stream."""
        known = self._calls.get((name, streamed))
        if known is None:
            known = self._calls[name, streamed] = self._new_calls(name, "Stream" if streamed else "Unary")
        return known

    def answered(self, task: str, status: int) -> None:
        """A request for a task began to be answered, whatever model it was for."""
        self._child("antiphon_requests_total", task=task, status=str(status)).inc()

    def render(self, loads: Iterable[Load]) -> str:
        """All that is to be shown, in Prometheus's text format; `loads` are those of the models served now."""
        text = generate_latest(_Shown(self._registry, self._shown, tuple(loads))).decode()
        # The library ends every counter in _total; OVMS's do not, and dashboards ask for them as they are.
        return re.sub(rf"^# (HELP|TYPE) ({OVMS}\w+)_total ", r"# \1 \2 ", text, flags=re.MULTILINE)

    def _new_calls(self, name: str, method: str) -> Calls:
        return Calls(
            accepted=self._child("ovms_requests_accepted", name=name, method=method),
            rejected=self._child("ovms_requests_rejected", name=name, method=method),
            success=self._child("ovms_requests_success", name=name, method=method),
            fail=self._child("ovms_requests_fail", name=name, method=method),
            error=self._child("ovms_graph_error", name=name, method=method),
            responses=self._child("ovms_responses", name=name, method=method),
            current=self._child("ovms_current_requests", name=name),
            request_time=self._child("ovms_request_time_us", name=name),
            processing_time=self._child("ovms_graph_processing_time_us", name=name, method=method),
            first_audio=self._child("antiphon_first_audio_seconds", name=name),
        )

    def _child(self, family: str, **values: str) -> Any:
        metric, labels = self._counted[family]
        return metric.labels(*((_FIXED | values)[label] for label in labels))


@dataclass(frozen=True, slots=True)
class Calls:
    """The counts of requests for one model by one method."""

    accepted: Counter
    rejected: Counter
    success: Counter
    fail: Counter
    error: Counter
    responses: Counter
    current: Gauge
    request_time: Histogram
    processing_time: Histogram
    first_audio: Histogram


@dataclass(frozen=True, slots=True)
class ModelTelemetry:
    """The counts of one model's work; the scheduler's and the service's `Observer`. Times are seconds."""

    waiting: Histogram
    working: Histogram
    join: Histogram
    step: Histogram
    batch: Histogram
    done: Counter
    failed_units: Counter
    refusals: Mapping[Refusal, Counter]
    heard_seconds: Counter
    skipped_seconds: Counter
    dropped_segments: Counter
    spoken_seconds: Counter

    def refused(self, reason: Refusal) -> None:
        self.refusals[reason].inc()

    def waited(self, seconds: float) -> None:
        self.waiting.observe(seconds * 1e6)

    def worked(self, seconds: float) -> None:
        self.working.observe(seconds * 1e6)

    def joined(self, seconds: float) -> None:
        self.join.observe(seconds)

    def stepped(self, units: int, seconds: float) -> None:
        self.batch.observe(units)
        self.step.observe(seconds)

    def ended(self, *, failed: bool) -> None:
        (self.failed_units if failed else self.done).inc()

    def heard(self, seconds: float, skipped: float) -> None:
        self.heard_seconds.inc(seconds)
        self.skipped_seconds.inc(skipped)

    def dropped(self, segments: int) -> None:
        self.dropped_segments.inc(segments)

    def spoken(self, seconds: float) -> None:
        self.spoken_seconds.inc(seconds)


class _Shown(Collector):
    """What the library writes out: the families that are asked for, OVMS's as OVMS writes them."""

    def __init__(self, registry: CollectorRegistry, names: set[str], loads: Sequence[Load]) -> None:
        self._registry = registry
        self._names = names
        self._loads = loads

    def collect(self) -> Iterator[Metric]:
        for metric in self._registry.collect():
            if {metric.name, f"{metric.name}_total"} & self._names:
                metric.samples = [_spelt(sample) for sample in metric.samples if not sample.name.endswith("_created")]
                yield metric
        for family in FAMILIES:
            if family.level is not None and family.name in self._names:
                gauge = GaugeMetricFamily(family.name, family.help, labels=family.labels)
                for load in self._loads:
                    values = _FIXED | {"name": load.name}
                    gauge.add_metric([values[label] for label in family.labels], family.level(load))
                yield gauge


def _spelt(sample: Sample) -> Sample:
    """A sample as OVMS would write it, if it is one of OVMS's: no _total, and bounds that are whole numbers."""
    if not sample.name.startswith(OVMS):
        return sample
    labels = dict(sample.labels)
    if labels.get("le", "+Inf") != "+Inf":
        labels["le"] = str(int(float(labels["le"])))  # its Grafana dashboard asks for le="67466"
    return sample._replace(name=sample.name.removesuffix("_total"), labels=labels)


def _metric(family: Family, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if family.kind == "counter":
        return Counter(family.name, family.help, family.labels, registry=registry)
    if family.kind == "gauge":
        return Gauge(family.name, family.help, family.labels, registry=registry)
    return Histogram(family.name, family.help, family.labels, registry=registry, buckets=family.buckets)


def _hint(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    return f" Did you mean {near[0]}?" if near else f" There are: {', '.join(names)}."
