"""Write synthesised speech to an audio file, block by block or all at once."""

from __future__ import annotations

from antiphon.audio.encode import AudioFormat, Encoder
from antiphon.types.audio import Samples


class AudioFileWriter:
    """Encodes mono float32 samples at `rate` into the bytes of one file. Not thread-safe.

    `whole` takes all samples at once, so that the header has the true length; `add` and `finish` take them as they come.
    """

    def __init__(self, form: AudioFormat, rate: int) -> None:
        self._form = form
        self._rate = rate
        self._encoder: Encoder | None = None

    def add(self, samples: Samples) -> bytes:
        """Add samples and return the bytes that are ready, often none."""
        return self._open(None).encode(samples) if len(samples) else b""

    def finish(self) -> bytes:
        """Return the rest of the file."""
        return self._open(None).finish()

    def whole(self, samples: Samples) -> bytes:
        """Return the whole file at once, with its true length in the header; nothing may have been added before."""
        encoder = self._open(len(samples))
        return encoder.encode(samples) + encoder.finish()

    def close(self) -> None:
        """Free the encoder; needed if the file is not finished."""
        if self._encoder is not None:
            self._encoder.close()

    def _open(self, samples: int | None) -> Encoder:
        if self._encoder is None:
            self._encoder = Encoder(self._form, self._rate, samples=samples)
        return self._encoder
