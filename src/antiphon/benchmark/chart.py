"""Draw a benchmark: cumulative latency, and throughput over time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from antiphon.benchmark.load_generator import OK, REFUSED, Measurement
from antiphon.benchmark.optional import import_extra
from antiphon.errors import ConfigError

SUFFIXES = (".svg", ".png")
TIME_BINS = 30  # in the throughput plot


def check_chart(path: Path) -> None:
    """Raise ConfigError if the chart cannot be drawn, before anything is measured."""
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(f"{path} does not end in {' or '.join(SUFFIXES)}.", setting="chart")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent}.", setting="chart")
    import_extra("matplotlib.figure", setting="chart")


def draw_chart(measurements: Sequence[Measurement], title: str, path: Path) -> None:
    """Write an SVG or PNG file. Raises ConfigError if it cannot be written."""
    figure = import_extra("matplotlib.figure").Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    for status, label in ((OK, "answered"), (REFUSED, "refused (429)")):
        latencies = sorted(request.latency for request in measurements if request.response.status == status)
        if latencies:
            left.step(latencies, 100 * np.arange(1, len(latencies) + 1) / len(latencies), where="post", label=label)
    left.set(xlabel="latency, s", ylabel="% of requests within it", xlim=(0, None), ylim=(0, 101))
    if left.lines:
        left.legend(loc="lower right")
    edges, rates = throughput(measurements)
    right.stairs(rates, edges, fill=True)
    right.set(xlabel="time, s", ylabel="seconds of audio a second", ylim=(0, None))
    try:
        figure.savefig(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror}).", setting="chart") from error


def throughput(measurements: Sequence[Measurement]) -> tuple[np.ndarray, np.ndarray]:
    """The edges of equal time bins, in seconds from the first request, and the seconds of audio per second in each bin.

    The audio of a request is spread over its latency, so that a few long requests do not show as spikes.
    """
    started = min(request.scheduled for request in measurements)
    edges = np.linspace(0.0, max(request.ended for request in measurements) - started, TIME_BINS + 1)
    audio = np.zeros(TIME_BINS)
    for request in measurements:
        if request.response.status == OK:
            overlap = np.diff(np.clip(edges, request.scheduled - started, request.ended - started))
            audio += request.response.seconds * overlap / max(request.latency, 1e-9)
    return edges, audio / np.diff(edges)
