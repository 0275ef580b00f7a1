"""Files that exist only as a map of what is in them, for tests of planning: what is speech, and how loud everything is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.transcription.energy import HOP, Energy
from antiphon.transcription.silero import FRAME
from antiphon.transcription.vad import Voice
from antiphon.types.audio import Samples
from antiphon.types.options import VadOptions

UNIT = 5 * FRAME  # samples: 160 ms, whole frames of the detector and whole hops
SPEECH, MURMUR, SOUND, HUSH, DEAD = range(5)  # quiet speech, what is loud and no speech, quiet noise
LEVELS = np.array([-20.0, -58.0, -20.0, -60.0, -120.0], np.float32)  # dBFS
THRESHOLD = -50.0
# Every sample of a kind has the value that makes this level; it is positive in speech.
VALUES = (10.0 ** (LEVELS / 20.0) * [1, 1, -1, -1, 0]).astype(np.float32)


class Map:
    """A file of whole units, whose samples tell what they are part of."""

    def __init__(self, stretches: Sequence[tuple[int, int]]) -> None:
        kinds = [np.full(units, kind) for kind, units in stretches]
        self.kinds: NDArray[np.int_] = np.concatenate([np.zeros(0, np.int_), *kinds])

    def __len__(self) -> int:
        return len(self.kinds) * UNIT

    def __getitem__(self, stretch: slice) -> Samples:
        start, end, _ = stretch.indices(len(self))
        first = start // UNIT
        values = VALUES[self.kinds[first : -(-end // UNIT)]]
        return np.repeat(values, UNIT)[start - first * UNIT : end - first * UNIT]

    @property
    def loudness(self) -> Energy:
        return Energy(np.repeat(LEVELS[self.kinds], UNIT // HOP), THRESHOLD, len(self))

    def voice(self, options: VadOptions = VadOptions()) -> Voice:  # noqa: B008  immutable
        return Voice(self, self.loudness, Knowing(), options)

    def of(self, *kinds: int) -> NDArray[np.bool_]:
        """Which samples are of one of the kinds."""
        return np.repeat(np.isin(self.kinds, kinds), UNIT)


class Knowing:
    """Detectors that read the truth off a map's samples. Counts the frames they were asked about."""

    def __init__(self) -> None:
        self.frames = 0

    @contextmanager
    def borrow(self) -> Iterator[Any]:
        yield self

    def probabilities(self, samples: Samples) -> NDArray[np.float32]:
        values = samples[FRAME // 2 :: FRAME]
        self.frames += len(values)
        return np.where(values > 0, 0.9, 0.05).astype(np.float32)
