"""Summarise a benchmark: throughput, latency percentiles, and responses by status."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from antiphon.benchmark.load_generator import OK, REFUSED, Measurement


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Nearest-rank percentiles in seconds, so each is a measured value."""

    p50: float
    p95: float
    p99: float
    worst: float


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one benchmark. Latency and throughput are of completed requests (status 200), None if there are none.

    `seconds` is the time from the first scheduled request to the last response; `rtfx` is seconds of audio, transcribed or
    synthesised, per second; `refused` counts 429 responses, `failed` all others; `first_audio` and `refusal` are the
    latencies of the first samples and of 429 responses.
    """

    requests: int
    answered: int
    refused: int
    failed: int
    statuses: dict[str, int]
    seconds: float
    audio_seconds: float
    rtfx: float
    requests_per_second: float
    latency: Percentiles | None
    first_audio: Percentiles | None
    refusal: Percentiles | None


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of `values`, which must not be empty; `percent` is in (0, 100]."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def percentiles(values: Iterable[float]) -> Percentiles | None:
    """None if there are no values."""
    measured = list(values)
    if not measured:
        return None
    return Percentiles(*(percentile(measured, percent) for percent in (50, 95, 99, 100)))


def summarise(measurements: Sequence[Measurement]) -> Figures:
    """The figures of one measurement or more."""
    answered = [request for request in measurements if request.response.status == OK]
    refused = [request for request in measurements if request.response.status == REFUSED]
    seconds = max(request.ended for request in measurements) - min(request.scheduled for request in measurements)
    audio = math.fsum(request.response.seconds for request in answered)
    return Figures(
        requests=len(measurements),
        answered=len(answered),
        refused=len(refused),
        failed=len(measurements) - len(answered) - len(refused),
        statuses=dict(sorted(Counter(request.response.status for request in measurements).items())),
        seconds=seconds,
        audio_seconds=audio,
        rtfx=audio / seconds,
        requests_per_second=len(answered) / seconds,
        latency=percentiles(request.latency for request in answered),
        first_audio=percentiles(
            request.response.first_audio - request.scheduled
            for request in answered
            if request.response.first_audio is not None
        ),
        refusal=percentiles(request.latency for request in refused),
    )
