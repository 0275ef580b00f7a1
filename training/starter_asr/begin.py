"""Owns going on from a finished model: an exported folder becomes the weights a run starts from, Spanish tokens added.

It must not know how training goes on. Run: python -m training.starter_asr.begin --work DIR --model FOLDER"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import WhisperForConditionalGeneration

from training.starter_asr.codec import BPE_SIZE, SPECIALS, Codec, plain_tokenizer, widen_tokenizer
from training.starter_asr.model import Learner

# What has never been said starts as what is nearest to it, and a little apart from it.
ALIKE = {"<|es|>": "<|en|>", "<|translate|>": "<|transcribe|>"}
APART = 0.01


def read_tokenizer(folder: Path) -> Tokenizer:
    """The plain BPE of an exported folder, without the special tokens."""
    vocabulary = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    lines = (folder / "merges.txt").read_text(encoding="utf-8").split("\n")
    merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#")]
    return plain_tokenizer({one: number for one, number in vocabulary.items() if one != SPECIALS[0]}, merges)


def widen_embedding(old: torch.Tensor, before: Codec, after: Codec) -> torch.Tensor:
    """Rows of what was known where it stands now; an added token begins as the mean of the two it is made of."""
    new = torch.zeros(after.size, old.shape[1])
    new[: before.text_size] = old[: before.text_size]
    new[after.text_size :] = old[before.text_size :]
    inner = json.loads(after.tokenizer.to_str())["model"]
    number = inner["vocab"]
    for first, second in inner["merges"][len(inner["merges"]) - (after.text_size - before.text_size) :]:
        new[number[first + second]] = (new[number[first]] + new[number[second]]) / 2
    for name, like in ALIKE.items():
        if before.text_size == BPE_SIZE:
            new[after.special[name]] = new[after.special[like]]
            new[after.special[name]] += APART * torch.randn(old.shape[1])
    return new


def begin(work: Path, folder: Path, seed: int) -> None:
    """Write bpe.json and asr.pt."""
    torch.manual_seed(seed)
    before = after = Codec(read_tokenizer(folder))
    if before.text_size == BPE_SIZE:
        texts = {name: json.loads((work / f"{name}.json").read_text(encoding="utf-8")) for name in ("text", "text_es")}
        english, spanish = ([*one["train"], *one["strings"], *one.get("pairs", [])] for one in texts.values())
        after = Codec(widen_tokenizer(before.tokenizer, english, spanish))
    after.save(work / "bpe.json")
    learner = Learner(after)
    weights = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).state_dict()
    widened = widen_embedding(weights["proj_out.weight"], before, after)
    weights |= {"model.decoder.embed_tokens.weight": widened, "proj_out.weight": widened}
    learner.whisper.load_state_dict(weights)
    torch.save({"network": learner.state_dict(), "step": 0, "elapsed": 0.0}, work / "asr.pt")
    print(f"{before.text_size} tokens of text have become {after.text_size}")


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
