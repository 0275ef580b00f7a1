"""Owns the product: writes the checkpoints of both runs as one ordinary Hugging Face folder.

It must not know how the models were trained. Run (at any time, also while training goes on):
python -m training.starter_tts.export --work DIR --to FOLDER"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from transformers import SpeechT5FeatureExtractor, SpeechT5Processor, SpeechT5Tokenizer

from training.starter_tts.begin import stop_shift
from training.starter_tts.codec import PIECES, Codec
from training.starter_tts.mel import MELS
from training.starter_tts.model import Learner
from training.starter_tts.speech import LANGUAGES, REDUCTION
from training.starter_tts.vocoder import make_vocoder

NAMES = {"en": "english", "es": "spanish"}
# Letters of a text, its end among them: what takes eight seconds to say. From ten seconds on it rambles, for up to a minute.
PRACTISED = 128
SAMPLES = "The quick brown fox, isn't it?", "¿Dónde está el pingüino, señor? ¡Aquí!"


def load_learner(work: Path) -> tuple[Learner, Codec, dict[str, Any]]:
    """The acoustic model as last saved by its run."""
    codec = Codec.find(work)
    state: dict[str, Any] = torch.load(work / "acoustic.pt", weights_only=False)
    symbols = len(state["network"]["sounds.bias"]) // 2 - 1
    learner = Learner(codec.size, symbols, torch.zeros(MELS))
    learner.load_state_dict(state["network"])
    return learner.eval(), codec, state


def export_vocoder(work: Path, folder: Path) -> float:
    """Write the vocoder; return the minutes it was trained for."""
    state: dict[str, Any] = torch.load(work / "vocoder.pt", weights_only=False)
    vocoder = make_vocoder()
    vocoder.load_state_dict(state["network"])
    vocoder.half().save_pretrained(folder, safe_serialization=True)
    return float(state["elapsed"]) / 60


def export(work: Path, folder: Path) -> None:
    """Write the whole folder, weights in half precision."""
    learner, codec, state = load_learner(work)
    (folder / "voices").mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        learner.tts.speech_decoder_postnet.prob_out.bias += stop_shift(REDUCTION)
    learner.tts.config.max_text_positions = PRACTISED
    learner.tts.half().save_pretrained(folder, safe_serialization=True)
    pieces = folder / PIECES
    pieces.write_bytes(codec.pieces)
    tokenizer = SpeechT5Tokenizer(str(pieces), model_max_length=PRACTISED)
    SpeechT5Processor(SpeechT5FeatureExtractor(), tokenizer).save_pretrained(folder)
    alike = [tokenizer(sample).input_ids == codec.encode(sample) for sample in SAMPLES]
    if len(tokenizer) != codec.size or not all(alike):
        raise RuntimeError("the exported tokenizer is not the one of the training")
    for language, embedding in zip(LANGUAGES, learner.speakers, strict=True):
        embedding.numpy().astype("<f4").tofile(folder / "voices" / f"{NAMES[language]}.bin")
    minutes = export_vocoder(work, folder / "vocoder")
    for path in (folder / "model.safetensors", folder / "vocoder" / "model.safetensors"):
        path.chmod(0o644)
    print(f"wrote {folder}: {state['elapsed'] / 60:.0f} min, {state['step']} steps; vocoder: {minutes:.0f} min")


def main() -> None:
    """Export the last checkpoints of a work folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    options = parser.parse_args()
    export(options.work, options.to)


if __name__ == "__main__":
    main()
