"""Speech for tests: the espeak family's own synthesiser, at 16 kHz, with the speed and pitch the starter knows best."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from antiphon.models.espeak.synthesiser import Synthesiser


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
