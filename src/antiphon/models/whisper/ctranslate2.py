"""A CTranslate2 Whisper folder, as faster-whisper uses it: the checkpoint's tensors and configuration under its own names.

The names on the left of the tables are those of a Hugging Face checkpoint, which the graphs ask for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.errors import ConfigError, WeightError
from antiphon.models.whisper.config import TIMESTAMPS
from antiphon.models.whisper.vocabulary import read_vocabulary
from antiphon.weights.config_file import read_json
from antiphon.weights.ctranslate2 import MODEL_FILE, Contents, CTranslate2Tensors, read_contents
from antiphon.weights.source import Array

SPEC = "WhisperSpec"
NEWEST_REVISION = 3  # 1 -> 2 moved fields of the configuration, 2 -> 3 renumbered activations; the tensors are the same
MULTILINGUAL_VOCABULARY = 51865  # tokens; the .en models have one less

_LAYER = re.compile(r"model\.(encoder|decoder)\.layers\.(\d+)\.(.+)\.(weight|bias)")
_NORM_FIELDS = {"weight": "gamma", "bias": "beta"}
_NORMS = {
    "self_attn_layer_norm": "self_attention/layer_norm",
    "encoder_attn_layer_norm": "attention/layer_norm",
    "final_layer_norm": "ffn/layer_norm",
}
# The layer's name in CTranslate2, the number of equal parts its rows are fused of, and which of them is meant.
_LINEARS = {
    "self_attn.q_proj": ("self_attention/linear_0", 3, 0),
    "self_attn.k_proj": ("self_attention/linear_0", 3, 1),
    "self_attn.v_proj": ("self_attention/linear_0", 3, 2),
    "self_attn.out_proj": ("self_attention/linear_1", 1, 0),
    "encoder_attn.q_proj": ("attention/linear_0", 1, 0),
    "encoder_attn.k_proj": ("attention/linear_1", 2, 0),
    "encoder_attn.v_proj": ("attention/linear_1", 2, 1),
    "encoder_attn.out_proj": ("attention/linear_2", 1, 0),
    "fc1": ("ffn/linear_0", 1, 0),
    "fc2": ("ffn/linear_1", 1, 0),
}
_OUTER = {
    "model.encoder.embed_positions.weight": "encoder/position_encodings/encodings",
    "model.decoder.embed_positions.weight": "decoder/position_encodings/encodings",
    "model.decoder.embed_tokens.weight": "decoder/embeddings/weight",
    "proj_out.weight": "decoder/projection/weight",
    "model.encoder.layer_norm.weight": "encoder/layer_norm/gamma",
    "model.encoder.layer_norm.bias": "encoder/layer_norm/beta",
    "model.decoder.layer_norm.weight": "decoder/layer_norm/gamma",
    "model.decoder.layer_norm.bias": "decoder/layer_norm/beta",
} | {
    f"model.encoder.conv{number}.{field}": f"encoder/conv{number}/{field}"
    for number in (1, 2)
    for field in ("weight", "bias")
}


class CTranslate2Checkpoint:
    """The tensors of a Whisper checkpoint by their Hugging Face names, read from a `model.bin`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tensors = CTranslate2Tensors(folder / MODEL_FILE, open_contents(folder))

    def has(self, name: str) -> bool:
        if name == "proj_out.weight" and self._is_tied():
            return False  # as in a checkpoint: the graphs then share the embedding instead of loading it twice
        with suppress(WeightError):
            return self._tensors.has(self._place(name)[0])
        return False

    def shape(self, name: str) -> tuple[int, ...]:
        place, parts, _ = self._place(name)
        shape = self._tensors.shape(place)
        return (shape[0] // parts, *shape[1:])

    def stored(self, name: str) -> str:
        return self._tensors.stored(self._place(name)[0])

    def array(self, name: str) -> Array:
        """A tensor; int8 and int16 are dequantised to float32."""
        return self._tensors.array(*self._rows(name))

    def int8_rows(self, name: str) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """An int8 matrix as it is stored, and the factor of each row."""
        return self._tensors.int8_rows(*self._rows(name))

    def _is_tied(self) -> bool:
        """Whether the output matrix is the embedding, under an alias."""
        return self._tensors.same(_OUTER["proj_out.weight"], _OUTER["model.decoder.embed_tokens.weight"])

    def _rows(self, name: str) -> tuple[str, slice]:
        place, parts, part = self._place(name)
        rows = self._tensors.shape(place)[0] // parts
        return place, slice(part * rows, (part + 1) * rows)

    def _place(self, name: str) -> tuple[str, int, int]:
        """The CTranslate2 name of a tensor, of how many equal parts it is fused, and which of them this is."""
        if name in _OUTER:
            return _OUTER[name], 1, 0
        if match := _LAYER.fullmatch(name):
            side, number, layer, field = match.groups()
            if layer in _NORMS:
                return f"{side}/layer_{number}/{_NORMS[layer]}/{_NORM_FIELDS[field]}", 1, 0
            # Keys have no bias in Whisper; CTranslate2 stores zeros there, because their rows are fused with others.
            if layer in _LINEARS and not (layer.endswith("k_proj") and field == "bias"):
                place, parts, part = _LINEARS[layer]
                return f"{side}/layer_{number}/{place}/{field}", parts, part
        raise WeightError(f"{self._folder / MODEL_FILE}: tensor {name} is missing.")


def open_contents(folder: Path) -> Contents:
    """The table of the folder's `model.bin`. ConfigError if it is another kind of model, or a newer one."""
    path = folder / MODEL_FILE
    contents = read_contents(path)
    if contents.spec not in ("", SPEC):
        raise ConfigError(f"{path}: holds a {contents.spec.removesuffix('Spec')} model, not Whisper.")
    if contents.revision > NEWEST_REVISION:
        raise ConfigError(
            f"{path}: Whisper revision {contents.revision} is newer than the {NEWEST_REVISION} that is read; convert the "
            "model with an older CTranslate2."
        )
    return contents


def read_configs(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The folder's `config.json` and `generation_config.json` as a Hugging Face checkpoint would have them.

    Shapes come from the tensors, special tokens from the size of the vocabulary and its language names, and the
    suppressed tokens and alignment heads from CTranslate2's own `config.json`.
    Raises ConfigError or WeightError naming the file that is missing or wrong.
    """
    path = folder / MODEL_FILE
    tensors = CTranslate2Tensors(path, open_contents(folder))
    vocabulary_size, width = tensors.shape("decoder/embeddings/weight")
    own = read_json(folder / "config.json") if (folder / "config.json").is_file() else {}
    config: dict[str, Any] = {
        "model_type": "whisper",
        "vocab_size": vocabulary_size,
        "num_mel_bins": tensors.shape("encoder/conv1/weight")[1],
        "d_model": width,
        "max_source_positions": tensors.shape("encoder/position_encodings/encodings")[0],
        "max_target_positions": tensors.shape("decoder/position_encodings/encodings")[0],
    }
    for side in ("encoder", "decoder"):
        layers = 0
        while tensors.has(f"{side}/layer_{layers}/ffn/linear_0/weight"):
            layers += 1
        if not layers:
            raise ConfigError(f"{path}: has no layers of the {side}; this is not a whole Whisper model.")
        config |= {
            f"{side}_layers": layers,
            f"{side}_attention_heads": _heads(tensors, side, width),
            f"{side}_ffn_dim": tensors.shape(f"{side}/layer_0/ffn/linear_0/weight")[0],
        }
    multilingual = vocabulary_size >= MULTILINGUAL_VOCABULARY
    end = 50257 if multilingual else 50256
    config |= {"eos_token_id": end, "decoder_start_token_id": end + 1}
    generation = {
        "is_multilingual": multilingual,
        "no_timestamps_token_id": vocabulary_size - TIMESTAMPS - 1,
        "lang_to_id": _languages(folder, end, vocabulary_size) if multilingual else {},
        "suppress_tokens": own.get("suppress_ids") or (),
        "begin_suppress_tokens": own.get("suppress_ids_begin") or (),
        "alignment_heads": own.get("alignment_heads") or (),
    }
    return config, generation


def _heads(tensors: CTranslate2Tensors, side: str, width: int) -> int:
    """Attention heads of a side; revision 1 does not hold them, and every published Whisper has heads of 64."""
    name = f"{side}/num_heads"
    return tensors.scalar(name) if tensors.has(name) else width // 64


def _languages(folder: Path, end: int, vocabulary_size: int) -> Mapping[str, int]:
    """Language tokens by name. They follow <|startoftranscript|> and end before <|translate|>."""
    first, last = end + 2, vocabulary_size - TIMESTAMPS - 1 - 5
    return {name: index for index, name in enumerate(read_vocabulary(folder)) if first <= index < last}
