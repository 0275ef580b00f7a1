"""Speech for tests: espeak-ng's library, as the wheel espeakng-loader carries it, called in process.

16 kHz mono float32 out; nothing is installed on the machine and no file is written.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

import espeakng_loader
import numpy as np
import soxr
from numpy.typing import NDArray

_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: samples go to the callback and nowhere else
_UTF8 = 1
_RATE, _PITCH = 1, 3  # espeak_PARAMETER
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class Voice:
    """espeak-ng, initialised once a process: its library keeps global state."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        data = espeakng_loader.get_data_path().encode()
        self._rate = self._library.espeak_Initialize(_SYNCHRONOUS, 0, data, 0)
        assert self._rate > 0, "espeak-ng found no voice data"

    def speak(
        self, text: str, *, voice: str = "en-us", words_a_minute: int = 165, pitch: int = 50
    ) -> NDArray[np.float32]:
        """`text` as 16 kHz float32 samples."""
        assert self._library.espeak_SetVoiceByName(voice.encode()) == 0, voice
        self._library.espeak_SetParameter(_RATE, words_a_minute, 0)
        self._library.espeak_SetParameter(_PITCH, pitch, 0)
        with self._collecting() as pieces:
            encoded = text.encode() + b"\0"
            self._library.espeak_Synth(encoded, len(encoded), 0, 0, 0, _UTF8, None, None)
            self._library.espeak_Synchronize()
        samples = np.concatenate(pieces).astype(np.float32) / 32768
        return soxr.resample(samples, self._rate, 16_000).astype(np.float32)

    @contextmanager
    def _collecting(self) -> Iterator[list[NDArray[np.int16]]]:
        pieces: list[NDArray[np.int16]] = []

        def take(samples: ctypes.Array[ctypes.c_short], count: int, events: object) -> int:
            if samples and count > 0:
                pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
            return 0

        callback = _CALLBACK(take)
        self._library.espeak_SetSynthCallback(callback)
        yield pieces
