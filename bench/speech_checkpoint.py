"""A random-weight SpeechT5 checkpoint in its published shape, with vocoder, tokenizer and one voice, written by transformers."""

from __future__ import annotations

import io
import string
from pathlib import Path

import numpy as np
import sentencepiece
import torch
from transformers import (
    SpeechT5Config,
    SpeechT5FeatureExtractor,
    SpeechT5ForTextToSpeech,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
    SpeechT5Processor,
    SpeechT5Tokenizer,
)

LETTERS = string.ascii_letters + " .,;:?!'-"


def write_speech_checkpoint(folder: Path) -> Path:
    """Model and voice into `folder`, the vocoder into `folder / "vocoder"`."""
    (folder / "voices").mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    SpeechT5ForTextToSpeech(SpeechT5Config()).save_pretrained(folder)
    SpeechT5HifiGan(SpeechT5HifiGanConfig()).save_pretrained(folder / "vocoder")
    pieces = folder / "spm_char.model"
    pieces.write_bytes(character_model(LETTERS))
    tokenizer = SpeechT5Tokenizer(str(pieces), model_max_length=600)
    SpeechT5Processor(SpeechT5FeatureExtractor(), tokenizer).save_pretrained(folder)
    speaker(0).tofile(folder / "voices" / "default.bin")
    return folder


def speaker(seed: int) -> np.ndarray:
    """A voice: 512 float32 values of unit length."""
    values = np.random.default_rng(seed).standard_normal(512).astype(np.float32)
    return values / np.linalg.norm(values)


def character_model(letters: str) -> bytes:
    """A sentencepiece model of single characters, with SpeechT5's control tokens where it has them: <s> <pad> </s> <unk>."""
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(letters), letters] * 3),
        model_writer=content,
        model_type="char",
        vocab_size=len(set(letters)) + 4,
        hard_vocab_limit=False,
        character_coverage=1.0,
        bos_id=0,
        pad_id=1,
        eos_id=2,
        unk_id=3,
        minloglevel=2,
    )
    return content.getvalue()
