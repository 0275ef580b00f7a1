"""A random-weight SpeechT5 checkpoint in the published shape, with vocoder, tokenizer and one voice, written by transformers."""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
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

from tests.support.toy_vocabulary import character_model

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
