"""Random-weight Whisper checkpoints in any shape, written by transformers, with the real Whisper vocabulary.

The byte-level BPE is rebuilt from the ranks that the openai-whisper package carries.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import WhisperConfig, WhisperForConditionalGeneration
from whisper.tokenizer import LANGUAGES

from tests.support.toy_vocabulary import byte_letters


@dataclass(frozen=True)
class Shape:
    """One configuration. `end` and `silence` are added to the logits of <|endoftext|> and <|nospeech|>.

    `init_std` sets the spread of the logits: 0.02 as in training, 0.3 for varied answers.
    `generation` replaces keys of the generation config. `shard` cuts the weights into files of that size.
    """

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
    max_initial_timestamp: int | None = 50  # None: no limit
    tied: bool = True
    init_std: float = 0.1
    end: float = 0.0
    silence: float = 0.0
    shard: str | None = None
    generation: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ids(self) -> dict[str, int]:
        """The special tokens' ids by name."""
        names = vocabulary_names(self.vocabulary)
        return {name: self.vocabulary - len(names) + index for index, name in enumerate(names)}


# The sizes that whisper-tiny, whisper-base and whisper-large-v3-turbo are published in.
PUBLISHED = {
    "tiny": Shape("tiny", width=384, heads=6, layers=4),
    "base": Shape("base", width=512, heads=8, layers=6),
    "turbo": Shape("turbo", width=1280, heads=20, layers=32, decoder_layers=4, mels=128, vocabulary=51866),
}


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
    letters = byte_letters()
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
    model = WhisperForConditionalGeneration(_config(shape)).eval()
    with torch.no_grad():
        _randomise(model, shape)
    model = model.to(shape.dtype)
    model.save_pretrained(folder, **({"max_shard_size": shape.shard} if shape.shard else {}))
    (folder / "generation_config.json").write_text(json.dumps(_generation(shape)))
    write_tokenizer(folder, shape.vocabulary)
    return WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()


def _config(shape: Shape) -> WhisperConfig:
    return WhisperConfig(
        vocab_size=shape.vocabulary,
        num_mel_bins=shape.mels,
        d_model=shape.width,
        encoder_layers=shape.layers,
        decoder_layers=shape.decoder_layers or shape.layers,
        encoder_attention_heads=shape.heads,
        decoder_attention_heads=shape.decoder_heads or shape.heads,
        encoder_ffn_dim=shape.ffn or 4 * shape.width,
        decoder_ffn_dim=shape.ffn or 4 * shape.width,
        decoder_start_token_id=shape.ids["<|startoftranscript|>"],
        bos_token_id=shape.ids["<|endoftext|>"],
        eos_token_id=shape.ids["<|endoftext|>"],
        pad_token_id=shape.ids["<|endoftext|>"],
        init_std=shape.init_std,
        tie_word_embeddings=shape.tied,
    )


def _randomise(model: WhisperForConditionalGeneration, shape: Shape) -> None:
    """Give every bias and norm a random value (transformers starts them at 0 and 1), and shift two logits."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(0, 0.1)
        elif name.endswith("layer_norm.weight"):
            parameter.normal_(1, 0.1)
    # Near-uniform logits would always lose to the sum over 1,501 timestamps; this spreads them.
    bias = model.model.decoder.layer_norm.bias.normal_(0, 0.5)
    head = model.proj_out.weight
    # transformers starts the row of the padding token, which is <|endoftext|>, as zeros.
    head[shape.ids["<|endoftext|>"]].normal_(0, shape.init_std)
    for name, push in (("<|endoftext|>", shape.end), ("<|nospeech|>", shape.silence)):
        row = head[shape.ids[name]]
        bias += push * row / row.square().sum()


def _generation(shape: Shape) -> dict[str, Any]:
    ids = shape.ids
    generation: dict[str, Any] = {
        "bos_token_id": ids["<|endoftext|>"],
        "eos_token_id": ids["<|endoftext|>"],
        "pad_token_id": ids["<|endoftext|>"],
        "decoder_start_token_id": ids["<|startoftranscript|>"],
        "is_multilingual": shape.vocabulary != 51864,
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "prev_sot_token_id": ids["<|startofprev|>"],
        "begin_suppress_tokens": [220, ids["<|endoftext|>"]],
        "suppress_tokens": [1, 2, 7, 8, 9, 10, 14, 25, *(ids[name] for name in ids if _suppressed(name))],
        "max_initial_timestamp_index": shape.max_initial_timestamp,
        "max_length": 448,
    }
    if shape.vocabulary != 51864:
        generation["lang_to_id"] = {name: index for name, index in ids.items() if name.strip("<|>") in LANGUAGES}
        generation["task_to_id"] = {"translate": ids["<|translate|>"], "transcribe": ids["<|transcribe|>"]}
    return generation | dict(shape.generation)


def _suppressed(name: str) -> bool:
    controls = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "startoftranscript")
    return name.strip("<|>") in controls
