"""An `openvino_genai` pipeline behind the session protocol: one unit at a time, from its beginning to its end in one step.

It must not know what is asked of the pipeline or made of its answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from antiphon.errors import EngineFailed, RequestError
from antiphon.genai.toolkit import cause_of
from antiphon.models.session import AnySession
from antiphon.types.events import Event, Failed, Unit
from antiphon.types.results import ModelInfo

logger = logging.getLogger(__name__)

UnitT = TypeVar("UnitT", bound=Unit)
WorkT = TypeVar("WorkT", bound=Unit, contravariant=True)


class Work(Protocol[WorkT]):
    """What a family does with its pipeline."""

    def check(self, unit: WorkT) -> None:
        """Raise a RequestError for what the pipeline cannot do."""
        ...

    def run(self, pipeline: Any, unit: WorkT) -> list[Event]:
        """Ask the pipeline; the last event ends the unit."""
        ...


class PipelineSession(Generic[UnitT]):
    """The session protocol (`models/base.py`) over a pipeline, which takes one request and blocks until it is done.

    A pipeline whose call failed is thrown away and opened again by `reopen`: a decoder that was stopped half way keeps
    its state, and the next unit would be answered with other words, without any error.
    """

    slots = 1
    twins: Sequence[AnySession] = ()

    def __init__(self, info: ModelInfo, pipeline: Any, reopen: Callable[[], Any], work: Work[UnitT]) -> None:
        self.info = info
        self._pipeline: Any | None = pipeline
        self._reopen = reopen
        self._work = work
        self._unit: UnitT | None = None

    def join(self, units: Sequence[UnitT]) -> list[Event]:
        if len(units) + (self._unit is not None) > self.slots:
            raise ValueError(f"{len(units)} units join, but the one slot is all there is")
        for unit in units:
            try:
                self._work.check(unit)
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
            return self._work.run(self._pipeline, unit)
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
        """What the pipeline holds is its own."""
