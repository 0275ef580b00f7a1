"""Decodes uploads in helper processes, which are killed at the request's deadline or when the client disconnects."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO

from antiphon.audio.decode_in_helper import HELPER_MODULE, HelperMisbehaved, decode_in_helper
from antiphon.errors import Cancelled, EngineFailed, InvalidAudio, RequestError, Unavailable
from antiphon.isolation.pool import Helper, HelperDied, HelperPool
from antiphon.types.audio import Waveform

logger = logging.getLogger(__name__)

_RETRY_AFTER_S = 5.0
_Outcome = Waveform | RequestError | None


class _Task:
    """One upload. `cancel` ends the helper that works on it, and no other task of that helper."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._helper: Helper | None = None
        self.cancelled = False

    @contextmanager
    def running(self, helper: Helper) -> Iterator[None]:
        with self._lock:
            if self.cancelled:
                raise Cancelled("The decoding was cancelled.")
            self._helper = helper
        try:
            yield
        finally:
            with self._lock:
                self._helper = None

    def cancel(self) -> None:
        with self._lock:
            self.cancelled = True
            if self._helper is not None:
                self._helper.kill()


class _Class:
    """The helpers for short or for long audio, and a thread for each, which exchanges its messages."""

    def __init__(self, name: str, size: int) -> None:
        self._helpers = HelperPool(HELPER_MODULE, size)
        self._threads = ThreadPoolExecutor(size, thread_name_prefix=f"antiphon-decode-{name}")
        self._short = name == "short"

    def start(self) -> None:
        self._helpers.start(1)

    def submit(self, task: _Task, file: BinaryIO, max_seconds: float) -> Future[_Outcome]:
        return self._threads.submit(self._run, task, file, max_seconds)

    def close(self) -> None:
        self._helpers.close()
        self._threads.shutdown(cancel_futures=True)

    def _run(self, task: _Task, file: BinaryIO, max_seconds: float) -> _Outcome:
        try:
            with self._helpers.use() as helper, task.running(helper):
                return decode_in_helper(helper, file, max_seconds=max_seconds, short=self._short)
        except HelperDied as error:
            if task.cancelled:
                raise Cancelled("The decoding was cancelled.") from error
            if error.status is None:
                raise Unavailable("The server is closing.", retry_after=_RETRY_AFTER_S) from error
            if self._short and error.out_of_time:
                return None
            logger.warning("An upload of %d bytes ended its decoder: status %d", _size(file), error.status)
            if error.status >= 0:  # not by a signal: an exception of ours, or an installation that lacks a module
                raise EngineFailed(f"The decoder ended with status {error.status}.") from error
            if error.out_of_time:
                return InvalidAudio("The file takes more time to decode than files of its size may.")
            return InvalidAudio("The file made the decoder fail.")
        except HelperMisbehaved as error:
            logger.warning("The decoder sent %s; the upload has %d bytes", error.reason, _size(file))
            return InvalidAudio(str(error))


class Decoders:
    """Two classes of helper processes with half of `helpers` each; by default one a core, at least two.

    All uploads start in the class for short audio. One that turns out to hold more than a minute starts again in the other,
    so that long audio does not delay short audio, whatever the size of its file. Call `close` at the end.
    """

    def __init__(self, helpers: int | None = None) -> None:
        size = max(2, os.cpu_count() or 1) if helpers is None else max(1, helpers // 2)
        self._short = _Class("short", size)
        self._long = _Class("long", size)

    def start(self) -> None:
        """Start a helper, so that the first request does not have to wait for one. Returns before it is ready.

        Further ones start when they are needed, within a quarter of a second, and stay.
        """
        self._short.start()

    async def decode(self, file: BinaryIO, *, max_seconds: float) -> Waveform:
        """Decode `file` to mono float32 at 16 kHz. When this returns or raises, cancelled or not, no thread reads it any more.

        Raises InvalidAudio if it is not audio, damaged, truncated, empty, or takes more than its share of memory or time;
        TooLarge if it is longer than `max_seconds`; Unavailable if there is no room for the samples; EngineFailed if the
        helper has a bug.
        """
        task = _Task()
        outcome = await _result(task, partial(self._short.submit, task, file, max_seconds))
        if outcome is None:
            outcome = await _result(task, partial(self._long.submit, task, file, max_seconds))
        assert outcome is not None
        if isinstance(outcome, RequestError):
            raise outcome
        return outcome

    def close(self) -> None:
        """End the helpers and threads. Blocking."""
        self._short.close()
        self._long.close()


async def _result(task: _Task, submit: partial[Future[_Outcome]]) -> _Outcome:
    """The outcome of a task. If the caller is cancelled, the task is too, and has ended when this raises."""
    job = submit()
    outcome = asyncio.wrap_future(job)
    try:
        return await asyncio.shield(outcome)
    except asyncio.CancelledError:
        task.cancel()
        job.cancel()  # if it has not started
        while not outcome.done():
            with contextlib.suppress(asyncio.CancelledError):  # a second one: the task still ends first
                await asyncio.wait((outcome,))
        if not outcome.cancelled():
            outcome.exception()  # or asyncio reports an exception that was never retrieved
        raise


def _size(file: BinaryIO) -> int:
    return file.seek(0, os.SEEK_END)
