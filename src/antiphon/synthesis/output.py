"""Writes speech into an audio file, piece by piece or all at once."""

from __future__ import annotations

from antiphon.audio.encode import AudioFormat, Encoder
from antiphon.types.audio import Samples


class AudioFileWriter:
    """Encodes mono float32 samples at `rate` into the bytes of one file. Not safe to use from two threads at once.

    `whole` takes all samples at once, so that the header has the true length; `add` and `finish` take them as they come.
    """

    def __init__(self, form: AudioFormat, rate: int) -> None:
        self._form = form
        self._rate = rate
        self._encoder: Encoder | None = None

    def add(self, samples: Samples) -> bytes:
        """The bytes that are ready after these samples, which may be none."""
        return self._open(None).encode(samples) if len(samples) else b""

    def finish(self) -> bytes:
        """The bytes that are left."""
        return self._open(None).finish()

    def whole(self, samples: Samples) -> bytes:
        """The whole file, with the true sizes in its header; nothing may have been added before."""
        encoder = self._open(len(samples))
        return encoder.encode(samples) + encoder.finish()

    def close(self) -> None:
        """Free the encoder. Needed when the file is given up unfinished."""
        if self._encoder is not None:
            self._encoder.close()

    def _open(self, samples: int | None) -> Encoder:
        if self._encoder is None:
            self._encoder = Encoder(self._form, self._rate, samples=samples)
        return self._encoder
