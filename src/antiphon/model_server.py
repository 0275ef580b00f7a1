"""The models a server holds: loads, replaces, reloads and drains them, and finds the one that a request names."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from antiphon.errors import AntiphonError, ConfigError, InvalidParameter, ModelNotFound, Unavailable
from antiphon.model_spec import ModelSpec, files_of
from antiphon.models.session import AnySession
from antiphon.scheduling.hooks import Hooks, no_hooks
from antiphon.scheduling.queue import UNLIMITED, Limits
from antiphon.scheduling.scheduler import Scheduler
from antiphon.types.models import ModelLoad, ModelState, ReloadResult, State
from antiphon.types.options import ModelTask
from antiphon.types.results import ModelInfo

logger = logging.getLogger(__name__)

# OpenAI's own model names, which clients send by default; here they mean the default model for the task.
TRANSCRIPTION_ALIASES = frozenset(
    {
        "whisper-1",
        "gpt-transcribe",
        "gpt-4o-transcribe",
        "gpt-4o-mini-transcribe",
        "gpt-4o-mini-transcribe-2025-12-15",
        "gpt-4o-transcribe-diarize",
    }
)
SPEECH_ALIASES = frozenset({"tts-1", "tts-1-hd", "gpt-4o-mini-tts", "gpt-4o-mini-tts-2025-12-15"})
RETRY_AFTER_S = 5.0  # about what a starter model takes to load
MAX_RELEASE_S = 10.0  # how long the other replicas of a dead worker may take to end, before the model is loaded again


@dataclass(frozen=True, slots=True)
class ModelSource:
    """What `ModelServer.reload` follows.

    `read` returns the configured models, `load` the sessions of one; `announce` is called with those of each model served.
    """

    read: Callable[[], Sequence[ModelSpec]]
    load: Callable[[ModelSpec], Sequence[AnySession]]
    announce: Callable[[Sequence[AnySession]], None] = lambda sessions: None


@dataclass(frozen=True, slots=True, eq=False)
class _Status:
    """A model's state under one name. Compared by identity: every change makes a new one."""

    spec: ModelSpec | None  # None for a session that was handed in
    state: State
    error: str | None = None
    files: tuple[tuple[str, int, int], ...] = ()  # the folder's contents when loading failed


