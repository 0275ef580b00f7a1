"""A Hugging Face checkpoint folder as a weight source: safetensors, whole or sharded, fp32, fp16 or bf16. Pickles are never
opened."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import ml_dtypes  # noqa: F401  registers bfloat16 with numpy, which safetensors looks up by name
from safetensors import SafetensorError, safe_open

from antiphon.errors import ConfigError, WeightError
from antiphon.types.options import WeightFormat
from antiphon.weights.quantized import QuantizedWeights
from antiphon.weights.source import Array

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_FORMATS = {"F32": "fp32", "F16": "fp16", "BF16": "bf16"}  # safetensors' names of the types


class SafetensorsTensors:
    """Implements `StoredTensors` over a checkpoint folder's files; tensors are read on demand."""

    def __init__(self, folder: Path, readers: dict[str, safe_open]) -> None:
        self._folder = folder
        self._readers = readers

    def has(self, name: str) -> bool:
        return name in self._readers

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._reader(name).get_slice(name).get_shape())

    def stored(self, name: str) -> str:
        dtype = str(self._reader(name).get_slice(name).get_dtype())
        return _FORMATS.get(dtype, dtype)

    def array(self, name: str) -> Array:
        """The tensor as stored; bfloat16 as ml_dtypes.bfloat16. Raises WeightError if it does not hold floats."""
        array: Array = self._reader(name).get_tensor(name)
        if array.dtype.kind not in "fV":
            raise WeightError(
                f"{self._folder}: tensor {name} is {array.dtype}, not a float; quantized checkpoints are not read."
            )
        return array

    def _reader(self, name: str) -> safe_open:
        if name not in self._readers:
            raise WeightError(f"{self._folder}: tensor {name} is missing from the checkpoint.")
        return self._readers[name]


@contextmanager
def open_checkpoint(folder: Path, weight_format: WeightFormat = "auto") -> Iterator[QuantizedWeights]:
    """Open the safetensors of `folder`. "auto" keeps each tensor's stored format.

    Raises ConfigError if there are none, or if a shard is missing or cannot be read.
    """
    with ExitStack() as stack:
        readers: dict[str, safe_open] = {}
        for path in _shards(folder):
            try:
                reader = stack.enter_context(safe_open(path, framework="numpy"))
            except (OSError, SafetensorError) as error:
                raise ConfigError(f"{path}: cannot be read as safetensors ({error}); copy the file again.") from error
            readers |= dict.fromkeys(reader.keys(), reader)
        yield QuantizedWeights(SafetensorsTensors(folder, readers), weight_format)


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
