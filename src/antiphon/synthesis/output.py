"""Speech on its way into a file: played at the speed that was asked for, then encoded, piece by piece.

It must not know where the samples come from or where the bytes go.
"""

from __future__ import annotations

import math

import numpy as np

from antiphon.audio.encode import AudioFormat, Encoder
from antiphon.audio.time_stretch import FASTEST, SLOWEST, Stretch
from antiphon.errors import InvalidParameter
from antiphon.types.audio import Samples


class AudioFileWriter:
    """Samples (mono float32 at `rate`) in, bytes of one file out. Not safe to use from two threads at once.

    `whole` takes all samples at once, so that a header can say how long the file is; `add` and `finish` take them as they come.
    """

    def __init__(self, form: AudioFormat, rate: int, speed: float = 1.0) -> None:
        check_speed(speed)
        self._form = form
        self._rate = rate
        self._stretch = Stretch(rate, speed)
        self._encoder: Encoder | None = None

    def add(self, samples: Samples) -> bytes:
        """The bytes that are ready after these samples; maybe none yet."""
        return self._encode(self._stretch.push(samples))

    def finish(self) -> bytes:
        """The rest."""
        return self._encode(self._stretch.finish()) + self._open(None).finish()

    def whole(self, samples: Samples) -> bytes:
        """All of a recording that nothing was added to, with true sizes in its header."""
        played = np.concatenate([self._stretch.push(samples), self._stretch.finish()])
        encoder = self._open(len(played))
        return encoder.encode(played) + encoder.finish()

    def close(self) -> None:
        """Free what the encoder holds; a recording that is given up needs it."""
        if self._encoder is not None:
            self._encoder.close()

    def _encode(self, samples: Samples) -> bytes:
        return self._open(None).encode(samples) if len(samples) else b""

    def _open(self, samples: int | None) -> Encoder:
        if self._encoder is None:
            self._encoder = Encoder(self._form, self._rate, samples=samples)
        return self._encoder


def check_speed(speed: float, least: float = SLOWEST, most: float = FASTEST) -> None:
    """`InvalidParameter` for a speed outside of what is taken; a model may take less than all."""
    if not (math.isfinite(speed) and least <= speed <= most):
        raise InvalidParameter(f"speed must be from {least:g} to {most:g}, not {speed:g}.", param="speed")
