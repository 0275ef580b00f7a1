"""Prometheus's text read by the parser of its own client library: what a scrape would store."""

from __future__ import annotations

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families


def families(text: str) -> dict[str, Metric]:
    """Every family by the name it is announced under."""
    return {family.name: family for family in text_string_to_metric_families(text)}


def value(text: str, sample: str, **labels: str) -> float:
    """The sum over the samples of this name that have these labels; there must be one.

    The parser ends every counter's name in _total, whether the text does or not: what it says letter by letter is another test's.
    """
    found = [
        each.value
        for family in families(text).values()
        for each in family.samples
        if each.name.removesuffix("_total") == sample.removesuffix("_total") and labels.items() <= each.labels.items()
    ]
    assert found, f"no {sample} with {labels}"
    return sum(found)
