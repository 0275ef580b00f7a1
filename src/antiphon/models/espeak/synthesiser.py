"""The server's side of eSpeak NG: a helper process that speaks one sentence at a time, and is replaced when it dies.

The library runs in a process of its own (`process.py`) because a text can crash it or keep it busy, and because its licence is
GPL-3.0.
"""

from __future__ import annotations

import json
import logging
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import NoReturn

import numpy as np

from antiphon.errors import ConfigError, EngineFailed
from antiphon.isolation.channel import Message
from antiphon.isolation.pool import Helper, HelperDied
from antiphon.models.espeak.process import ERROR, FINISHED, SAMPLES, SPEAK, VOICES
from antiphon.types.audio import Samples

logger = logging.getLogger(__name__)

MODULE = "antiphon.models.espeak.process"
START_LIMIT_S = 60.0  # a tenth of a second is usual

# A helper under an attacker's control must not fill the server's memory. It sends messages of about 35 kB, and the longest
# sound of a sentence of 240 characters that has been seen takes 120 of them.
_MAX_MESSAGE_BYTES = 1 << 17
_MAX_UNREAD_MESSAGES = 1000
_BYTES_A_SAMPLE = 2


@dataclass(frozen=True, slots=True)
class Limit:
    """Seconds, and more seconds for each character of a sentence."""

    fixed: float
    a_character: float

    def of(self, text: str) -> float:
        return self.fixed + self.a_character * len(text)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a sentence may take before its helper is killed.

    The slowest voice takes 0.3 ms of processor time a character and makes 0.4 s of sound of it. The time by the clock is longer
    than that of the processor, because all processors may be busy with something else.
    """

    processor: Limit = Limit(2.0, 0.02)
    clock: Limit = Limit(20.0, 0.1)
    sound: Limit = Limit(10.0, 4.0)


@dataclass(frozen=True, slots=True)
class Voices:
    """What the library offers. `rate` is in Hz; `path` is the library's file."""

    path: Path
    rate: int
    languages: tuple[str, ...]
    variants: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Speech:
    """The next samples of the sentence, mono float32 at the library's rate; none may have been ready yet."""

    samples: Samples
    finished: bool


class Synthesiser:
    """eSpeak NG in a helper process, which ends when this object is dropped, or with the process that owns it.

    One thread uses it at a time. Raises ConfigError if the library cannot be loaded.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._due = 0.0  # when the sentence has to be finished, by the monotonic clock
        self._bytes_left = 0  # of its sound
        self._start()
        self.voices = self._receive_voices()

    @property
    def pid(self) -> int:
        """The process id of the helper."""
        return self._helper.pid

    def start(self, text: str, voice: str) -> None:
        """Start to speak `text`; `read` until it is finished, or `stop`. EngineFailed if there is no helper to do it."""
        if self._is_dead():
            self._replace()
        task = {"text": text, "voice": voice, "cpu_seconds": self._limits.processor.of(text)}
        try:
            self._helper.send(SPEAK, json.dumps(task).encode())
        except HelperDied as error:
            self._fail(f"The helper of eSpeak NG died before a sentence (status {error.status}).")
        self._due = time.monotonic() + self._limits.clock.of(text)
        self._bytes_left = int(self._limits.sound.of(text) * self.voices.rate) * _BYTES_A_SAMPLE

    def read(self, timeout: float) -> Speech:
        """The samples that arrive within `timeout` seconds, sooner if the sentence is finished before.

        EngineFailed if the helper dies, exceeds its limits or refuses the sentence; it is replaced then.
        """
        pieces: list[bytes] = []
        finished = False
        until = time.monotonic() + timeout
        while not finished and (message := self._next(until)) is not None:
            if message.kind == SAMPLES:
                pieces.append(message.payload)
                self._bytes_left -= len(message.payload)
            if self._bytes_left < 0:
                self._fail("eSpeak NG made too much sound of a sentence, and was killed.")
            finished = message.kind == FINISHED
        if not finished and time.monotonic() > self._due:
            self._fail("eSpeak NG took too long for a sentence, and was killed.")
        integers = np.frombuffer(b"".join(pieces), np.int16)
        return Speech(np.multiply(integers, 1 / 32768, dtype=np.float32), finished)

    def stop(self) -> None:
        """Give up the sentence that was started: the helper is killed and replaced."""
        self._replace()

    def _next(self, until: float) -> Message | None:
        """The next message about the sentence; None if there is none by `until`."""
        while True:
            try:
                message = self._messages.get(timeout=max(0.0, until - time.monotonic()))
            except Empty:
                return None
            if isinstance(message, HelperDied):
                reason = "used all its processor time" if message.out_of_time else f"died (status {message.status})"
                self._fail(f"eSpeak NG {reason} while it spoke a sentence.")
            if message.kind == ERROR:
                logger.error("eSpeak NG refused a sentence: %.200r", message.payload.decode(errors="replace"))
                raise EngineFailed("eSpeak NG could not speak this text.")
            if message.kind != VOICES:  # what a new helper starts with
                return message

    def _receive_voices(self) -> Voices:
        try:
            message = self._messages.get(timeout=START_LIMIT_S)
        except Empty:
            message = HelperDied(None)
        if isinstance(message, HelperDied) or message.kind != VOICES:
            self._close()
            if isinstance(message, HelperDied):
                raise ConfigError(f"espeak: the helper process does not start (status {message.status}).") from message
            raise ConfigError(message.payload.decode(errors="replace"))
        found = json.loads(message.payload)
        return Voices(Path(found["path"]), found["rate"], tuple(found["languages"]), tuple(found["variants"]))

    def _start(self) -> None:
        self._helper = Helper(MODULE)
        self._close = weakref.finalize(self, self._helper.close)
        self._messages: SimpleQueue[Message | HelperDied] = SimpleQueue()
        # A pipe cannot be waited for with a time limit on every system; a queue can.
        self._reader = Thread(
            target=_read_all, args=(self._helper, self._messages), name="antiphon-espeak-reader", daemon=True
        )
        self._reader.start()

    def _is_dead(self) -> bool:
        return not self._reader.is_alive()

    def _replace(self) -> None:
        """End the helper and start another one, whose start nothing waits for. If that fails, `start` tries again."""
        self._close()
        try:
            self._start()
        except (OSError, RuntimeError):  # no memory, descriptor or thread is left
            logger.exception("No helper process could be started for eSpeak NG")

    def _fail(self, reason: str) -> NoReturn:
        """Replace the helper and end the sentence. The text is not in the log."""
        logger.error("%s", reason)
        self._replace()
        raise EngineFailed("eSpeak NG failed on this text.")


def _read_all(helper: Helper, messages: SimpleQueue[Message | HelperDied]) -> None:
    """Move what the helper sends into the queue; the last entry says that it died."""
    while True:
        try:
            message = helper.receive()
        except HelperDied as error:
            messages.put(error)
            return
        if len(message.payload) > _MAX_MESSAGE_BYTES or messages.qsize() > _MAX_UNREAD_MESSAGES:
            helper.kill()
        else:
            messages.put(message)
