"""Speech from eSpeak NG at 16 kHz, and the time at which it begins each word."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import numpy as np
import soxr
from numpy.typing import NDArray

from antiphon.models.espeak.library import CHARACTER_POSITION, UTF8, Library

RATE = 16_000
LIST_END, WORD_EVENT = 0, 1


class _Identity(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class Event(ctypes.Structure):
    """`espeak_EVENT` of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("identity", _Identity),
    )


# The library calls this with each block of sound: the samples, their number, and the events in them.
Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))


class Voice:
    """The library of the espeak family, in this process.

    Speed and pitch are those that most of starter-asr's training used.
    """

    def __init__(self) -> None:
        self._library = Library()

    def speak(
        self, text: str, *, voice: str = "en-us", words_a_minute: int = 165, pitch: int = 50
    ) -> NDArray[np.float32]:
        """`text` as 16 kHz float32 samples."""
        blocks: list[bytes] = []
        self._library.speak(text, voice, blocks.append, words_a_minute=words_a_minute, pitch=pitch)
        samples = np.frombuffer(b"".join(blocks), np.int16).astype(np.float32) / np.float32(32768)
        return soxr.resample(samples, self._library.rate, RATE).astype(np.float32)

    def word_times(self, text: str, *, voice: str = "en-us") -> dict[int, float]:
        """The start of each word in seconds, by the word's position in `text`."""
        self.speak(text, voice=voice)  # also sets the voice, the speed and the pitch
        times: dict[int, float] = {}

        def take(_samples: object, _count: int, events: ctypes.Array[Event]) -> int:
            for event in _listed(events):
                if event.type == WORD_EVENT:
                    times[event.text_position - 1] = event.sample / self._library.rate
            return 0

        library = ctypes.CDLL(str(self._library.path))
        callback = Callback(take)
        library.espeak_SetSynthCallback(callback)
        encoded = text.encode() + b"\0"
        size = ctypes.c_size_t(len(encoded))
        library.espeak_Synth(encoded, size, 0, CHARACTER_POSITION, 0, UTF8, None, None)
        library.espeak_Synchronize()
        return times


def _listed(events: ctypes.Array[Event]) -> Iterator[Event]:
    """The events of one call, up to the end mark."""
    index = 0
    while events and events[index].type != LIST_END:
        yield events[index]
        index += 1
