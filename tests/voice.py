"""Speech for tests: the espeak family's own synthesiser, at 16 kHz, with the speed and pitch the starter knows best."""

from __future__ import annotations

import ctypes

import numpy as np
import soxr
from numpy.typing import NDArray

from antiphon.models.espeak.synthesiser import CHARACTER_POSITION, UTF8, Synthesiser

_LIST_END, _WORD = 0, 1


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("identity", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Voice:
    """eSpeak NG in this process; nothing is installed on the machine and no file is written."""

    def __init__(self) -> None:
        self._synthesiser = Synthesiser()

    def speak(
        self, text: str, *, voice: str = "en-us", words_a_minute: int = 165, pitch: int = 50
    ) -> NDArray[np.float32]:
        """`text` as 16 kHz float32 samples."""
        samples = self._synthesiser.speak(text, voice, words_a_minute=words_a_minute, pitch=pitch)
        return soxr.resample(samples, self._synthesiser.rate, 16_000).astype(np.float32)

    def word_times(self, text: str, *, voice: str = "en-us") -> dict[int, float]:
        """When, in seconds, the word at each place of `text` begins in what `speak` says of it."""
        self.speak(text, voice=voice)  # which also sets the voice, the speed and the pitch
        times: dict[int, float] = {}

        def take(_samples: object, _count: int, events: ctypes.Array[_Event]) -> int:
            index = 0
            while events and events[index].type != _LIST_END:
                event = events[index]
                if event.type == _WORD:
                    times[event.text_position - 1] = event.sample / self._synthesiser.rate
                index += 1
            return 0

        library = ctypes.CDLL(str(self._synthesiser.path))
        callback = _Callback(take)
        library.espeak_SetSynthCallback(callback)
        encoded = text.encode() + b"\0"
        size = ctypes.c_size_t(len(encoded))
        library.espeak_Synth(encoded, size, 0, CHARACTER_POSITION, 0, UTF8, None, None)
        library.espeak_Synchronize()
        return times
