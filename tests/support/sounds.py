"""Audio files in memory: a tone of a known length in any container PyAV can write."""

from __future__ import annotations

import io
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

USUAL_FORMATS = (  # container and codec
    ("wav", "pcm_s16le"),
    ("mp3", "libmp3lame"),
    ("flac", "flac"),
    ("ogg", "libopus"),
    ("webm", "libopus"),
    ("mp4", "aac"),
)


class Unseekable(io.RawIOBase):
    """A pipe: an encoder that writes into it cannot go back to fill in lengths."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, data: Any) -> int:
        self.data += data
        return len(data)


def tone(seconds: float, rate: int, frequency: float = 440.0) -> NDArray[np.float32]:
    """A sine at half of full scale."""
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def encode(
    channels: NDArray[np.float32],
    rate: int,
    container: str = "wav",
    codec: str = "pcm_s16le",
    *,
    seekable: bool = True,
    **options: str,
) -> bytes:
    """`channels` (channels, samples) as the bytes of a file."""
    target: Any = io.BytesIO() if seekable else Unseekable()
    with av.open(target, "w", format=container, options=options) as output:
        layout = "mono" if len(channels) == 1 else "stereo"
        stream: Any = output.add_stream(codec, rate=rate, layout=layout)
        stream.codec_context.options = {"strict": "-2"}  # FFmpeg's vorbis encoder is marked experimental
        stream.open()
        # frame_size cuts the sound into the codec's frames; PCM takes any size.
        resampler = av.AudioResampler(stream.format, layout, rate, frame_size=stream.frame_size or 1024)
        pieces = []
        if channels.size:
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(channels), format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate, 0
            pieces = [*resampler.resample(frame), *resampler.resample(None)]
        for piece in pieces:
            output.mux(stream.encode(piece))
        output.mux(stream.encode(None))
    return target.getvalue() if seekable else bytes(target.data)


def make_audio(
    seconds: float = 1.0,
    container: str = "wav",
    codec: str = "pcm_s16le",
    *,
    rate: int = 16_000,
    channels: int = 1,
    seekable: bool = True,
    **options: str,
) -> bytes:
    """A tone as the bytes of a file."""
    sound = np.stack([tone(seconds, rate)] * channels)
    return encode(sound, rate, container, codec, seekable=seekable, **options)
