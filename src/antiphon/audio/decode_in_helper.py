"""The server's side of decoding in a helper: it answers requests for ranges of the file, and checks all that comes back."""

from __future__ import annotations

import json
import logging
import os
import struct
from typing import BinaryIO

import numpy as np

from antiphon.audio import decode_messages as messages
from antiphon.audio.sample_store import SampleStore
from antiphon.errors import InvalidAudio, RequestError, TooLarge
from antiphon.isolation.pool import Helper
from antiphon.types.audio import SAMPLE_RATE, Waveform

logger = logging.getLogger(__name__)

HELPER_MODULE = "antiphon.audio.helper"

_ERRORS: dict[str, type[InvalidAudio | TooLarge]] = {"InvalidAudio": InvalidAudio, "TooLarge": TooLarge}
_CODES = ("invalid_audio", "audio_too_long")
_MAX_MESSAGE_CHARACTERS = 500
_MAX_LEVEL = 8.0


class HelperMisbehaved(InvalidAudio):
    """The helper sent what it never should: the file has taken it over, or it has a bug. Kill it."""

    def __init__(self, reason: str) -> None:
        super().__init__("The file made the decoder fail.")
        self.reason = reason


def decode_in_helper(
    helper: Helper, file: BinaryIO, *, max_seconds: float, short: bool
) -> Waveform | RequestError | None:
    """Decode `file` to mono float32 at 16 kHz. Blocks.

    Returns the error if the file is at fault, and None if a `short` task turned out to be long. If anything is raised,
    the helper is in the middle of the task: HelperDied, HelperMisbehaved, or Unavailable if the disk is full.
    """
    size = file.seek(0, os.SEEK_END)
    if not size:
        return InvalidAudio("The file is empty.")
    file.seek(0)
    helper.send(messages.TASK, messages.TASK_HEADER.pack(size, max_seconds, short) + file.read(messages.HEAD_BYTES))
    store = SampleStore()
    most_samples = (max_seconds + 1.0) * SAMPLE_RATE
    while True:
        kind, payload = helper.receive()
        if kind == messages.READ:
            helper.send(messages.DATA, _range(file, payload))
        elif kind == messages.SAMPLES:
            _append(store, payload)
            if len(store) > most_samples:
                raise HelperMisbehaved("more samples than allowed")
        elif kind == messages.DONE:
            return store.finished() if len(store) else InvalidAudio("The audio holds no samples.")
        elif kind == messages.LONG and short:
            return None
        elif kind == messages.ERROR:
            return _error(payload)
        else:
            raise HelperMisbehaved(f"a message of kind {kind!r}")


def _range(file: BinaryIO, payload: bytes) -> bytes:
    try:
        position, length = messages.RANGE.unpack(payload)
    except struct.error as error:
        raise HelperMisbehaved("a range that cannot be read") from error
    if length > messages.MAX_RANGE_BYTES or position >= 1 << 62:
        raise HelperMisbehaved(f"a range of {length} bytes at {position}")
    file.seek(position)
    return file.read(length)


def _append(store: SampleStore, payload: bytes) -> None:
    if len(payload) % 4 or len(payload) > 4 * messages.MAX_BLOCK_SAMPLES:
        raise HelperMisbehaved(f"{len(payload)} bytes of samples")
    block = np.frombuffer(payload, np.float32)
    if len(block) and not np.abs(block).max() <= _MAX_LEVEL:  # false for NaN too
        raise HelperMisbehaved("samples out of range")
    store.append(block)


def _error(payload: bytes) -> RequestError:
    try:
        fields = json.loads(payload)
        kind = _ERRORS[fields["error"]]
        message, code, unexpected = str(fields["message"]), fields["code"], fields["unexpected"]
    except (ValueError, KeyError, TypeError) as error:
        raise HelperMisbehaved("an error that cannot be read") from error
    if code not in _CODES:
        raise HelperMisbehaved("an error with an unknown code")
    if unexpected is not None:
        logger.warning("An upload made decoding fail: %s", str(unexpected)[:_MAX_MESSAGE_CHARACTERS])
    return kind(message[:_MAX_MESSAGE_CHARACTERS], param="file", code=code)
