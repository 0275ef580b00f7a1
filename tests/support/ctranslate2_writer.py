"""Writes CTranslate2 folders of Whisper for tests: any binary version, any storage type, with or without a tokenizer.json."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

_KINDS = ("f4", "i1", "i2", "i4", "f2", "bf16")


def write_model(
    path: Path,
    variables: Mapping[str, Array],
    *,
    version: int = 6,
    spec: str = "WhisperSpec",
    revision: int = 3,
    aliases: Mapping[str, str] | None = None,
) -> None:
    """A `model.bin` with these variables, in the layout of a binary version from 1 to 6."""
    parts = [struct.pack("<I", version)]
    if version >= 2:
        parts += [_text(spec), struct.pack("<I", revision)]
    parts.append(struct.pack("<I", len(variables)))
    for name, array in sorted(variables.items()):
        data = np.ascontiguousarray(array)
        shape = np.shape(array)
        parts += [_text(name), struct.pack(f"<B{len(shape)}I", len(shape), *shape)]
        if version >= 4:
            parts.append(struct.pack("<BI", _kind(data), data.nbytes))
        else:
            parts.append(struct.pack("<BI", data.dtype.itemsize, data.size))
        parts.append(data.tobytes())
    if version >= 3:
        parts.append(struct.pack("<I", len(aliases or {})))
        parts += [_text(name) for pair in (aliases or {}).items() for name in pair]
    path.write_bytes(b"".join(parts))


def whisper_variables(tensors: Mapping[str, Array], kind: str) -> dict[str, Array]:
    """The variables of a Whisper checkpoint, named and fused as CTranslate2 has them; `kind` is the storage type.

    "int8" and "int16" quantise the weights of linear, embedding and convolution layers by CTranslate2's rule.
    """
    floats: dict[str, Array] = {}
    heads = {}
    for side in ("encoder", "decoder"):
        prefix = f"model.{side}"
        layers = sum(name.startswith(f"{prefix}.layers.") and name.endswith(".fc1.weight") for name in tensors)
        heads[f"{side}/num_heads"] = np.int16(tensors[f"{prefix}.heads"])
        floats[f"{side}/position_encodings/encodings"] = tensors[f"{prefix}.embed_positions.weight"]
        _norm(floats, tensors, f"{prefix}.layer_norm", f"{side}/layer_norm")
        for number in range(layers):
            _layer(floats, tensors, f"{prefix}.layers.{number}", f"{side}/layer_{number}", cross=side == "decoder")
    floats["decoder/embeddings/weight"] = tensors["model.decoder.embed_tokens.weight"]
    for number in (1, 2):
        for field in ("weight", "bias"):
            floats[f"encoder/conv{number}/{field}"] = tensors[f"model.encoder.conv{number}.{field}"]
    stored: dict[str, Array] = {}
    for name, array in floats.items():
        stored |= _stored(name, array.astype(np.float32), kind)
    return stored | heads


def write_folder(
    folder: Path, variables: Mapping[str, Array], vocabulary: Sequence[str], config: Mapping[str, object]
) -> None:
    """A folder as faster-whisper's converter writes it, without tokenizer.json."""
    folder.mkdir(parents=True, exist_ok=True)
    write_model(folder / "model.bin", variables, aliases={"decoder/projection/weight": "decoder/embeddings/weight"})
    (folder / "vocabulary.json").write_text(json.dumps(list(vocabulary)))
    (folder / "config.json").write_text(json.dumps(dict(config)))


def _layer(floats: dict[str, Array], tensors: Mapping[str, Array], source: str, target: str, *, cross: bool) -> None:
    attention = f"{target}/self_attention"
    _fused(floats, tensors, source + ".self_attn", ("q_proj", "k_proj", "v_proj"), f"{attention}/linear_0")
    _fused(floats, tensors, source + ".self_attn", ("out_proj",), f"{attention}/linear_1")
    _norm(floats, tensors, f"{source}.self_attn_layer_norm", f"{attention}/layer_norm")
    if cross:
        _fused(floats, tensors, source + ".encoder_attn", ("q_proj",), f"{target}/attention/linear_0")
        _fused(floats, tensors, source + ".encoder_attn", ("k_proj", "v_proj"), f"{target}/attention/linear_1")
        _fused(floats, tensors, source + ".encoder_attn", ("out_proj",), f"{target}/attention/linear_2")
        _norm(floats, tensors, f"{source}.encoder_attn_layer_norm", f"{target}/attention/layer_norm")
    _fused(floats, tensors, source, ("fc1",), f"{target}/ffn/linear_0")
    _fused(floats, tensors, source, ("fc2",), f"{target}/ffn/linear_1")
    _norm(floats, tensors, f"{source}.final_layer_norm", f"{target}/ffn/layer_norm")


def _fused(
    floats: dict[str, Array], tensors: Mapping[str, Array], source: str, names: Sequence[str], target: str
) -> None:
    weights = [tensors[f"{source}.{name}.weight"] for name in names]
    biases = [
        tensors.get(f"{source}.{name}.bias", np.zeros(len(weight))) for name, weight in zip(names, weights, strict=True)
    ]
    floats[f"{target}/weight"], floats[f"{target}/bias"] = np.concatenate(weights), np.concatenate(biases)


def _norm(floats: dict[str, Array], tensors: Mapping[str, Array], source: str, target: str) -> None:
    floats[f"{target}/gamma"], floats[f"{target}/beta"] = tensors[f"{source}.weight"], tensors[f"{source}.bias"]


def _stored(name: str, array: Array, kind: str) -> dict[str, Array]:
    if kind in ("int8", "int16") and name.endswith("/weight"):
        rows = array.reshape(len(array), -1)
        if kind == "int16":
            scale: Array = np.float32(2**10 / np.abs(array).max())
            return {name: np.rint(array * scale).astype(np.int16), f"{name}_scale": scale}
        peak = np.abs(rows).max(axis=1)
        scale = (127 / np.where(peak == 0, 127, peak)).astype(np.float32)
        return {name: np.rint(rows * scale[:, None]).astype(np.int8).reshape(array.shape), f"{name}_scale": scale}
    types: dict[str, Any] = {"fp32": np.float32, "fp16": np.float16, "bf16": ml_dtypes.bfloat16}
    return {name: array.astype(types.get(kind, np.float32))}


def _kind(array: Array) -> int:
    return 5 if array.dtype == ml_dtypes.bfloat16 else _KINDS.index(array.dtype.str.lstrip("<|>="))


def _text(text: str) -> bytes:
    data = text.encode() + b"\0"
    return struct.pack("<H", len(data)) + data
