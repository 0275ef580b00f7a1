"""Hooks through which the scheduler reports what it does; used for metrics."""

from __future__ import annotations

from typing import Protocol


class Hooks(Protocol):
    """Receives one model's measurements on the thread that takes them. It must be quick and must not raise."""

    def record(self, metric: str, value: float = 1.0, **labels: str) -> None:
        """Record `value` for a metric of `antiphon.telemetry.METRICS`; times are in seconds."""
        ...


class NullHooks:
    """Records nothing."""

    def record(self, metric: str, value: float = 1.0, **labels: str) -> None:
        pass


NULL_HOOKS = NullHooks()


def no_hooks(_model: str) -> Hooks:
    """The hooks of a model whose measurements are not recorded."""
    return NULL_HOOKS
