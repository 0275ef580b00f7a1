"""Random-weight Whisper checkpoints in any shape, written by transformers, with the real Whisper vocabulary.

The byte-level BPE is rebuilt from the ranks that the openai-whisper package carries.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import WhisperConfig, WhisperForConditionalGeneration
from whisper.tokenizer import LANGUAGES


@dataclass(frozen=True)
class Shape:
    """One configuration; `lively` is added to the final layer norm's bias so that outputs vary (seeded)."""

    name: str
    width: int = 64
    heads: int = 4
    decoder_heads: int | None = None
    layers: int = 2
    decoder_layers: int | None = None
    ffn: int | None = None
    mels: int = 80
    vocabulary: int = 51865
    seed: int = 0
    dtype: torch.dtype = torch.float32
    max_initial_timestamp: int | None = 50
    tied: bool = True
    init_std: float = 0.1


def vocabulary_names(vocabulary: int) -> list[str]:
    """The special tokens after the BPE, in Whisper's order; `.en` models (51864) name languages too but use none."""
    languages = list(LANGUAGES)[: vocabulary - 51765 - (vocabulary >= 51865)]
    names = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in languages)]
    names += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    return names + [f"<|{index * 0.02:.2f}|>" for index in range(1501)]


@cache
def byte_pairs(multilingual: bool) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges of the BPE whose ranks tiktoken files hold: each rank is the pair that makes it."""
    name = "multilingual.tiktoken" if multilingual else "gpt2.tiktoken"
    lines = (resources.files("whisper") / "assets" / name).read_text().splitlines()
    ranks = {base64.b64decode(token): int(rank) for token, rank in (line.split() for line in lines if line)}
    letters = _byte_letters()
    spelled = {token: "".join(letters[byte] for byte in token) for token in ranks}
    merges = []
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        if len(token) > 1:
            left, right = _last_pair(token, ranks, rank)
            merges.append((spelled[left], spelled[right]))
    return {spelled[token]: rank for token, rank in ranks.items()}, merges


def _last_pair(token: bytes, ranks: dict[bytes, int], rank: int) -> tuple[bytes, bytes]:
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        scored = [(ranks.get(parts[i] + parts[i + 1], rank), i) for i in range(len(parts) - 1)]
        best, index = min(scored)
        assert best < rank, token
        parts[index : index + 2] = [parts[index] + parts[index + 1]]
    return parts[0], parts[1]


def _byte_letters() -> dict[int, str]:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def write_tokenizer(folder: Path, vocabulary: int) -> None:
    """A `tokenizer.json` with Whisper's BPE and special tokens."""
    pairs, merges = byte_pairs(vocabulary != 51864)
    tokenizer = Tokenizer(models.BPE(pairs, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(name, special=True, normalized=False) for name in vocabulary_names(vocabulary)]
    )
    assert tokenizer.get_vocab_size() == vocabulary
    tokenizer.save(str(folder / "tokenizer.json"))


def write_checkpoint(folder: Path, shape: Shape) -> WhisperForConditionalGeneration:
    """Write the checkpoint folder and return the same model, in float32, for the oracle."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(shape.seed)
    names = vocabulary_names(shape.vocabulary)
    first = shape.vocabulary - len(names)
    ids = {name: first + index for index, name in enumerate(names)}
    config = WhisperConfig(
        vocab_size=shape.vocabulary,
        num_mel_bins=shape.mels,
        d_model=shape.width,
        encoder_layers=shape.layers,
        decoder_layers=shape.decoder_layers or shape.layers,
        encoder_attention_heads=shape.heads,
        decoder_attention_heads=shape.decoder_heads or shape.heads,
        encoder_ffn_dim=shape.ffn or 4 * shape.width,
        decoder_ffn_dim=shape.ffn or 4 * shape.width,
        decoder_start_token_id=ids["<|startoftranscript|>"],
        bos_token_id=ids["<|endoftext|>"],
        eos_token_id=ids["<|endoftext|>"],
        pad_token_id=ids["<|endoftext|>"],
        init_std=shape.init_std,
        tie_word_embeddings=shape.tied,
    )
    model = WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        # Near-uniform logits would always lose to the sum over 1,501 timestamps; this spreads them.
        model.model.decoder.layer_norm.bias.normal_(0, 0.5)
    model = model.to(shape.dtype)
    model.save_pretrained(folder)
    multilingual = shape.vocabulary != 51864
    generation = {
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|endoftext|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "decoder_start_token_id": ids["<|startoftranscript|>"],
        "is_multilingual": multilingual,
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "prev_sot_token_id": ids["<|startofprev|>"],
        "begin_suppress_tokens": [220, ids["<|endoftext|>"]],
        "suppress_tokens": [1, 2, 7, 8, 9, 10, 14, 25, *(ids[name] for name in names[1:] if _suppressed(name))],
        "max_length": 448,
    }
    if shape.max_initial_timestamp is not None:
        generation["max_initial_timestamp_index"] = shape.max_initial_timestamp
    if multilingual:
        generation["lang_to_id"] = {name: ids[name] for name in names[2:] if name.strip("<|>") in LANGUAGES}
        generation["task_to_id"] = {"translate": ids["<|translate|>"], "transcribe": ids["<|transcribe|>"]}
    (folder / "generation_config.json").write_text(json.dumps(generation))
    write_tokenizer(folder, shape.vocabulary)
    return WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()


def _suppressed(name: str) -> bool:
    controls = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "startoftranscript")
    return name.strip("<|>") in controls
