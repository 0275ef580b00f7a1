"""Decode an audio file in this process, to mono float32 at 16 kHz. For trusted files."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from antiphon.audio.decode_blocks import decode_blocks
from antiphon.audio.sample_store import SampleStore
from antiphon.errors import Cancelled, InvalidAudio
from antiphon.types.audio import Waveform
from antiphon.types.cancellation import CancelCheck, never


def decode(
    source: Path | bytes | BinaryIO, *, max_seconds: float | None = None, cancelled: CancelCheck = never
) -> Waveform:
    """Decode all of `source` to mono float32 at 16 kHz: an array, or a SampleStore if it is long. Blocks.

    Raises InvalidAudio if it is not audio, damaged, truncated or empty; TooLarge as soon as it exceeds `max_seconds`;
    Cancelled soon after `cancelled()` returns True. `cancelled` is called often and must be fast.
    """
    if isinstance(source, Path):
        try:
            with source.open("rb") as file:
                return _decode(file, max_seconds, cancelled)
        except OSError as error:
            raise InvalidAudio(f"Cannot read {source}: {error.strerror}.") from error
    return _decode(BytesIO(source) if isinstance(source, bytes) else source, max_seconds, cancelled)


def _decode(file: BinaryIO, max_seconds: float | None, cancelled: CancelCheck) -> Waveform:
    def checkpoint(_seconds: float) -> None:
        if cancelled():
            raise Cancelled("The decoding was cancelled.")

    store = SampleStore()
    for block in decode_blocks(file, max_seconds=max_seconds, checkpoint=checkpoint):
        store.append(block)
    return store.finished()
