"""Owns eSpeak NG as the starters' figures and tests have it speak: at 16 kHz, and when it says what.

It must not know about models; nothing is installed on the machine and no file is written."""

from __future__ import annotations

import ctypes

import numpy as np
import soxr
from numpy.typing import NDArray

from antiphon.models.espeak.synthesiser import CHARACTER_POSITION, UTF8, Synthesiser
from training.events import WORD_EVENT, Callback, Event, listed

RATE = 16_000


class Voice:
    """The espeak family's own synthesiser, with the speed and the pitch that the starter knows best."""

    def __init__(self) -> None:
        self._synthesiser = Synthesiser()

    def speak(
        self, text: str, *, voice: str = "en-us", words_a_minute: int = 165, pitch: int = 50
    ) -> NDArray[np.float32]:
        """`text` as 16 kHz float32 samples."""
        samples = self._synthesiser.speak(text, voice, words_a_minute=words_a_minute, pitch=pitch)
        return soxr.resample(samples, self._synthesiser.rate, RATE).astype(np.float32)

    def word_times(self, text: str, *, voice: str = "en-us") -> dict[int, float]:
        """When, in seconds, the word at each place of `text` begins in what `speak` says of it."""
        self.speak(text, voice=voice)  # which also sets the voice, the speed and the pitch
        times: dict[int, float] = {}

        def take(_samples: object, _count: int, events: ctypes.Array[Event]) -> int:
            for event in listed(events):
                if event.type == WORD_EVENT:
                    times[event.text_position - 1] = event.sample / self._synthesiser.rate
            return 0

        library = ctypes.CDLL(str(self._synthesiser.path))
        callback = Callback(take)
        library.espeak_SetSynthCallback(callback)
        encoded = text.encode() + b"\0"
        size = ctypes.c_size_t(len(encoded))
        library.espeak_Synth(encoded, size, 0, CHARACTER_POSITION, 0, UTF8, None, None)
        library.espeak_Synchronize()
        return times
