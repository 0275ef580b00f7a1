"""An `openvino_genai` pipeline as a session: one unit at a time, from beginning to end in one step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from antiphon.errors import EngineFailed, RequestError
from antiphon.genai.runtime import cause_of
from antiphon.types.events import Event, Failed, Unit
from antiphon.types.results import ModelInfo

logger = logging.getLogger(__name__)

UnitT = TypeVar("UnitT", bound=Unit)
AdapterUnitT = TypeVar("AdapterUnitT", bound=Unit, contravariant=True)


class Adapter(Protocol[AdapterUnitT]):
    """How the units of a family become calls of its pipeline."""

    def check(self, unit: AdapterUnitT) -> None:
        """Raise a RequestError if the pipeline does not support the unit's options."""
        ...

    def run(self, pipeline: Any, unit: AdapterUnitT) -> list[Event]:
        """Call the pipeline; the last event ends the unit."""
        ...


class PipelineSession(Generic[UnitT]):
    """The session protocol over a pipeline, whose calls block and take one request each.

    After a failed call the pipeline is discarded and opened again by `reopen`: a decoder that was stopped in the middle
    keeps its state, and would answer the next unit with wrong words and without an error.
    """

    slots = 1

    def __init__(self, info: ModelInfo, pipeline: Any, reopen: Callable[[], Any], adapter: Adapter[UnitT]) -> None:
        self.info = info
        self._pipeline: Any | None = pipeline
        self._reopen = reopen
        self._adapter = adapter
        self._unit: UnitT | None = None

    def join(self, units: Sequence[UnitT]) -> list[Event]:
        if len(units) + (self._unit is not None) > self.slots:
            raise ValueError(f"{len(units)} units join, but there is only one slot")
        for unit in units:
            try:
                self._adapter.check(unit)
            except RequestError as error:
                return [Failed(unit, error)]
            self._unit = unit
        return []

    def step(self) -> list[Event]:
        if self._unit is None:
            return []
        unit, self._unit = self._unit, None
        try:
            if self._pipeline is None:
                self._pipeline = self._reopen()
            return self._adapter.run(self._pipeline, unit)
        except Exception as error:
            self._pipeline = None
            logger.exception("%s: openvino_genai failed; its pipeline will be opened again", self.info.name)
            failed = EngineFailed(f"The engine failed on this request: {cause_of(error)}.")
            failed.__cause__ = error
            return [Failed(unit, failed)]

    def leave(self, unit: UnitT) -> None:
        if self._unit is unit:
            self._unit = None

    def rest(self) -> None:
        """The pipeline manages its own memory."""
