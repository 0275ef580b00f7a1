"""The voices of a SpeechT5 model: speaker embeddings, each a file of raw float32 values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from antiphon.errors import ConfigError

FOLDER = "voices"
DEFAULT = "default"

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SpeakerEmbeddings:
    """Speaker embeddings of unit length by name, the model's own default first."""

    embeddings: dict[str, Floats]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.embeddings)


def read_voices(
    folder: Path, values: int, speaker: tuple[str, Path] | None = None, more: tuple[tuple[str, Path], ...] = ()
) -> SpeakerEmbeddings:
    """Read `voices/*.bin` of a model folder, the files of `more` and, if given, the one `speaker`, which is the default.

    Each must hold `values` values. Without a speaker, the default is `default`, else the first of `more`, else the first
    by name. Raises ConfigError for a file of another size, for values without a direction (all zero or not finite), and
    for a model without a voice.
    """
    paths = {path.stem: path for path in sorted((folder / FOLDER).glob("*.bin"))}
    first = DEFAULT if DEFAULT in paths else more[0][0] if more else next(iter(paths), DEFAULT)
    paths |= dict(more)
    if speaker is not None:
        first = speaker[0]
        paths[first] = speaker[1]
    if not paths:
        raise ConfigError(
            f"{folder}: no voice; put a speaker embedding ({_size(values)}) into {folder / FOLDER}/NAME.bin, or give one."
        )
    names = [first, *(name for name in paths if name != first)]
    return SpeakerEmbeddings({name: _read(paths[name], values) for name in names})


def read_floats(path: Path, values: int, *, fix: str = "") -> Floats:
    """Read a voice's file of raw float32. Raises ConfigError if it cannot be read or does not hold `values` values."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: the voice cannot be read ({error.strerror}).") from error
    if len(content) != 4 * values:
        raise ConfigError(f"{path}: {len(content)} bytes, but a voice of this model is {_size(values)}{fix}.")
    return np.frombuffer(content, "<f4").astype(np.float32)


def _read(path: Path, values: int) -> Floats:
    embedding = read_floats(path, values, fix="; make its embedding again").astype(np.float64)
    length = float(np.sqrt(np.square(embedding).sum()))
    if not np.isfinite(length) or length == 0:
        raise ConfigError(f"{path}: the values are all zero or not finite; make the voice's embedding again.")
    return (embedding / length).astype(np.float32)


def _size(values: int) -> str:
    return f"{values} float32 values, {4 * values} bytes"
