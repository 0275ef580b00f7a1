"""A tiny Whisper checkpoint folder made with numpy alone: random weights, a toy vocabulary, Whisper's token order.

The same seed gives the same folder everywhere, so goldens made by the oracle from it hold without PyTorch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from tests.support.toy_vocabulary import byte_letters

WIDTH, HEADS, LAYERS, FFN, MELS = 30, 3, 2, 44, 80
LETTERS = 256
SPECIALS = [
    "<|endoftext|>",
    "<|startoftranscript|>",
    "<|en|>",
    "<|es|>",
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
]
IDS = {name: LETTERS + index for index, name in enumerate(SPECIALS)}
FIRST_TIMESTAMP = LETTERS + len(SPECIALS)
VOCABULARY = FIRST_TIMESTAMP + 1501
SPACE = 32

Tensors = dict[str, NDArray[Any]]


def write_tiny(folder: Path, *, seed: int = 0, languages: bool = True) -> Path:
    """Write the checkpoint; `languages=False` makes an ".en" model of it."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(random_tensors(seed), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config()))
    (folder / "generation_config.json").write_text(json.dumps(generation_config(languages)))
    write_tokenizer(folder)
    return folder


def config() -> dict[str, Any]:
    return {
        "model_type": "whisper",
        "architectures": ["WhisperForConditionalGeneration"],
        "vocab_size": VOCABULARY,
        "num_mel_bins": MELS,
        "d_model": WIDTH,
        "encoder_layers": LAYERS,
        "decoder_layers": LAYERS,
        "encoder_attention_heads": HEADS,
        "decoder_attention_heads": HEADS,
        "encoder_ffn_dim": FFN,
        "decoder_ffn_dim": FFN,
        "max_source_positions": 1500,
        "max_target_positions": 448,
        "bos_token_id": IDS["<|endoftext|>"],
        "eos_token_id": IDS["<|endoftext|>"],
        "pad_token_id": IDS["<|endoftext|>"],
        "decoder_start_token_id": IDS["<|startoftranscript|>"],
    }


def generation_config(languages: bool = True) -> dict[str, Any]:
    result: dict[str, Any] = {
        "bos_token_id": IDS["<|endoftext|>"],
        "eos_token_id": IDS["<|endoftext|>"],
        "pad_token_id": IDS["<|endoftext|>"],
        "decoder_start_token_id": IDS["<|startoftranscript|>"],
        "is_multilingual": languages,
        "no_timestamps_token_id": IDS["<|notimestamps|>"],
        "prev_sot_token_id": IDS["<|startofprev|>"],
        "begin_suppress_tokens": [SPACE, IDS["<|endoftext|>"]],
        "suppress_tokens": [3, 5, *(IDS[name] for name in SPECIALS[1:2] + SPECIALS[4:9])],
        "max_initial_timestamp_index": 50,
        "max_length": 448,
    }
    if languages:
        result["lang_to_id"] = {name: IDS[name] for name in ("<|en|>", "<|es|>")}
        result["task_to_id"] = {name: IDS[f"<|{name}|>"] for name in ("transcribe", "translate")}
    return result


def random_tensors(seed: int) -> Tensors:
    """Weights in Hugging Face's names and shapes, spread enough that greedy decoding varies."""
    generator = np.random.default_rng(seed)

    def draw(*shape: int, scale: float = 0.35) -> NDArray[np.float32]:
        return (generator.standard_normal(shape) * scale).astype(np.float32)

    def norm(name: str) -> Tensors:
        return {f"{name}.weight": 1 + draw(WIDTH), f"{name}.bias": draw(WIDTH)}

    def linear(name: str, out: int, into: int, bias: bool = True) -> Tensors:
        return {f"{name}.weight": draw(out, into)} | ({f"{name}.bias": draw(out)} if bias else {})

    def attention(name: str) -> Tensors:
        tensors: Tensors = {}
        for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
            tensors |= linear(f"{name}.{part}", WIDTH, WIDTH, bias=part != "k_proj")
        return tensors | norm(f"{name}_layer_norm")

    def layer(name: str) -> Tensors:
        return linear(f"{name}.fc1", FFN, WIDTH) | linear(f"{name}.fc2", WIDTH, FFN) | norm(f"{name}.final_layer_norm")

    tensors: Tensors = {
        "model.encoder.conv1.weight": draw(WIDTH, MELS, 3),
        "model.encoder.conv1.bias": draw(WIDTH),
        "model.encoder.conv2.weight": draw(WIDTH, WIDTH, 3),
        "model.encoder.conv2.bias": draw(WIDTH),
        "model.encoder.embed_positions.weight": draw(1500, WIDTH),
        "model.decoder.embed_tokens.weight": draw(VOCABULARY, WIDTH, scale=0.5),
        "model.decoder.embed_positions.weight": draw(448, WIDTH, scale=1.0),
    }
    for side in ("encoder", "decoder"):
        tensors |= norm(f"model.{side}.layer_norm")
        for index in range(LAYERS):
            name = f"model.{side}.layers.{index}"
            tensors |= layer(name) | attention(f"{name}.self_attn")
            tensors |= attention(f"{name}.encoder_attn") if side == "decoder" else {}
    return tensors


def write_tokenizer(folder: Path) -> None:
    """One token for each byte, then the special tokens."""
    alphabet = byte_letters()
    tokenizer = Tokenizer(models.BPE({letter: byte for byte, letter in alphabet.items()}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    names = [*SPECIALS, *(f"<|{index * 0.02:.2f}|>" for index in range(1501))]
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    tokenizer.save(str(folder / "tokenizer.json"))


def noise(seconds: float, seed: int = 0) -> NDArray[np.float32]:
    """White noise at -20 dBFS, 16 kHz."""
    return (np.random.default_rng(seed).standard_normal(round(seconds * 16_000)) * 0.1).astype(np.float32)
