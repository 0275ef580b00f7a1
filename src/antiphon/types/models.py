"""The models of a server from outside: their states, how busy they are, and what a reload changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from antiphon.errors import AntiphonError

State = Literal["LOADING", "AVAILABLE", "UNLOADING", "END"]  # as OVMS and TensorFlow Serving call them


@dataclass(frozen=True, slots=True)
class ModelState:
    """The state of a model; `error` says why it is not served, or why an older version of it is."""

    name: str
    state: State
    error: str | None = None


@dataclass(frozen=True, slots=True)
class ModelLoad:
    """How busy a model is: unfinished requests and their seconds of audio, units waiting and in flight, and slots.

    It is not `healthy` while one of its workers is dead or stuck.
    """

    name: str
    requests: int
    seconds: float
    waiting: int
    in_flight: int
    slots: int
    healthy: bool


@dataclass(frozen=True, slots=True)
class ReloadResult:
    """Whether a reload changed anything, and the models that could not be loaded."""

    changed: bool
    failed: dict[str, AntiphonError]
