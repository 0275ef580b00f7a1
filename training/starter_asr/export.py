"""Owns the product: writes a checkpoint of the training run as an ordinary Hugging Face folder.

It must not know how the model was trained. Run (at any time, also while training goes on):
PYTHONPATH=src python -m training.starter_asr.export --work DIR --to FOLDER"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AddedToken, GenerationConfig, WhisperFeatureExtractor, WhisperTokenizer, WhisperTokenizerFast

from training.starter_asr.codec import LANGUAGES, SPECIALS, TIMESTAMPS, Codec
from training.starter_asr.model import Learner

# Runs whose weights are exported: the last there is.
RUNS = ("polish", "asr")
# The (layer, head) pairs that bench/alignment_heads.py chose.
ALIGNMENT_HEADS = ((3, 0), (3, 2))
SUPPRESSED = SPECIALS[1:2] + SPECIALS[4:9]


def load_learner(work: Path) -> tuple[Learner, Codec, dict[str, Any]]:
    """The model as last saved by the training run, ready to be used."""
    codec = Codec.load(work / "bpe.json")
    found = [work / f"{name}.pt" for name in RUNS if (work / f"{name}.pt").exists()]
    state: dict[str, Any] = torch.load(found[0], weights_only=False)
    learner = Learner(codec)
    learner.load_state_dict(state["network"])
    return learner.eval(), codec, state


def generation_config(codec: Codec) -> GenerationConfig:
    """What transformers (and servers that follow it) must know to decode."""
    return GenerationConfig(
        is_multilingual=True,
        lang_to_id={f"<|{one}|>": codec.special[f"<|{one}|>"] for one in LANGUAGES},
        task_to_id={one: codec.special[f"<|{one}|>"] for one in ("transcribe", "translate")},
        no_timestamps_token_id=codec.no_timestamps,
        prev_sot_token_id=codec.previous,
        decoder_start_token_id=codec.start,
        bos_token_id=codec.end,
        eos_token_id=codec.end,
        pad_token_id=codec.end,
        suppress_tokens=[codec.special[name] for name in SUPPRESSED],
        # Not the end token, as real Whisper has it: silence may decode to nothing at all.
        begin_suppress_tokens=codec.tokenizer.encode(" ").ids,
        max_initial_timestamp_index=50,
        max_length=448,
        return_timestamps=False,
        alignment_heads=[list(one) for one in ALIGNMENT_HEADS],
    )


def write_tokenizer(codec: Codec, folder: Path) -> None:
    """vocab.json and merges.txt with the special tokens, then everything transformers derives."""
    inner = json.loads(codec.tokenizer.to_str())["model"]
    vocabulary = {**inner["vocab"], SPECIALS[0]: codec.end}
    merges = "\n".join(" ".join(pair) for pair in inner["merges"])
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    slow = WhisperTokenizer(
        str(folder / "vocab.json"),
        str(folder / "merges.txt"),
        unk_token=SPECIALS[0],
        bos_token=SPECIALS[0],
        eos_token=SPECIALS[0],
        pad_token=SPECIALS[0],
        model_max_length=448,
    )
    slow.add_special_tokens({"additional_special_tokens": list(SPECIALS)})
    slow.add_tokens([AddedToken(one, special=False, normalized=False) for one in TIMESTAMPS])
    slow.save_pretrained(folder)
    WhisperTokenizerFast.from_pretrained(folder).save_pretrained(folder)
    check = WhisperTokenizerFast.from_pretrained(folder)
    for name, number in codec.special.items():
        if check.convert_tokens_to_ids(name) != number:
            raise RuntimeError(f"{name} is not token {number} in the exported tokenizer")
    if check.convert_tokens_to_ids(TIMESTAMPS[-1]) != codec.size - 1:
        raise RuntimeError("the timestamps of the exported tokenizer are out of place")


def blend(learner: Learner, folder: Path, share: float) -> None:
    """Let the model be `share` of an earlier export, and the rest of itself.

    What a training shook out comes back so (Wortsman et al. 2022, Model soups): here English, for a little of the Spanish.
    """
    before = load_file(folder / "model.safetensors")
    weights = learner.whisper.state_dict()
    learner.whisper.load_state_dict(
        {name: torch.lerp(weights[name], one.float(), share) for name, one in before.items()}, strict=False
    )


def export(work: Path, folder: Path, before: Path | None = None, share: float = 0.0) -> None:
    """Write the whole folder, weights in half precision, `share` of them those of the export `before`."""
    learner, codec, state = load_learner(work)
    if before is not None:
        blend(learner, before, share)
    folder.mkdir(parents=True, exist_ok=True)
    model = learner.whisper.half()
    model.generation_config = generation_config(codec)
    model.config.suppress_tokens = None
    model.config.begin_suppress_tokens = None
    model.save_pretrained(folder, safe_serialization=True)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    write_tokenizer(codec, folder)
    (folder / "model.safetensors").chmod(0o644)
    minutes = state["elapsed"] / 60
    print(f"wrote {folder} from step {state['step']}, {minutes:.0f} min of training")


def main() -> None:
    """Export the last checkpoint of a work folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--before", type=Path, help="an earlier export to blend with")
    parser.add_argument("--share", type=float, default=0.25, help="of that export in the blend")
    options = parser.parse_args()
    export(options.work, options.to, options.before, options.share)


if __name__ == "__main__":
    main()
