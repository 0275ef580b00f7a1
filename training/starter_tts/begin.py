"""Owns going on from a finished model: an exported folder becomes the weights both runs start from, its letters grown.

It must not know how training goes on. Run: python -m training.starter_tts.begin --work DIR --model FOLDER"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from transformers import SpeechT5ForTextToSpeech, SpeechT5HifiGan

from training.starter_tts.codec import PIECES, PLAIN, Codec

# Names of the weights to start from in the work folder.
ACOUSTIC = "acoustic.begun"
VOCODER = "vocoder.begun"
# In use speech ends once the probabilities of a step's frames add up to this; they are trained to mean a half each.
THRESHOLD = 0.5
# What has never been said starts as what is nearest to it, and a little apart from it.
APART = 0.05


def stop_shift(frames: int) -> float:
    """What an export adds to the logits of the end of a step of so many frames."""
    even = THRESHOLD / frames
    return math.log(even / (1 - even))


def widen_embedding(old: torch.Tensor, before: Codec, after: Codec) -> torch.Tensor:
    """A row for each new letter; no letter of before may have another number."""
    names = [after.processor.id_to_piece(number) for number in range(after.size)]
    if names[: before.size] != [before.processor.id_to_piece(number) for number in range(before.size)]:
        raise RuntimeError("the letters of the model are not the first ones of the recipe")
    rows = [old]
    for name in names[before.size :]:
        row = old[names.index(PLAIN[name])]
        rows.append((row + APART * row.std() * torch.randn_like(row))[None])
    return torch.cat(rows)


def begin(work: Path, folder: Path, seed: int) -> None:
    """Write the letters and the weights both runs start from."""
    torch.manual_seed(seed)
    before, after = Codec((folder / PIECES).read_bytes()), Codec.find(work)
    model = SpeechT5ForTextToSpeech.from_pretrained(folder, dtype=torch.float32)
    weights = model.state_dict()
    embedding = "speecht5.encoder.prenet.embed_tokens.weight"
    weights[embedding] = widen_embedding(weights[embedding], before, after)
    weights["speech_decoder_postnet.prob_out.bias"] -= stop_shift(model.config.reduction_factor)
    network = {f"tts.{name}": value for name, value in weights.items()}
    torch.save({"network": network, "model": str(folder)}, work / f"{ACOUSTIC}.pt")
    vocoder = SpeechT5HifiGan.from_pretrained(folder / "vocoder", dtype=torch.float32)
    torch.save({"network": vocoder.state_dict(), "step": 0}, work / f"{VOCODER}.pt")
    print(f"{before.size} letters have become {after.size}")


def main() -> None:
    """Make the weights of a work folder out of an exported model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=4)
    options = parser.parse_args()
    begin(options.work, options.model, options.seed)


if __name__ == "__main__":
    main()
