"""Audio as every layer passes it: mono float32 samples."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000  # Hz; every recognition family here takes 16 kHz mono
WINDOW_SECONDS = 30
WINDOW_SAMPLES = WINDOW_SECONDS * SAMPLE_RATE  # 480,000

Samples = NDArray[np.float32]


class Waveform(Protocol):
    """Mono float32 at 16 kHz that can be sliced: an array, or a file on disk for audio too long to keep in memory."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Samples: ...
