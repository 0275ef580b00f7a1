"""Which models are loaded: brings what is served in line with what is wanted, as often as that changes.

It knows names, states and when to load; it must not know how a model is loaded, what is asked of it, or HTTP.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from antiphon.errors import AntiphonError, ConfigError
from antiphon.model_spec import ModelSpec
from antiphon.models.session import AnySession

logger = logging.getLogger(__name__)

Drain = Callable[[], None]  # waits until the requests inside a model that is served no more have their answers
State = Literal["LOADING", "AVAILABLE", "UNLOADING", "END"]  # as OVMS and TensorFlow Serving call them
_LEFT: tuple[State, ...] = ("UNLOADING", "END")


class Host(Protocol):
    """Who serves sessions: the service, as the pool sees it."""

    def load(self, session: AnySession) -> object:
        """Serve it under its own name."""
        ...

    def replace(self, session: AnySession) -> Drain:
        """Serve it from now on instead of the one of its name."""
        ...

    def withdraw(self, name: str) -> Drain:
        """Serve it no more."""
        ...


@dataclass(frozen=True, slots=True)
class ModelState:
    """Where a model stands; `error` says why it is not served, or why an older one is."""

    name: str
    state: State
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reload came to: whether anything was done, and what could not be."""

    changed: bool
    failed: dict[str, AntiphonError]


@dataclass(frozen=True, slots=True, eq=False)
class _Slot:
    """A model by name, as of now. Compared by identity: each change is another one."""

    wanted: ModelSpec
    state: State
    error: str | None = None
    files: tuple[tuple[str, int, int], ...] = ()  # how the folder was when it could not be loaded


class Pool:
    """The models that are served. `reload` may be called from any thread; one at a time does its work."""

    def __init__(
        self,
        host: Host,
        read: Callable[[], Sequence[ModelSpec]],
        load: Callable[[ModelSpec], AnySession],
        announce: Callable[[AnySession], None] = lambda session: None,
    ) -> None:
        self._host = host
        self._read = read
        self._load = load
        self._announce = announce
        self._turn = threading.Lock()
        self._slots: dict[str, _Slot] = {}
        self._stop = threading.Event()

    def states(self) -> tuple[ModelState, ...]:
        """Every model there was, in the order it first came."""
        return tuple(ModelState(name, slot.state, slot.error) for name, slot in tuple(self._slots.items()))

    def reload(self, *, patient: bool = False) -> Outcome:
        """Load what is wanted and not there, let go of what is not wanted any more.

        `patient`: what failed before is tried again only if its files have changed. ConfigError if what is wanted cannot
        be read; then everything stays as it was.
        """
        with self._turn:
            wanted = self._read()
            names = {each.name for each in wanted}
            gone = [name for name, slot in self._slots.items() if name not in names and slot.state not in _LEFT]
            for name in gone:
                self._remove(name)
            due = [each for each in wanted if self._is_due(each, patient)]
            failed: dict[str, AntiphonError] = {}
            # The only one there is, at the very start: whoever started it tells, and ends.
            alone = not self._slots and len(wanted) == 1
            for each in due:
                if each.name not in self._slots or self._slots[each.name].state in _LEFT:
                    self._slots[each.name] = _Slot(each, "LOADING")
            for each in due:
                error = self._add(each, quietly=alone)
                if error is not None:
                    failed[each.name] = error
                if self._stop.is_set():
                    break
            return Outcome(bool(gone or due), failed)

    def watch(self, seconds: float) -> None:
        """Reload every so often until `close`, in a thread of its own."""
        threading.Thread(target=self._watch, args=(seconds,), name="antiphon-watching", daemon=True).start()

    def close(self) -> None:
        """Load nothing more. What is served is the host's to close."""
        self._stop.set()

    def _watch(self, seconds: float) -> None:
        told = ""
        while not self._stop.wait(seconds):
            try:
                self.reload(patient=True)
                told = ""
            except ConfigError as error:  # most likely somebody is at work on the file
                if str(error) != told:
                    logger.error("What is served stays as it is: %s", error)
                told = str(error)
            except Exception:  # it is looked at again in a moment, whatever it was
                logger.exception("Looking at what is wanted failed")

    def _is_due(self, wanted: ModelSpec, patient: bool) -> bool:
        slot = self._slots.get(wanted.name)
        if slot is None or slot.wanted != wanted or slot.state in _LEFT:
            return True
        return slot.error is not None and (not patient or slot.files != _files_of(wanted))

    def _add(self, wanted: ModelSpec, *, quietly: bool) -> AntiphonError | None:
        """Load one model. One that cannot be loaded is told of, and takes nothing else with it."""
        before = self._slots.get(wanted.name)
        serving = before is not None and before.state == "AVAILABLE"
        files = _files_of(wanted)
        try:
            session = self._load(wanted)
            self._serve(session, instead=serving)
        except Exception as error:
            logger.debug("%s could not be loaded", wanted.name, exc_info=True)
            reason = error if isinstance(error, AntiphonError) else ConfigError(f"Cannot load {wanted.source}: {error}")
            self._slots[wanted.name] = _Slot(wanted, "AVAILABLE" if serving else "LOADING", str(reason), files)
            known = before is not None and before.error == str(reason)
            if not (quietly or known or self._stop.is_set()):
                logger.error("%s is %s: %s", wanted.name, "served as it was" if serving else "not served", reason)
            return reason
        self._slots[wanted.name] = _Slot(wanted, "AVAILABLE")
        self._announce(session)
        return None

    def _serve(self, session: AnySession, *, instead: bool) -> None:
        if not instead:
            self._host.load(session)
            return
        drain = self._host.replace(session)
        threading.Thread(target=drain, name="antiphon-draining", daemon=True).start()

    def _remove(self, name: str) -> None:
        slot = self._slots[name]
        if slot.state != "AVAILABLE":
            self._slots[name] = _Slot(slot.wanted, "END")
            return
        drain = self._host.withdraw(name)
        leaving = self._slots[name] = _Slot(slot.wanted, "UNLOADING")
        logger.info("%s is served no more; what was asked of it before is finished", name)

        def finish() -> None:
            drain()
            if self._slots[name] is leaving:  # else it is wanted again
                self._slots[name] = _Slot(slot.wanted, "END")

        threading.Thread(target=finish, name="antiphon-draining", daemon=True).start()


def _files_of(wanted: ModelSpec) -> tuple[tuple[str, int, int], ...]:
    """The files of a model's folder, their sizes and ages: while they stay so, what failed would fail again."""
    folder = Path(wanted.source)
    try:
        known = [(path.name, path.stat()) for path in sorted(folder.iterdir())]
    except OSError:
        return ()
    return tuple((name, found.st_size, found.st_mtime_ns) for name, found in known)
