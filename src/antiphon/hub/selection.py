"""Selects the files of a hub repository that make a model: safetensors or IR, configuration and tokenizer; no pickles."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NAME = r"[^/\\:]+"  # one component of a path, so that no file is written outside its folder
_KEPT = re.compile(
    rf"(vocoder/)?({_NAME}\.(json|safetensors)|openvino_{_NAME}\.(xml|bin))"
    rf"|{_NAME}\.(model|tiktoken|jinja)|merges\.txt|vocab\.txt|graph\.pbtxt|LICEN[CS]E(\.txt|\.md)?"
    rf"|voices/{_NAME}\.(bin|json)|data/{_NAME}\.json"
)
# A CTranslate2 model: its model.bin is no pickle, which the vocabulary next to it shows.
_CTRANSLATE2, _VOCABULARIES = "model.bin", {"vocabulary.json", "vocabulary.txt"}
# "pytorch_model.bin.index.json", "model.safetensors.index.fp32.json": they list weights that are not selected.
_INDEX = re.compile(rf"{_NAME}\.index(\.{_NAME})?\.json")
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_WHOLE, _SHARDED = "model.safetensors", "model.safetensors.index.json"
_PICKLED = re.compile(r"[^/]+\.(bin|pt|pth|ckpt|pkl|pickle)")
_OTHER_FORMATS = re.compile(r"[^/]+\.(msgpack|h5|onnx|gguf|tflite|npz)")


def select_files(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the files to download, in their listed order."""
    paths = tuple(paths)
    kept = {path for path in paths if _KEPT.fullmatch(path)}
    if _is_ctranslate2(paths):
        kept |= {_CTRANSLATE2, *_VOCABULARIES} & set(paths)
    for folder in ("", "vocoder/"):
        here = {path.removeprefix(folder) for path in kept if path.rpartition("/")[0] == folder.rstrip("/")}
        kept -= {folder + name for name in here - _without_duplicates(here)}
    return tuple(path for path in paths if path in kept)


def _without_duplicates(names: set[str]) -> set[str]:
    """Keep one copy of the weights: a single file rather than shards, and one precision."""
    weights = {name for name in names if name.endswith(".safetensors")}
    others = {name for name in names - weights if not _INDEX.fullmatch(name)}
    shards = {name for name in weights if _SHARD.fullmatch(name)}
    if _WHOLE in weights:
        return others | {_WHOLE}
    if _SHARDED in names and shards:
        return others | shards | {_SHARDED}
    return others | weights


def lists_weights(paths: Iterable[str]) -> bool:
    """Whether there are safetensors, an IR with both its .xml and its .bin, or a CTranslate2 model."""
    names = {path for path in paths if "/" not in path}
    return _is_ctranslate2(names) or any(
        name.endswith(".safetensors")
        or (name.startswith("openvino_") and name.endswith(".xml") and f"{name.removesuffix('.xml')}.bin" in names)
        for name in names
    )


def _is_ctranslate2(paths: Iterable[str]) -> bool:
    names = set(paths)
    return _CTRANSLATE2 in names and bool(_VOCABULARIES & names)


def pickled_weights(paths: Iterable[str]) -> list[str]:
    """The files at the top that hold pickled weights."""
    return [name for name in _at_the_top(paths) if _PICKLED.fullmatch(name) and name != "training_args.bin"]


def why_unusable(paths: Iterable[str]) -> str:
    """Why a repository without usable weights is refused: what it has instead."""
    names = _at_the_top(paths)
    pickled = pickled_weights(names)
    if pickled:
        chosen = "pytorch_model.bin" if "pytorch_model.bin" in pickled else pickled[0]
        return f"its weights are pickled ({chosen}), and loading a pickle runs any code in it"
    others = [name for name in names if _OTHER_FORMATS.fullmatch(name)]
    if others:
        return f"its weights are in a format that is not supported ({others[0]})"
    return "it has no weights: no *.safetensors, no openvino_*.xml with its .bin, and no model.bin of CTranslate2"


def _at_the_top(paths: Iterable[str]) -> list[str]:
    return sorted(path for path in paths if "/" not in path and not path.startswith("openvino_"))
