"""A Hugging Face checkpoint folder as a weight source: safetensors, whole or sharded, fp32, fp16 or bf16.

It must not know which model it feeds, and never opens a pickle.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import ml_dtypes  # noqa: F401  registers bfloat16 with numpy, which safetensors looks up by name
import numpy as np
import openvino as ov
from openvino import opset13 as ops
from safetensors import SafetensorError, safe_open

from antiphon.errors import ConfigError, WeightError
from antiphon.types import WeightFormat
from antiphon.weights.source import Array, as_float32, constant, quantize_rows

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_STORED = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}  # as safetensors spells it
_DTYPES: dict[str, type] = {"fp32": np.float32, "fp16": np.float16}


class Checkpoint:
    """Tensors of a checkpoint folder, read when asked for. Made by `open_checkpoint`."""

    def __init__(
        self, folder: Path, readers: dict[str, safe_open], weight_format: WeightFormat, *, expand: bool = False
    ) -> None:
        self._folder = folder
        self._readers = readers
        self._format = weight_format
        self._expand = expand
        self._matrices: dict[str, tuple[ov.Node, ov.Node | None]] = {}

    def has(self, name: str) -> bool:
        return name in self._readers

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._reader(name).get_slice(name).get_shape())

    def format_of(self, name: str) -> str:
        """What the tensor is kept in: the format asked for, or with "auto" the type it is stored in."""
        stored = str(self._reader(name).get_slice(name).get_dtype())
        return _STORED.get(stored, stored) if self._format == "auto" else self._format

    def array(self, name: str) -> Array:
        """The tensor as stored (numpy; bfloat16 as ml_dtypes.bfloat16)."""
        array: Array = self._reader(name).get_tensor(name)
        if array.dtype.kind not in "fV":
            raise WeightError(
                f"{self._folder}: tensor {name} is {array.dtype}, not a float; quantized checkpoints are not read."
            )
        return array

    def tensor(self, name: str) -> ov.Node:
        return as_float32(constant(self._stored(name)))

    def expanded(self) -> Checkpoint:
        """The same values (rounded as `weight_format` rounds them), handed out as float32 constants.

        For graphs that compute far more than they read: there, decompressing costs time and saves none.
        """
        return Checkpoint(self._folder, self._readers, self._format, expand=True)

    def matrix(self, name: str) -> ov.Node:
        values, scale = self._matrix(name)
        return as_float32(values) if scale is None else ops.multiply(as_float32(values), scale)

    def rows(self, name: str, indices: ov.Output) -> ov.Node:
        values, scale = self._matrix(name)
        axis = ops.constant(np.int32(0))
        found = as_float32(ops.gather(values, indices, axis))
        return found if scale is None else ops.multiply(found, ops.gather(scale, indices, axis))

    def _matrix(self, name: str) -> tuple[ov.Node, ov.Node | None]:
        """The constant behind a matrix and its scales; kept, so that tied uses share one copy."""
        if name not in self._matrices:
            if self._format == "int8":
                values, scale = quantize_rows(self.array(name).astype(np.float32))
                if self._expand:
                    self._matrices[name] = (constant(values * scale), None)
                else:
                    self._matrices[name] = (constant(values), constant(scale))
            else:
                self._matrices[name] = (constant(self._stored(name)), None)
        return self._matrices[name]

    def _stored(self, name: str) -> Array:
        array = self.array(name)
        rounded = array.astype(_DTYPES[self._format]) if self._format in _DTYPES else array
        return rounded.astype(np.float32) if self._expand else rounded

    def _reader(self, name: str) -> safe_open:
        if name not in self._readers:
            raise WeightError(f"{self._folder}: tensor {name} is missing from the checkpoint.")
        return self._readers[name]


@contextmanager
def open_checkpoint(folder: Path, weight_format: WeightFormat = "auto") -> Iterator[Checkpoint]:
    """Open the safetensors of `folder`. "auto" keeps each tensor's stored type.

    Raises ConfigError if there are none, or a shard is missing or unreadable.
    """
    with ExitStack() as stack:
        readers: dict[str, safe_open] = {}
        for path in _shards(folder):
            try:
                reader = stack.enter_context(safe_open(path, framework="numpy"))
            except (OSError, SafetensorError) as error:
                raise ConfigError(f"{path}: cannot be read as safetensors ({error}); copy the file again.") from error
            readers |= dict.fromkeys(reader.keys(), reader)
        yield Checkpoint(folder, readers, weight_format)


def _shards(folder: Path) -> list[Path]:
    index = folder / _INDEX
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ConfigError(f"{index}: not a safetensors index ({error!r}); copy the file again.") from error
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise ConfigError(f"{folder}: shard {missing[0]} is missing, though {_INDEX} names it.")
        return [folder / name for name in names]
    if (folder / _SINGLE).is_file():
        return [folder / _SINGLE]
    if any(folder.glob("*.bin")) or any(folder.glob("*.pt")):
        raise ConfigError(f"{folder}: holds pickled weights only, which are never opened; convert them to {_SINGLE}.")
    raise ConfigError(f"{folder}: no {_SINGLE} in this folder; a Hugging Face checkpoint folder has one.")
