"""Decoded frames of any format to mono float32 at 16 kHz."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from antiphon.audio.resample import Resampler
from antiphon.errors import InvalidAudio
from antiphon.types.audio import Samples

MAX_LEVEL = 8.0  # of float samples, 18 dB above full scale; a model repeats itself over samples of a million
_BATCH_SAMPLES = 1 << 16  # per channel; numpy takes as long for a frame of a thousand as for thirty of them
# The sample formats that PyAV makes arrays of. It lacks 64-bit integers.
_FORMATS = frozenset({"u8", "s16", "s32", "flt", "dbl", "u8p", "s16p", "s32p", "fltp", "dblp"})
# PyAV takes the planes of a frame from a list that FFmpeg ends for up to eight channels only, and reads beyond its end.
_MAX_PLANES = 8


class MonoConverter:
    """Converts frames to mono float32 at 16 kHz, a few seconds at a time. InvalidAudio for samples that are not finite."""

    def __init__(self) -> None:
        self._resampler = Resampler()
        self._packer = _Packer()
        self._kind: tuple[int, int, bool] | None = None  # rate, channels, planar, of the collected blocks
        self._blocks: list[NDArray[Any]] = []
        self._count = 0

    def feed(self, frame: AudioFrame) -> Samples | None:
        """Add a frame; returns samples when enough are collected. They precede the frame."""
        ready = None
        for packed in self._packer.pack(frame):
            block = packed.to_ndarray()
            kind = packed.sample_rate, packed.layout.nb_channels, packed.format.is_planar
            if self._blocks and (
                kind != self._kind or block.dtype != self._blocks[0].dtype or self._count >= _BATCH_SAMPLES
            ):
                ready = self._convert()
            self._kind = kind
            self._blocks.append(block)
            self._count += packed.samples
        return ready

    def finish(self) -> Samples:
        """The rest. Nothing may be fed afterwards."""
        return np.concatenate([self._convert(), _checked(self._resampler.flush())])

    def _convert(self) -> Samples:
        if self._kind is None:
            return np.empty(0, np.float32)
        rate, channels, planar = self._kind
        block = np.concatenate(self._blocks, axis=1)
        self._kind, self._count = None, 0
        self._blocks.clear()
        mono = _mono(block if planar else block.reshape(-1, channels).T)
        return _checked(self._resampler.feed(mono, rate))


class _Packer:
    """Passes frames on that PyAV can make arrays of, and converts the others to packed float32 by FFmpeg."""

    def __init__(self) -> None:
        self._converter: av.AudioResampler | None = None
        self._kind: tuple[str, str, int] | None = None

    def pack(self, frame: AudioFrame) -> list[AudioFrame]:
        planes = frame.layout.nb_channels if frame.format.is_planar else 1
        if planes <= _MAX_PLANES and frame.format.name in _FORMATS:
            return [frame]
        kind = frame.format.name, frame.layout.name, frame.sample_rate
        if self._converter is None or kind != self._kind:
            self._converter, self._kind = av.AudioResampler(format="flt"), kind
        frame.pts = None
        return self._converter.resample(frame)


def _mono(block: NDArray[Any]) -> Samples:
    """Average the channels, the rows of `block`, and scale to ±1.0."""
    if block.dtype == np.uint8:
        block = (block.astype(np.float32) - 128) / 128
    elif block.dtype.kind == "i":
        block = block.astype(np.float32) / 2.0 ** (8 * block.dtype.itemsize - 1)
    with np.errstate(invalid="ignore", over="ignore"):  # infinities are rejected at the end
        mono = block[0] if len(block) == 1 else block.mean(axis=0, dtype=np.float32)
        return np.ascontiguousarray(mono, np.float32)


def _checked(block: Samples) -> Samples:
    if not np.isfinite(block).all():
        raise InvalidAudio("The audio holds samples that are not numbers.")
    return np.clip(block, -MAX_LEVEL, MAX_LEVEL)
