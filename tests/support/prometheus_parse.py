"""Prometheus text, parsed by the official client library: what a scrape would store."""

from __future__ import annotations

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families


def families(text: str) -> dict[str, Metric]:
    """Every metric family by its announced name."""
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(text: str, sample: str, **labels: str) -> float:
    """The sum over the samples of this name that have these labels; there must be at least one.

    The parser adds _total to the name of every counter, so other tests check how names are spelled.
    """
    values = [
        item.value
        for family in families(text).values()
        for item in family.samples
        if item.name.removesuffix("_total") == sample.removesuffix("_total") and labels.items() <= item.labels.items()
    ]
    assert values, f"no {sample} with {labels}"
    return sum(values)
