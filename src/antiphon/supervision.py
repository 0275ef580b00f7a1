"""Watches the worker threads of a model server: loads models of dead ones again, and ends a process with a stuck one."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from antiphon.errors import Unavailable
from antiphon.model_server import ModelServer
from antiphon.scheduling.scheduler import Scheduler

logger = logging.getLogger(__name__)

EXIT_STUCK = 70  # EX_SOFTWARE of sysexits.h; systemd, Docker and Kubernetes restart a process that ends with it
LOOK_EVERY_S = 1.0
MAX_LOOK_S = 2.0  # how much time one look counts: none of that in which the process was suspended
STALLS_TO_EXIT = 2  # a worker may be stuck for so many times `stall_seconds` before the process ends
RESTORE_AFTER_S = (0.0, 5.0, 30.0, 300.0)  # waiting times before a model is loaded again; the last one repeats
FORGET_DEATH_S = 900.0  # after so long without a death, the first waiting time applies again
RETRY_AFTER_STALL_S = 10.0
MAX_ENDING_S = 1.0  # for the log and the answers, before the process ends

Launch = Callable[[Callable[[], None]], None]


@dataclass(slots=True)
class _Stall:
    """The progress of a worker, and for how many seconds it has been seen."""

    progress: int | None
    seconds: float = 0.0


@dataclass(slots=True)
class _Restoring:
    """The attempts to load a model again. `due` is the time of the next one, if it has been set."""

    attempts: int = 0
    due: float | None = None
    last: float = 0.0
    running: bool = False


def launch_thread(task: Callable[[], None]) -> None:
    """Run a task in a thread of its own."""
    threading.Thread(target=task, name="antiphon-restoring", daemon=True).start()


class Supervisor:
    """Looks at the workers of a model server, once per `look`.

    A model with a dead worker is loaded again: at once, and after the waiting times of `RESTORE_AFTER_S` if that fails or
    the new one dies too. A worker is stuck after `stall_seconds` in one join, step or rest: new requests for its model are
    refused until it goes on, and after `STALLS_TO_EXIT` times as long `exit` is called, once, because a thread cannot be
    ended. `stall_seconds` 0 is no limit. `clock` gives seconds, `launch` runs a task that takes long.
    """

    def __init__(
        self,
        models: ModelServer,
        *,
        stall_seconds: float,
        exit: Callable[[ModelServer], None],
        clock: Callable[[], float] = time.monotonic,
        launch: Launch = launch_thread,
    ) -> None:
        self._models = models
        self._stall_seconds = stall_seconds
        self._exit = exit
        self._clock = clock
        self._launch = launch
        self._looked_at = clock()
        self._stalls: dict[tuple[Scheduler, int], _Stall] = {}
        self._restoring: dict[str, _Restoring] = {}
        self._exiting = False

    def start(self) -> None:
        """Look every second, in a thread of its own, until the model server is closed and its workers have ended."""
        threading.Thread(target=self._run, name="antiphon-supervising", daemon=True).start()

    def look(self) -> None:
        """Note which workers go on, and do what is due."""
        now = self._clock()
        elapsed = min(now - self._looked_at, MAX_LOOK_S)
        self._looked_at = now
        self._restore_dead(now)
        if self._stall_seconds > 0:
            self._check_stalls(elapsed)

    def _run(self) -> None:
        while not self._models.stopped or not self._models.closed.is_set():  # a worker may be stuck while it drains
            try:
                self.look()
            except Exception:  # the next look may succeed
                logger.exception("The workers could not be checked")
            time.sleep(LOOK_EVERY_S)

    def _check_stalls(self, elapsed: float) -> None:
        before, self._stalls = self._stalls, {}
        longest = 0.0
        for scheduler in self._models.schedulers():
            stuck: int | None = None
            for index, progress in enumerate(scheduler.progress()):
                last = before.get((scheduler, index))
                same = last is not None and progress is not None and last.progress == progress
                stall = _Stall(progress, last.seconds + elapsed if last is not None and same else 0.0)
                self._stalls[scheduler, index] = stall
                longest = max(longest, stall.seconds)
                if stall.seconds >= self._stall_seconds:
                    stuck = index
            self._report_stall(scheduler, stuck)
        if longest >= STALLS_TO_EXIT * self._stall_seconds and not self._exiting:
            self._exiting = True
            self._exit(self._models)

    def _report_stall(self, scheduler: Scheduler, worker_index: int | None) -> None:
        """Suspend a model whose worker is stuck, and admit requests again once none is."""
        name, limit = scheduler.info.name, self._stall_seconds
        if worker_index is not None and not scheduler.suspended:
            reason = f"The worker of {name} is stuck: it has done nothing for {limit:g} s. The log has the details."
            scheduler.suspend(Unavailable(reason, retry_after=RETRY_AFTER_STALL_S))
            ending = STALLS_TO_EXIT * limit
            message = "%s: a worker has done nothing for %g s; after %g s the process will exit. It is in:\n%s"
            logger.error(message, name, limit, ending, scheduler.stack(worker_index).rstrip())
        elif worker_index is None and scheduler.suspended:
            scheduler.suspend(None)
            logger.warning("%s: the worker goes on; requests are admitted again", name)

    def _restore_dead(self, now: float) -> None:
        dead = self._models.dead()
        for name in dead:
            plan = self._restoring.setdefault(name, _Restoring())
            if plan.running:
                continue
            if plan.due is None:
                wait = RESTORE_AFTER_S[min(plan.attempts, len(RESTORE_AFTER_S) - 1)]
                plan.due = now + wait
                logger.warning("%s will be loaded again%s", name, f" in {wait:g} s" if wait else "")
            if now >= plan.due:
                plan.due, plan.last, plan.running = None, now, True
                plan.attempts += 1
                self._launch_restore(name, plan)
        for name in self._restoring.keys() - set(dead):
            plan = self._restoring[name]
            plan.due = None
            if not plan.running and now - plan.last >= FORGET_DEATH_S:
                del self._restoring[name]

    def _launch_restore(self, name: str, plan: _Restoring) -> None:
        try:
            self._launch(partial(self._restore, name, plan))
        except Exception:  # no thread could be started, for instance
            plan.running = False
            raise

    def _restore(self, name: str, plan: _Restoring) -> None:
        try:
            self._models.restore(name)
        finally:
            plan.running = False


def exit_process(models: ModelServer) -> None:
    """End the process, in which a worker thread is stuck, with the exit code `EXIT_STUCK`.

    Requests get Unavailable first. The thread may hold locks, of the log too, so that neither is waited for for long.
    """
    ending = threading.Thread(target=_end, args=(models,), name="antiphon-ending", daemon=True)
    ending.start()
    ending.join(MAX_ENDING_S)
    os._exit(EXIT_STUCK)  # the interpreter's own way would wait for the thread, or free what the thread uses


def _end(models: ModelServer) -> None:
    logger.critical("A worker thread is stuck and cannot be ended: the process exits with code %d", EXIT_STUCK)
    models.close(drain=False, timeout=MAX_ENDING_S)