class ModelServer:
    """The loaded models, each with its own scheduler. Methods may be called from any thread.

    `limits` and `joins_per_step` apply to each model; `hooks` makes the hooks of a model from its name. The first
    loaded model that can do a task is the default for that task.
    """

    def __init__(
        self,
        source: ModelSource | None = None,
        *,
        limits: Limits = UNLIMITED,
        joins_per_step: int = 1,
        hooks: Callable[[str], Hooks] = no_hooks,
    ) -> None:
        self._source = source
        self._limits = limits
        self._joins_per_step = joins_per_step
        self._hooks = hooks
        self._changed = threading.Condition()  # guards the four below
        self._schedulers: dict[str, Scheduler] = {}  # the models served, in the order they were loaded
        self._draining: list[Scheduler] = []  # no longer served, but with requests inside
        self._inside: Counter[Scheduler] = Counter()  # requests using each scheduler
        specs = () if source is None else source.read()
        self._statuses = {spec.name: _Status(spec, "LOADING") for spec in specs}
        self._reloading = threading.Lock()
        self._reloaded = False
        self._closed = threading.Event()

    def add(self, *sessions: AnySession) -> ModelInfo:
        """Serve the sessions of one model under its name. ValueError if that name is taken."""
        with self._changed:
            if sessions[0].info.name in self._schedulers:
                raise ValueError(f"a model named {sessions[0].info.name!r} is already loaded")
            self._start(sessions, None)
        return sessions[0].info

    def replace(self, *sessions: AnySession) -> None:
        """Serve a model in place of the one with its name, which finishes its requests in the background."""
        self._replace(sessions, None)

    def remove(self, name: str) -> None:
        """Stop serving a model; requests already inside finish in the background."""
        with self._changed:
            scheduler = self._schedulers.pop(name)
            status = self._statuses[name] = _Status(self._statuses[name].spec, "UNLOADING")
            self._draining.append(scheduler)
        logger.info("%s is no longer served; requests already inside are finished", name)
        self._drain_in_background(scheduler, status)

    @contextmanager
    def use(self, name: str | None, task: ModelTask) -> Iterator[Scheduler]:
        """Find the model a request names; it stays loaded until the block ends. Raises as `resolve` does."""
        with self._changed:
            scheduler = self._find(name, task)
            self._inside[scheduler] += 1
        try:
            yield scheduler
        finally:
            with self._changed:
                self._inside[scheduler] -= 1
                self._changed.notify_all()

    def resolve(self, name: str | None, task: ModelTask = "transcribe") -> ModelInfo:
        """The model with that name, or the default one for `task` if there is no name or one of OpenAI's.

        Raises ModelNotFound; InvalidParameter if no loaded model can do the task; Unavailable if none is loaded.
        """
        with self._changed:
            return self._find(name, task).info

    def check_room(self, task: ModelTask) -> None:
        """Raise Overloaded or Unavailable if every model that can do `task` would refuse a request now."""
        able = [scheduler for scheduler in self._served() if task in scheduler.info.tasks]
        if able and all(scheduler.full for scheduler in able):
            able[0].check_room()

    def info(self) -> tuple[ModelInfo, ...]:
        """The models served, in the order they were loaded."""
        return tuple(scheduler.info for scheduler in self._served())

    def loads(self) -> tuple[ModelLoad, ...]:
        """How busy each model is, for metrics."""
        return tuple(
            ModelLoad(
                each.info.name,
                each.requests,
                each.seconds,
                each.waiting,
                each.in_flight,
                each.slots,
                each.failure is None,
            )
            for each in self._served()
        )

    def states(self) -> tuple[ModelState, ...]:
        """Every model configured or served so far, in the order they first appeared.

        One whose worker is dead or stuck has an error, and is LOADING; or END if it cannot be loaded again.
        """
        with self._changed:
            return tuple(self._state(name, status) for name, status in self._statuses.items())

    @property
    def healthy(self) -> bool:
        """False while a worker is dead or stuck. A dead one whose model was replaced or removed does not count."""
        with self._changed:
            served, draining = tuple(self._schedulers.values()), tuple(self._draining)
        return all(each.failure is None for each in served) and all(
            each.failure is None or each.dead for each in draining
        )

    @property
    def stopped(self) -> bool:
        """True if no worker thread runs."""
        return all(each.stopped for each in self.schedulers())

    @property
    def closed(self) -> threading.Event:
        """Set by `close`."""
        return self._closed

    def schedulers(self) -> tuple[Scheduler, ...]:
        """Those of the models served, and those that are draining."""
        with self._changed:
            return (*self._schedulers.values(), *self._draining)

    def dead(self) -> tuple[str, ...]:
        """The models that are served by a scheduler of which a worker died, and can be loaded again."""
        with self._changed:
            return tuple(name for name, each in self._schedulers.items() if each.dead and self._statuses[name].spec)

    def restore(self, name: str) -> AntiphonError | None:
        """Load a model again if it is `dead`. The error is logged, and returned."""
        with self._reloading:
            if self._source is None or name not in self.dead() or self._closed.is_set():
                return None
            spec = self._statuses[name].spec
            assert spec is not None  # as it is in `dead`
            return self._load(self._source, spec, quiet=False)

    def reload(self, *, retry: bool = True) -> ReloadResult:
        """Load the configured models that are not served, and remove served ones that are no longer configured.

        Without `retry`, a model that failed before is tried again only if its files have changed. ConfigError if the
        configuration cannot be read; nothing changes then. One reload runs at a time.
        """
        source = self._source
        if source is None:
            return ReloadResult(False, {})
        with self._reloading:
            specs = source.read()
            gone = self._forget_except({spec.name for spec in specs})
            due = [spec for spec in specs if self._is_due(spec, retry)]
            # At startup the caller reports the error of the only model, and exits.
            quiet = not self._reloaded and len(specs) == 1
            self._reloaded = True
            with self._changed:
                for spec in due:
                    if (status := self._statuses.get(spec.name)) is None or _has_left(status):
                        self._statuses[spec.name] = _Status(spec, "LOADING")
            failed: dict[str, AntiphonError] = {}
            for spec in due:
                if (error := self._load(source, spec, quiet=quiet)) is not None:
                    failed[spec.name] = error
                if self._closed.is_set():
                    break
            return ReloadResult(gone or bool(due), failed)

    def watch(self, seconds: float) -> None:
        """Reload every `seconds` until `close`, in its own thread."""
        threading.Thread(target=self._watch, args=(seconds,), name="antiphon-watching", daemon=True).start()

    def close(self, *, drain: bool = True, timeout: float | None = None) -> None:
        """Load nothing more, refuse new requests and end the worker threads, after finishing admitted work if `drain`.

        `timeout` bounds the draining of all models, in seconds; work left over ends with Unavailable. A worker that is stuck
        takes up to `MAX_LAST_STEP_S` (5 s) more, and is left behind.
        """
        until = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            self._closed.set()
            schedulers = (*self._schedulers.values(), *self._draining)
        if not drain:
            self.abandon()
        for scheduler in schedulers:
            scheduler.close(drain=drain, timeout=None if until is None else max(0.0, until - time.monotonic()))

    def abandon(self) -> None:
        """End all requests and let the worker threads end, without waiting."""
        for scheduler in (*self._schedulers.values(), *self._draining):  # no lock: also called by a finalizer
            scheduler.abandon()

    def _state(self, name: str, status: _Status) -> ModelState:
        """Called under the lock."""
        scheduler = self._schedulers.get(name)
        if scheduler is None or scheduler.failure is None:
            return ModelState(name, status.state, status.error)
        return ModelState(name, "END" if status.spec is None else "LOADING", status.error or str(scheduler.failure))

    def _served(self) -> tuple[Scheduler, ...]:
        with self._changed:
            return tuple(self._schedulers.values())

    def _find(self, name: str | None, task: ModelTask) -> Scheduler:
        """Called under the lock."""
        if name and (named := self._schedulers.get(name)) is not None:
            return named
        names = tuple(self._schedulers)
        if name in TRANSCRIPTION_ALIASES:
            task = "transcribe"
        elif name in SPEECH_ALIASES:
            task = "speak"
        elif name:
            raise ModelNotFound(name, names)
        for scheduler in self._schedulers.values():
            if task in scheduler.info.tasks:
                return scheduler
        if not names:
            raise Unavailable("No model is loaded.", retry_after=RETRY_AFTER_S)
        message = f"No model that can {task} is served here. Served: {', '.join(names)}."
        raise InvalidParameter(message, param="model", code="unsupported_task")

    def _start(self, sessions: Sequence[AnySession], spec: ModelSpec | None) -> None:
        """Called under the lock."""
        if self._closed.is_set():
            raise Unavailable("The server is shutting down.", retry_after=RETRY_AFTER_S)
        scheduler = Scheduler(
            sessions,
            limits=self._limits,
            joins_per_step=self._joins_per_step,
            hooks=self._hooks(sessions[0].info.name),
        )
        scheduler.start()
        self._schedulers[scheduler.info.name] = scheduler
        self._statuses[scheduler.info.name] = _Status(spec, "AVAILABLE")

    def _replace(self, sessions: Sequence[AnySession], spec: ModelSpec | None) -> None:
        with self._changed:
            old = self._schedulers[sessions[0].info.name]
            self._start(sessions, spec)
            self._draining.append(old)
        self._drain_in_background(old, None)

    def _drain_in_background(self, scheduler: Scheduler, status: _Status | None) -> None:
        target, name = self._drain, "antiphon-draining"
        threading.Thread(target=target, args=(scheduler, status), name=name, daemon=True).start()

    def _drain(self, scheduler: Scheduler, status: _Status | None) -> None:
        """Wait for the requests inside, then close; `status` becomes END unless the model has been loaded again."""
        with self._changed:
            self._changed.wait_for(lambda: not self._inside[scheduler])
        scheduler.close(drain=True)
        with self._changed:
            self._draining.remove(scheduler)
            del self._inside[scheduler]
            if status is not None and self._statuses[scheduler.info.name] is status:
                self._statuses[scheduler.info.name] = replace(status, state="END")

    def _watch(self, seconds: float) -> None:
        logged = ""
        while not self._closed.wait(seconds):
            try:
                self.reload(retry=False)
                logged = ""
            except ConfigError as error:  # the file is probably being edited
                if str(error) != logged:
                    logger.error("The models served stay as they are: %s", error)
                logged = str(error)
            except Exception:  # the next round tries again, whatever it was
                logger.exception("Reading the configuration failed")

    def _forget_except(self, names: set[str]) -> bool:
        """Remove the models whose name is not in `names`. True if there were any."""
        with self._changed:
            gone = {name: each for name, each in self._statuses.items() if name not in names and not _has_left(each)}
            for name, status in gone.items():
                if name in self._schedulers:
                    self.remove(name)
                else:
                    self._statuses[name] = _Status(status.spec, "END")
        return bool(gone)

    def _is_due(self, spec: ModelSpec, retry: bool) -> bool:
        status = self._statuses.get(spec.name)
        if status is None or status.spec != spec or _has_left(status):
            return True
        if status.error is None:
            return status.state == "LOADING" or (retry and spec.name in self.dead())
        return retry or status.files != files_of(spec)

    def _load(self, source: ModelSource, spec: ModelSpec, *, quiet: bool) -> AntiphonError | None:
        """Load one model and serve it. The error of one that cannot be loaded is logged unless `quiet`, and returned."""
        before = self._statuses[spec.name]
        old = self._schedulers.get(spec.name)
        died = old is not None and old.dead
        serving = old is not None and not died
        files = files_of(spec)
        try:
            if old is not None and died:
                old.close(drain=False, timeout=MAX_RELEASE_S)  # first, as there may be no memory for both
            sessions = source.load(spec)
            if old is not None:
                self._replace(sessions, spec)
            else:
                with self._changed:
                    self._start(sessions, spec)
        except Exception as error:
            logger.debug("%s could not be loaded", spec.name, exc_info=True)
            reason = error if isinstance(error, AntiphonError) else ConfigError(f"Cannot load {spec.source}: {error}")
            with self._changed:
                self._statuses[spec.name] = _Status(spec, "AVAILABLE" if serving else "LOADING", str(reason), files)
            if not (quiet or before.error == str(reason) or self._closed.is_set()):
                logger.error("%s is %s: %s", spec.name, "served as it was" if serving else "not served", reason)
            return reason
        if old is not None and died:
            old.hooks.record("antiphon_worker_restarts_total")
        source.announce(sessions)
        return None


def _has_left(status: _Status) -> bool:
    return status.state in ("UNLOADING", "END")
