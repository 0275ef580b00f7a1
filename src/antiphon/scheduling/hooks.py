"""Hooks through which the scheduler reports what it does; used for metrics."""

from __future__ import annotations

import logging
from typing import Protocol

logger = logging.getLogger(__name__)


class Hooks(Protocol):
    """Receives one model's measurements on the thread that takes them. It must be quick; its errors are logged."""

    def record(self, metric: str, value: float = 1.0, **labels: str) -> None:
        """Record `value` for a metric of `antiphon.telemetry.METRICS`; times are in seconds."""
        ...


class NullHooks:
    """Records nothing."""

    def record(self, metric: str, value: float = 1.0, **labels: str) -> None:
        pass


NULL_HOOKS = NullHooks()


class GuardedHooks:
    """Records through other hooks; an error there is logged, once for each metric, and ends nothing."""

    def __init__(self, hooks: Hooks) -> None:
        self._hooks = hooks
        self._failed: set[str] = set()

    def record(self, metric: str, value: float = 1.0, **labels: str) -> None:
        try:
            self._hooks.record(metric, value, **labels)
        except Exception:  # a measurement is lost, and the request that it concerns goes on
            if metric not in self._failed:
                self._failed.add(metric)
                logger.exception("%s could not be recorded; further errors of this metric are not logged", metric)


def no_hooks(_model: str) -> Hooks:
    """The hooks of a model whose measurements are not recorded."""
    return NULL_HOOKS
