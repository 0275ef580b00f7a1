"""CTranslate2's `model.bin` as named arrays: every type and version that faster-whisper's converters have written.

The layout is that of CTranslate2 4.8 (`python/ctranslate2/specs/model_spec.py`, `ModelSpec._serialize`), binary
versions 1 to 6, little-endian, without padding.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from antiphon.errors import ConfigError, WeightError

if TYPE_CHECKING:
    from antiphon.weights.source import Array  # brings OpenVINO in, which reading a header does not need

MODEL_FILE = "model.bin"
NEWEST_VERSION = 6  # binary version; CTranslate2 reads what is not newer than itself

_TYPES: tuple[tuple[str, np.dtype[np.generic]], ...] = (  # by the type byte: name, numpy type
    ("fp32", np.dtype("<f4")),
    ("int8", np.dtype("i1")),
    ("int16", np.dtype("<i2")),
    ("int32", np.dtype("<i4")),
    ("fp16", np.dtype("<f2")),
    ("bf16", np.dtype(ml_dtypes.bfloat16)),
)
_TYPE_BY_ITEM_SIZE = {4: 0, 2: 2, 1: 1}  # binary versions below 4 give an item size instead of a type
_LONGEST_NAME = 4096
_MOST_DIMENSIONS = 8


@dataclass(frozen=True, slots=True)
class Variable:
    """Where one tensor lies in the file. `kind` indexes the types; `offset` is in bytes."""

    shape: tuple[int, ...]
    kind: int
    offset: int


@dataclass(frozen=True, slots=True)
class Contents:
    """The table of a `model.bin`: its specification's name and revision, and every variable under all of its names."""

    spec: str
    revision: int
    variables: Mapping[str, Variable]


def read_contents(path: Path) -> Contents:
    """Read the names and places of all variables; no tensor is loaded.

    Raises ConfigError if the file is missing, truncated, written by a newer CTranslate2, or not a `model.bin` at all.
    """
    with _opened(path) as reader:
        return reader.contents()


def read_model_type(path: Path) -> str:
    """The kind of model in a file, as a Hugging Face `model_type`: "whisper" for a WhisperSpec. Raises as `read_contents`.

    The oldest files name no specification; faster-whisper never wrote those, so they count as Whisper.
    """
    with _opened(path) as reader:
        return (reader.header()[1] or "WhisperSpec").removesuffix("Spec").lower()


@contextmanager
def _opened(path: Path) -> Iterator[_Reader]:
    try:
        with path.open("rb") as file:
            yield _Reader(path, file, path.stat().st_size)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from error


class CTranslate2Tensors:
    """Tensors by their CTranslate2 names, read from the file when they are asked for."""

    def __init__(self, path: Path, contents: Contents) -> None:
        self._path = path
        self._variables = contents.variables

    def has(self, name: str) -> bool:
        return name in self._variables

    def same(self, one: str, other: str) -> bool:
        """Whether two names are one tensor. False if either is missing."""
        return self.has(one) and self._variables[one] == self._variables.get(other)

    def shape(self, name: str) -> tuple[int, ...]:
        return self._variable(name).shape

    def stored(self, name: str) -> str:
        """The format a tensor is stored in: "fp32", "fp16", "bf16", "int8" or "int16"."""
        return _TYPES[self._variable(name).kind][0]

    def array(self, name: str, rows: slice = slice(None)) -> Array:
        """A tensor, or some of its rows; int8 and int16 are dequantised to float32.

        Int8 has one scale for each row, int16 one for the tensor; a stored value is the weight times its scale
        (`LayerSpec._quantize`), so it is divided here.
        """
        stored = self._read(name, rows)
        if stored.dtype.kind != "i":
            return stored
        scales = self._read(f"{name}_scale", rows if self.stored(name) == "int8" else slice(None)).astype(np.float32)
        return stored.astype(np.float32) / scales.reshape(-1, *(1,) * (stored.ndim - 1))

    def int8_rows(self, name: str, rows: slice = slice(None)) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """An int8 tensor as it is stored, and the float32 factor of each row by which it is multiplied."""
        scales = self._read(f"{name}_scale", rows).astype(np.float32)
        return self._read(name, rows).astype(np.int8, copy=False), np.float32(1) / scales

    def scalar(self, name: str) -> int:
        """A whole number, such as the heads of a layer."""
        return int(self._read(name).reshape(-1)[0])

    def _variable(self, name: str) -> Variable:
        if name not in self._variables:
            raise WeightError(f"{self._path}: tensor {name} is missing.")
        return self._variables[name]

    def _read(self, name: str, rows: slice = slice(None)) -> Array:
        variable = self._variable(name)
        dtype = _TYPES[variable.kind][1]
        # A map of its own for each read: only the pages that are read come in, and none stays mapped.
        mapped = np.memmap(self._path, dtype, "r", variable.offset, variable.shape or (1,))
        part = mapped[rows] if variable.shape else mapped
        return np.array(part)


