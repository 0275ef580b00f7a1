"""Metrics: the table of all of them, a server's registry, and its text in Prometheus's format."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product
from operator import attrgetter
from typing import Literal, Protocol, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, metrics_core
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from antiphon.errors import ConfigError, Refusal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OVMS_PREFIX = "ovms_"
# The 33 bounds that OVMS has, in whole microseconds: 10 to 24 minutes.
OVMS_BUCKETS_US = tuple(float(math.floor(10 * 1.8**power)) for power in range(33))
_BATCH_UNITS = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 64.0, 128.0, 256.0)
_STEP_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_FIRST_AUDIO_S = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)

_NAME = ("name",)
_MODEL = ("name", "version")
_CALL = ("name", "api", "method", "interface")
# The values of each label of a model's metrics; a label of one value need not be given. The first three are OVMS's words.
_LABEL_VALUES: Mapping[str, tuple[str, ...]] = {
    "version": ("1",),
    "api": ("V3",),
    "interface": ("REST",),
    "method": ("Unary", "Stream"),
    "outcome": ("done", "failed"),
    "reason": get_args(Refusal),
}


class Load(Protocol):
    """The load of a model at this moment: unfinished requests and seconds of audio, units waiting and in flight, slots,
    and whether its workers work."""

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
    @property
    def healthy(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. With `level` it is read from a model's load when it is scraped; others are recorded as things happen.

    `scale` converts what is recorded, which is in seconds, to the metric's own unit.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()
    scale: float = 1.0
    level: Callable[[Load], float] | None = None
    default: bool = True  # shown without a list; OVMS has two that are not


def _counter(name: str, labels: tuple[str, ...], text: str) -> Metric:
    return Metric(name, "counter", labels, text)


def _histogram(name: str, labels: tuple[str, ...], buckets: tuple[float, ...], text: str) -> Metric:
    return Metric(name, "histogram", labels, text, buckets)


def _microseconds(name: str, labels: tuple[str, ...], text: str) -> Metric:
    return Metric(name, "histogram", labels, f"Microseconds {text}", OVMS_BUCKETS_US, scale=1e6)


def _level(name: str, labels: tuple[str, ...], field: str, text: str, *, default: bool = True) -> Metric:
    return Metric(name, "gauge", labels, text, level=attrgetter(field), default=default)


METRICS: tuple[Metric, ...] = (
    # OVMS's. accepted + rejected are all requests for a model; accepted = success + fail + those in progress.
    _counter("ovms_requests_accepted", _CALL, "Requests that were admitted, counted when the response starts."),
    _counter(
        "ovms_requests_rejected",
        _CALL,
        "Requests rejected because the queue was full, the model did not work or the server was shutting down.",
    ),
    _counter("ovms_requests_success", _CALL, "Admitted requests that were answered completely."),
    _counter("ovms_requests_fail", _CALL, "Admitted requests that ended with an error or were closed by the client."),
    _counter("ovms_graph_error", _CALL, "Same as ovms_requests_fail, under the name that OVMS has for graphs."),
    _counter("ovms_responses", _CALL, "Responses; of a stream, its chunks."),
    Metric("ovms_current_requests", "gauge", _MODEL, "Requests being read, processed or answered."),
    _level("ovms_current_graphs", _NAME, "requests", "Requests with windows or sentences waiting or in flight."),
    _level("ovms_streams", _MODEL, "slots", "Windows or sentences that a model can process at the same time."),
    _microseconds(
        "ovms_request_time_us",
        (*_MODEL, "interface"),
        "from a request's first byte to the last byte of its response, upload included; successful requests.",
    ),
    _microseconds(
        "ovms_graph_processing_time_us",
        ("name", "method"),
        "from the end of a request's upload to the last byte of its response; successful requests.",
    ),
    _microseconds(
        "ovms_wait_for_infer_req_time_us",
        _MODEL,
        "that a request waits in the queue until the first of its windows or sentences has a slot.",
    ),
    _microseconds(
        "ovms_inference_time_us", _MODEL, "from a request's first slot until the model has finished the request."
    ),
    _level("ovms_infer_req_queue_size", _MODEL, "slots", "Same as ovms_streams.", default=False),
    _level("ovms_infer_req_active", _MODEL, "in_flight", "Slots in use.", default=False),
    # Antiphon's own.
    _counter("antiphon_requests_total", ("task", "status"), "Requests by task and HTTP status."),
    _counter("antiphon_audio_heard_seconds_total", _NAME, "Seconds of audio transcribed, silence included."),
    _counter("antiphon_audio_skipped_seconds_total", _NAME, "Seconds of that audio skipped as silence."),
    _counter("antiphon_segments_dropped_total", _NAME, "Segments dropped by the hallucination filter."),
    _counter("antiphon_audio_spoken_seconds_total", _NAME, "Seconds of audio synthesised."),
    _counter("antiphon_units_total", ("name", "outcome"), "Windows and sentences that ended: done or failed."),
    _counter(
        "antiphon_refused_total", ("name", "reason"), "Requests answered with 429, by the limit that was reached."
    ),
    _level("antiphon_queue_units", _NAME, "waiting", "Windows and sentences waiting for a slot."),
    _level("antiphon_queue_seconds", _NAME, "seconds", "Seconds of admitted audio that are not done."),
    _level("antiphon_units_in_flight", _NAME, "in_flight", "Windows and sentences that have a slot."),
    _level("antiphon_slots", _NAME, "slots", "Slots of a model."),
    _level(
        "antiphon_model_healthy", _NAME, "healthy", "1 if the workers of a model work, 0 while one is dead or stuck."
    ),
    _counter("antiphon_worker_restarts_total", _NAME, "Times that a model was loaded again because a worker had died."),
    _histogram("antiphon_batch_units", _NAME, _BATCH_UNITS, "Windows and sentences that a step advanced together."),
    _histogram("antiphon_step_seconds", _NAME, _STEP_S, "Seconds that a step took."),
    _histogram(
        "antiphon_join_seconds", _NAME, _STEP_S, "Seconds that new units took to join the batch: their encoding."
    ),
    _histogram(
        "antiphon_first_audio_seconds", _NAME, _FIRST_AUDIO_S, "Seconds from a speech request to its first audio."
    ),
)
_RECORDED: Mapping[str, Metric] = {metric.name: metric for metric in METRICS if metric.level is None}


class Telemetry:
    """One server's metrics, of which those named in `listed` are shown, or the default ones if it is empty. Thread-safe.

    Raises ConfigError for a name that is not in the table.
    """

    def __init__(self, listed: Sequence[str] = ()) -> None:
        names = [metric.name for metric in METRICS]
        for name in listed:
            if name not in names:
                raise ConfigError(f"there is no metric {name!r}.{_hint(name, names)}", setting="metrics_list")
        self._shown = {metric.name for metric in METRICS if (metric.name in listed if listed else metric.default)}
        self._registry = CollectorRegistry()
        self._families = {name: _family(metric, self._registry) for name, metric in _RECORDED.items()}

    def model(self, name: str) -> ModelTelemetry:
        """Where the measurements of a model are recorded. Shows all of its metrics from now on, at zero."""
        for metric in _RECORDED.values():
            if "name" in metric.labels:
                for values in product(*(_LABEL_VALUES.get(label, (name,)) for label in metric.labels)):
                    self._families[metric.name].labels(*values)
        return ModelTelemetry(self, name)

    def record(self, metric: str, value: float = 1.0, **labels: str) -> None:
        """Observe `value` in a histogram, or add it to a counter or gauge. Labels that the metric lacks are ignored."""
        row = _RECORDED[metric]
        values = (labels[label] if label in labels else _LABEL_VALUES[label][0] for label in row.labels)
        child = self._families[metric].labels(*values)
        if isinstance(child, Histogram):
            child.observe(value * row.scale)
        else:
            child.inc(value)

    def render(self, loads: Iterable[Load]) -> str:
        """The metrics to show, in Prometheus's text format; `loads` are those of the models that are served now."""
        text = generate_latest(_Shown(self._registry, self._shown, tuple(loads))).decode()
        # The library ends every counter in _total; OVMS does not, and dashboards use its names.
        return re.sub(rf"^# (HELP|TYPE) ({OVMS_PREFIX}\w+)_total ", r"# \1 \2 ", text, flags=re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ModelTelemetry:
    """Records the metrics of one model: the scheduler's `Hooks`."""

    telemetry: Telemetry
    name: str

    def record(self, metric: str, value: float = 1.0, **labels: str) -> None:
        self.telemetry.record(metric, value, name=self.name, **labels)


class _Shown(Collector):
    """What the library renders: the metrics to show, OVMS's as OVMS spells them."""

    def __init__(self, registry: CollectorRegistry, names: set[str], loads: Sequence[Load]) -> None:
        self._registry = registry
        self._names = names
        self._loads = loads

    def collect(self) -> Iterator[metrics_core.Metric]:
        for family in self._registry.collect():
            if {family.name, f"{family.name}_total"} & self._names:
                family.samples = [_respell(sample) for sample in family.samples if not sample.name.endswith("_created")]
                yield family
        for metric in METRICS:
            if metric.level is not None and metric.name in self._names:
                gauge = GaugeMetricFamily(metric.name, metric.help, labels=metric.labels)
                for load in self._loads:
                    values = [load.name if label == "name" else _LABEL_VALUES[label][0] for label in metric.labels]
                    gauge.add_metric(values, metric.level(load))
                yield gauge


def _respell(sample: Sample) -> Sample:
    """One of OVMS's samples as OVMS spells it: without _total, and with whole numbers as bounds."""
    if not sample.name.startswith(OVMS_PREFIX):
        return sample
    labels = dict(sample.labels)
    if labels.get("le", "+Inf") != "+Inf":
        labels["le"] = str(int(float(labels["le"])))  # its Grafana dashboard queries le="67466"
    return sample._replace(name=sample.name.removesuffix("_total"), labels=labels)


def _family(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    if metric.kind == "histogram":
        return Histogram(metric.name, metric.help, metric.labels, registry=registry, buckets=metric.buckets)
    kind = Counter if metric.kind == "counter" else Gauge
    return kind(metric.name, metric.help, metric.labels, registry=registry)


def _hint(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = get_close_matches(name, names, n=1)
    return f" Did you mean {near[0]}?" if near else f" There are: {', '.join(names)}."
