"""Write synthesised speech to an audio file, block by block or all at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from antiphon.audio.encode import AudioFormat, Encoder
from antiphon.errors import Cancelled
from antiphon.types.audio import Samples


class AudioFileWriter:
    """Encodes mono float32 samples at `rate` into the bytes of one file.

    `whole` takes all samples at once, so that the header has the true length; `add` and `finish` take them as they come.
    One thread at a time may encode. `close` may be called meanwhile: the encoder is then freed when that thread has left
    it, because FFmpeg crashes if it is freed earlier.
    """

    def __init__(self, form: AudioFormat, rate: int) -> None:
        self._form = form
        self._rate = rate
        self._encoder: Encoder | None = None
        self._lock = Lock()  # held by the thread that encodes
        self._closed = False

    def add(self, samples: Samples) -> bytes:
        """Add samples and return the bytes that are ready, often none. Cancelled after `close`."""
        with self._opened(None) as encoder:
            return encoder.encode(samples) if len(samples) else b""

    def finish(self) -> bytes:
        """Return the rest of the file. Cancelled after `close`."""
        with self._opened(None) as encoder:
            return encoder.finish()

    def whole(self, samples: Samples) -> bytes:
        """Return the whole file at once, with its true length in the header; nothing may have been added before."""
        with self._opened(len(samples)) as encoder:
            return encoder.encode(samples) + encoder.finish()

    def close(self) -> None:
        """Free the encoder, as soon as no thread uses it; needed if the file is not finished. Does not block."""
        self._closed = True
        self._free()

    @contextmanager
    def _opened(self, samples: int | None) -> Iterator[Encoder]:
        try:
            with self._lock:
                if self._closed:
                    raise Cancelled("The audio file was closed before it was complete.")
                if self._encoder is None:
                    self._encoder = Encoder(self._form, self._rate, samples=samples)
                yield self._encoder
        finally:
            if self._closed:
                self._free()

    def _free(self) -> None:
        if self._lock.acquire(blocking=False):  # otherwise the thread that has the lock frees the encoder
            try:
                if self._encoder is not None:
                    self._encoder.close()
            finally:
                self._lock.release()
