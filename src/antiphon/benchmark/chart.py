"""A benchmark drawn: how many requests were answered within which time, and how throughput went along.

It knows outcomes and where to draw; it must not know how they came about.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from antiphon.benchmark.load_generator import OK, REFUSED, Outcome
from antiphon.benchmark.optional import bring
from antiphon.errors import ConfigError

ENDINGS = (".svg", ".png")
BINS = 30  # of time, in the picture of throughput


def check_chart(path: Path) -> None:
    """ConfigError for a chart that could not be drawn, before anything is measured."""
    if path.suffix.lower() not in ENDINGS:
        raise ConfigError(f"--chart {path}: name a file that ends in {' or '.join(ENDINGS)}.")
    if not path.parent.is_dir():
        raise ConfigError(f"--chart {path}: there is no folder {path.parent}.")
    bring("matplotlib.figure", "--chart")


def draw_chart(outcomes: Sequence[Outcome], title: str, path: Path) -> None:
    """Write the picture, as SVG or PNG. ConfigError if it cannot be written."""
    figure = bring("matplotlib.figure").Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle(title)
    left, right = figure.subplots(1, 2)
    for status, label in ((OK, "answered"), (REFUSED, "refused (429)")):
        latencies = sorted(outcome.latency for outcome in outcomes if outcome.answer.status == status)
        if latencies:
            left.step(latencies, 100 * np.arange(1, len(latencies) + 1) / len(latencies), where="post", label=label)
    left.set(xlabel="latency, s", ylabel="% of them within it", xlim=(0, None), ylim=(0, 101))
    if left.lines:
        left.legend(loc="lower right")
    edges, rates = throughput(outcomes)
    right.stairs(rates, edges, fill=True)
    right.set(xlabel="time, s", ylabel="seconds of audio a second", ylim=(0, None))
    try:
        figure.savefig(path)
    except OSError as error:
        raise ConfigError(f"--chart {path}: cannot write it ({error.strerror}).") from error


def throughput(outcomes: Sequence[Outcome]) -> tuple[np.ndarray, np.ndarray]:
    """Edges of equal stretches of time, in seconds from the first request, and seconds of audio a second in each.

    An answer's audio is spread over the time it took, so that a few long requests do not look like spikes.
    """
    began = min(outcome.due for outcome in outcomes)
    edges = np.linspace(0.0, max(outcome.ended for outcome in outcomes) - began, BINS + 1)
    audio = np.zeros(BINS)
    for outcome in outcomes:
        if outcome.answer.status == OK:
            inside = np.clip(edges, outcome.due - began, outcome.ended - began)
            audio += outcome.answer.seconds * np.diff(inside) / max(outcome.latency, 1e-9)
    return edges, audio / np.diff(edges)
