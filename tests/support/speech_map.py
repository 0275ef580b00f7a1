"""Files that are only a map of speech, noise and silence, for tests of VAD and chunking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.transcription.energy import HOP_SAMPLES, Energy
from antiphon.transcription.vad import FRAME_SAMPLES, SpeechActivity
from antiphon.types.audio import Samples
from antiphon.types.options import VadOptions

UNIT = 5 * FRAME_SAMPLES  # samples: 160 ms, whole frames of the detector and whole hops
SPEECH, MURMUR, SOUND, HUSH, DEAD = range(5)  # MURMUR is quiet speech, SOUND loud noise, HUSH quiet noise
LEVELS = np.array([-20.0, -58.0, -20.0, -60.0, -120.0], np.float32)  # dBFS
THRESHOLD = -50.0
# The value of all samples of a kind, at its level; positive in speech.
VALUES = (10.0 ** (LEVELS / 20.0) * [1, 1, -1, -1, 0]).astype(np.float32)


class Map:
    """A file of whole units whose sample values encode the kind."""

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
    def energy(self) -> Energy:
        return Energy(np.repeat(LEVELS[self.kinds], UNIT // HOP_SAMPLES), THRESHOLD, len(self))

    def activity(self, options: VadOptions = VadOptions()) -> SpeechActivity:  # noqa: B008  immutable
        return SpeechActivity(self, self.energy, MapDetectors(), options)

    def of(self, *kinds: int) -> NDArray[np.bool_]:
        """True for the samples of one of these kinds."""
        return np.repeat(np.isin(self.kinds, kinds), UNIT)


class MapDetectors:
    """Detectors that read the kind off a map's samples, and count the frames they analyse."""

    def __init__(self) -> None:
        self.frames = 0

    @contextmanager
    def borrow(self) -> Iterator[Any]:
        yield self

    def probabilities(self, samples: Samples) -> NDArray[np.float32]:
        values = samples[FRAME_SAMPLES // 2 :: FRAME_SAMPLES]
        self.frames += len(values)
        return np.where(values > 0, 0.9, 0.05).astype(np.float32)