class _Reader:
    """Walks through the file's records, checking each length against what is left of the file."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self._path = path
        self._file = file
        self._size = size

    def header(self) -> tuple[int, str, int]:
        """The binary version, the specification's name and its revision."""
        version = self._number("<I")
        if not 1 <= version <= NEWEST_VERSION:
            newer = NEWEST_VERSION < version < 100
            raise self._wrong(
                f"binary version {version} is newer than the {NEWEST_VERSION} that is read; convert the model with an "
                "older CTranslate2"
                if newer
                else "not a CTranslate2 model"
            )
        spec = self._text() if version >= 2 else ""
        return version, spec, self._number("<I") if version >= 2 else 1

    def contents(self) -> Contents:
        version, spec, revision = self.header()
        variables = dict(self._variable(version) for _ in range(self._number("<I")))
        if version >= 3:
            for _ in range(self._number("<I")):
                self._alias(variables)
        return Contents(spec, revision, variables)

    def _variable(self, version: int) -> tuple[str, Variable]:
        name = self._text()
        rank = self._number("<B")
        if rank > _MOST_DIMENSIONS:
            raise self._wrong(f"tensor {name} has {rank} dimensions")
        shape = tuple(self._number("<I") for _ in range(rank))
        kind = self._number("<B")
        if version < 4:
            kind, size = _TYPE_BY_ITEM_SIZE.get(kind, -1), self._number("<I") * kind
        else:
            size = self._number("<I")
        if not 0 <= kind < len(_TYPES):
            raise self._wrong(f"tensor {name} has a type that is not known; it was written by a newer CTranslate2")
        if size != math.prod(shape) * _TYPES[kind][1].itemsize:
            raise self._wrong(f"tensor {name} of shape {list(shape)} does not have {size} bytes")
        offset = self._file.tell()
        self._skip(size)
        return name, Variable(shape, kind, offset)

    def _alias(self, variables: dict[str, Variable]) -> None:
        alias, target = self._text(), self._text()
        for suffix in ("", "_scale", "_zero"):
            if target + suffix in variables:
                variables.setdefault(alias + suffix, variables[target + suffix])

    def _number(self, form: str) -> int:
        data = self._take(struct.calcsize(form))
        return int(struct.unpack(form, data)[0])

    def _text(self) -> str:
        length = self._number("<H")
        if not 1 <= length <= _LONGEST_NAME:
            raise self._wrong("not a CTranslate2 model, or damaged")
        return self._take(length)[:-1].decode("utf-8", "replace")

    def _take(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise self._truncated()
        return data

    def _skip(self, size: int) -> None:
        if self._file.tell() + size > self._size:
            raise self._truncated()
        self._file.seek(size, 1)

    def _truncated(self) -> ConfigError:
        return self._wrong(f"the file ends too early, at {self._size} bytes; download it again")

    def _wrong(self, reason: str) -> ConfigError:
        return ConfigError(f"{self._path}: {reason}.")
