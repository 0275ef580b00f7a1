"""Random-weight checkpoints in the published shapes of Whisper and SpeechT5, and optimum's exports of them."""

from __future__ import annotations

import io
import json
import string
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import sentencepiece
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    SpeechT5Config,
    SpeechT5FeatureExtractor,
    SpeechT5ForTextToSpeech,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
    SpeechT5Processor,
    SpeechT5Tokenizer,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from antiphon.languages import NAMES

WORDS = 50_257  # ids before the special tokens
LETTERS = string.ascii_letters + " .,;:?!'-"
CONTROLS = ("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>")


@dataclass(frozen=True)
class Shape:
    """The size of a Whisper."""

    name: str
    width: int
    heads: int
    layers: int
    decoder_layers: int
    mels: int = 80
    languages: int = 99

    @property
    def special_tokens(self) -> list[str]:
        """The tokens after the words, in Whisper's order."""
        languages = [f"<|{code}|>" for code in list(NAMES)[: self.languages]]
        times = [f"<|{index * 0.02:.2f}|>" for index in range(1501)]
        return ["<|endoftext|>", "<|startoftranscript|>", *languages, *CONTROLS, *times]


SHAPES = {
    shape.name: shape
    for shape in (
        Shape("tiny", width=384, heads=6, layers=4, decoder_layers=4),
        Shape("base", width=512, heads=8, layers=6, decoder_layers=6),
        Shape("small", width=768, heads=12, layers=12, decoder_layers=12),
        Shape("turbo", width=1280, heads=20, layers=32, decoder_layers=4, mels=128, languages=100),
    )
}


def write_whisper(folder: Path, shape: Shape) -> Path:
    """The weights, the generation config and a byte-level tokenizer without merges: what is decoded has no meaning."""
    ids = {name: WORDS + index for index, name in enumerate(shape.special_tokens)}
    end = ids["<|endoftext|>"]
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=WORDS + len(ids),
        num_mel_bins=shape.mels,
        d_model=shape.width,
        encoder_layers=shape.layers,
        decoder_layers=shape.decoder_layers,
        encoder_attention_heads=shape.heads,
        decoder_attention_heads=shape.heads,
        encoder_ffn_dim=4 * shape.width,
        decoder_ffn_dim=4 * shape.width,
        decoder_start_token_id=ids["<|startoftranscript|>"],
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), end),
    )
    WhisperForConditionalGeneration(config).save_pretrained(folder)
    generation = {
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), end),
        "decoder_start_token_id": ids["<|startoftranscript|>"],
        "is_multilingual": True,
        "no_timestamps_token_id": ids["<|notimestamps|>"],
        "prev_sot_token_id": ids["<|startofprev|>"],
        "begin_suppress_tokens": [end],
        "suppress_tokens": [ids[name] for name in ("<|startoftranscript|>", *CONTROLS[:-1])],
        "max_initial_timestamp_index": 50,
        "max_length": 448,
        "lang_to_id": {name: index for name, index in ids.items() if name.strip("<|>") in NAMES},
        "task_to_id": {task: ids[f"<|{task}|>"] for task in ("translate", "transcribe")},
    }
    (folder / "generation_config.json").write_text(json.dumps(generation))
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    # The last word is empty, as in Whisper's own vocabulary: without it CTranslate2 takes the model for an English one.
    words = [*letters, *(f"w{index}" for index in range(len(letters), WORDS - 1)), ""]
    vocabulary = {word: index for index, word in enumerate(words)}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in ids])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def write_speecht5(folder: Path) -> Path:
    """Model and voice into `folder`, the vocoder into `folder / "vocoder"`."""
    (folder / "voices").mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    SpeechT5ForTextToSpeech(SpeechT5Config()).save_pretrained(folder)
    SpeechT5HifiGan(SpeechT5HifiGanConfig()).save_pretrained(folder / "vocoder")
    pieces = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(LETTERS), LETTERS] * 3),
        model_writer=pieces,
        model_type="char",
        vocab_size=len(LETTERS) + 4,
        hard_vocab_limit=False,
        character_coverage=1.0,
        bos_id=0,
        pad_id=1,
        eos_id=2,
        unk_id=3,
        minloglevel=2,
    )
    file = folder / "spm_char.model"
    file.write_bytes(pieces.getvalue())
    tokenizer = SpeechT5Tokenizer(str(file), model_max_length=600)
    SpeechT5Processor(SpeechT5FeatureExtractor(), tokenizer).save_pretrained(folder)
    speaker().tofile(folder / "voices" / "default.bin")
    return folder


def speaker() -> np.ndarray:
    """A voice: 512 float32 values of unit length."""
    values = np.random.default_rng(0).standard_normal(512).astype(np.float32)
    return values / np.linalg.norm(values)


def export_with_optimum(checkpoint: Path, folder: Path, task: str, options: Sequence[str] = ()) -> None:
    """Run `optimum-cli export openvino`."""
    tool = str(Path(sys.executable).with_name("optimum-cli"))
    command = [tool, "export", "openvino", "--model", str(checkpoint), "--task", task, *options, str(folder)]
    subprocess.run(command, check=True)
