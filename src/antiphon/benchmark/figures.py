"""What a benchmark found, as numbers: throughput, latency by percentiles, answers by status, errors in words.

Pure arithmetic on outcomes; it must not know clocks, clips or printing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from antiphon.benchmark.load_generator import OK, REFUSED, Outcome


@dataclass(frozen=True, slots=True)
class Spread:
    """Seconds. A percentile is the smallest value that so many percent of all do not exceed: one that was measured."""

    p50: float
    p95: float
    p99: float
    worst: float


@dataclass(frozen=True, slots=True)
class Figures:
    """One benchmark. Latencies and throughput are of answered requests (status 200) alone; None where there is none.

    `seconds` run from when the first request was due to the last answer; `rtfx` is seconds of audio, heard or made, a
    second; `refused` counts 429s, which overload is meant to have, `failed` everything else; `first_audio` and `refusal`
    are latencies too, of the first sound and of a 429.
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
    latency: Spread | None
    first_audio: Spread | None
    refusal: Spread | None


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of `values`, which may not be empty; `percent` from above 0 to 100."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def spread(values: Iterable[float]) -> Spread | None:
    """None of no values."""
    measured = list(values)
    if not measured:
        return None
    return Spread(*(percentile(measured, percent) for percent in (50, 95, 99, 100)))


def summarise(outcomes: Sequence[Outcome]) -> Figures:
    """The figures of at least one outcome."""
    answered = [outcome for outcome in outcomes if outcome.answer.status == OK]
    refused = [outcome for outcome in outcomes if outcome.answer.status == REFUSED]
    seconds = max(outcome.ended for outcome in outcomes) - min(outcome.due for outcome in outcomes)
    audio = math.fsum(outcome.answer.seconds for outcome in answered)
    return Figures(
        requests=len(outcomes),
        answered=len(answered),
        refused=len(refused),
        failed=len(outcomes) - len(answered) - len(refused),
        statuses=dict(sorted(Counter(outcome.answer.status for outcome in outcomes).items())),
        seconds=seconds,
        audio_seconds=audio,
        rtfx=audio / seconds,
        requests_per_second=len(answered) / seconds,
        latency=spread(outcome.latency for outcome in answered),
        first_audio=spread(
            outcome.answer.first - outcome.due for outcome in answered if outcome.answer.first is not None
        ),
        refusal=spread(outcome.latency for outcome in refused),
    )
