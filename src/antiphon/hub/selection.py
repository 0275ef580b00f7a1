"""Which files of a hub repository make a model: safetensors or IR, and the small ones beside them; nothing pickled.

It knows names alone; it must not know where they come from, or open anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_NAME = r"[^/\\:]+"  # one step of a path, so that nothing lands outside of its folder
_KEPT = re.compile(
    rf"(vocoder/)?({_NAME}\.(json|safetensors)|openvino_{_NAME}\.(xml|bin))"
    rf"|{_NAME}\.(model|tiktoken|jinja)|merges\.txt|vocab\.txt|graph\.pbtxt|LICEN[CS]E(\.txt|\.md)?"
    rf"|voices/{_NAME}\.(bin|json)|data/{_NAME}\.json"
)
# "pytorch_model.bin.index.json", "model.safetensors.index.fp32.json": they list weights that are not taken.
_INDEX = re.compile(rf"{_NAME}\.index(\.{_NAME})?\.json")
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_WHOLE, _SHARDED = "model.safetensors", "model.safetensors.index.json"
_PICKLED = re.compile(r"[^/]+\.(bin|pt|pth|ckpt|pkl|pickle)")
_ELSEWHERE = re.compile(r"[^/]+\.(msgpack|h5|onnx|gguf|tflite|npz)")


def wanted(paths: Iterable[str]) -> tuple[str, ...]:
    """The files to take, in the order they are listed in."""
    paths = tuple(paths)
    kept = {path for path in paths if _KEPT.fullmatch(path)}
    for folder in ("", "vocoder/"):
        here = {path.removeprefix(folder) for path in kept if path.rpartition("/")[0] == folder.rstrip("/")}
        kept -= {folder + name for name in here - _without_doubles(here)}
    return tuple(path for path in paths if path in kept)


def _without_doubles(names: set[str]) -> set[str]:
    """The same folder with its weights once: whole rather than in pieces, and in one precision."""
    weights = {name for name in names if name.endswith(".safetensors")}
    others = {name for name in names - weights if not _INDEX.fullmatch(name)}
    shards = {name for name in weights if _SHARD.fullmatch(name)}
    if _WHOLE in weights:
        return others | {_WHOLE}
    if _SHARDED in names and shards:
        return others | shards | {_SHARDED}
    return others | weights


def has_weights(paths: Iterable[str]) -> bool:
    """Whether there is something to compute with: safetensors, or an IR with both its halves."""
    names = {path for path in paths if "/" not in path}
    return any(
        name.endswith(".safetensors")
        or (name.startswith("openvino_") and name.endswith(".xml") and f"{name.removesuffix('.xml')}.bin" in names)
        for name in names
    )


def why_not(paths: Iterable[str]) -> str:
    """Why a repository without weights is refused: what it has instead."""
    names = sorted(path for path in paths if "/" not in path and not path.startswith("openvino_"))
    pickled = [name for name in names if _PICKLED.fullmatch(name) and name != "training_args.bin"]
    if pickled:
        chosen = "pytorch_model.bin" if "pytorch_model.bin" in pickled else pickled[0]
        return f"its weights are pickled ({chosen}), and opening a pickle runs whatever code is in it"
    others = [name for name in names if _ELSEWHERE.fullmatch(name)]
    if others:
        return f"it has weights in a format that is not read here ({others[0]})"
    return "it has no weights: no *.safetensors, and no openvino_*.xml with its .bin"
