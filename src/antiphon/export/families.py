"""What is written for a family: which graphs under which names, the tokenizers, and which files go along.

It must not know where the folder lies, or what becomes of it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import openvino as ov

from antiphon.errors import ConfigError
from antiphon.export.quantize import heard, in_8_bits
from antiphon.export.tokenizers import Models, byte_pair_graphs, sentence_piece_graphs
from antiphon.models.speecht5 import config as speecht5
from antiphon.models.speecht5 import graph_export as speecht5_graphs
from antiphon.models.speecht5 import graph_export_sound as sound_graphs
from antiphon.models.speecht5.shapes import expected_shapes, stored_vocoder_shapes
from antiphon.models.whisper import config as whisper
from antiphon.models.whisper import graph_export as whisper_graphs
from antiphon.types.audio import Samples
from antiphon.types.options import Report
from antiphon.weights.config_file import CONFIG_FILE, read_json
from antiphon.weights.openvino_ir.writer import IrFormat, WrittenWeights, save_ir
from antiphon.weights.safetensors import open_checkpoint
from antiphon.weights.shapes import check_shapes, making_graphs
from antiphon.weights.source import ArraySource

_PREPROCESSOR = "preprocessor_config.json"
_COMPANIONS = (
    "config.json",
    "generation_config.json",
    _PREPROCESSOR,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "normalizer.json",
    "spm_char.model",
)
_PIECES = "spm_char.model"
_SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")


@dataclass(frozen=True, slots=True)
class Job:
    """One export: the checkpoint, the folder to fill, how weights are held, and a vocoder from elsewhere.

    With `calibration` what hears computes in 8 bits, with ranges measured on its windows.
    """

    source: Path
    folder: Path
    form: IrFormat
    vocoder: Path | None
    report: Report
    calibration: Callable[[], Sequence[Samples]] | None = None

    def write(self, name: str, graph: Callable[[WrittenWeights], ov.Model], tensors: ArraySource, prefix: str) -> None:
        """One graph, of tensors whose names begin with `prefix`; it is gone from memory before the next is made."""
        self.report(f"Writing {name}.")
        with making_graphs(self.source):
            model = graph(WrittenWeights(tensors, self.form, prefix))
        _save(model, self.folder / f"{name}.xml", self.form)


def _whisper(job: Job) -> None:
    config = whisper.read_config(job.source)
    tokenizers = byte_pair_graphs(job.source, _special(job.source))
    with open_checkpoint(job.source) as tensors:
        _encoder_job(job).write(
            "openvino_encoder_model",
            lambda weights: _encoder(job, config, weights),
            tensors,
            whisper_graphs.ENCODER_PREFIX,
        )
        job.write(
            "openvino_decoder_model",
            lambda weights: whisper_graphs.decoder_graph(config, weights, job.form),
            tensors,
            "",
        )
    _finish(job, tokenizers)
    if not (job.source / _PREPROCESSOR).is_file():
        # Without it OpenVINO GenAI takes every model for one of 80 mels.
        (job.folder / _PREPROCESSOR).write_text(json.dumps(_features(config), indent=2) + "\n")


def _encoder_job(job: Job) -> Job:
    """What is calibrated is written from exact weights, and what is not in 8 bits then stays exact."""
    return job if job.calibration is None else replace(job, form="fp32")


def _encoder(job: Job, config: whisper.WhisperConfig, weights: WrittenWeights) -> ov.Model:
    graph = whisper_graphs.encoder_graph(config, weights)
    if job.calibration is None:
        return graph
    windows = job.calibration()
    job.report(f"Calibrating it on {len(windows)} windows of speech.")
    return in_8_bits(graph, heard(windows, config))


def _features(config: whisper.WhisperConfig) -> dict[str, Any]:
    return {
        "chunk_length": 30,
        "feature_extractor_type": "WhisperFeatureExtractor",
        "feature_size": config.mels,
        "hop_length": whisper.HOP,
        "n_fft": whisper.N_FFT,
        "n_samples": whisper.FRAMES * whisper.HOP,
        "nb_max_frames": whisper.FRAMES,
        "padding_side": "right",
        "padding_value": 0.0,
        "processor_class": "WhisperProcessor",
        "return_attention_mask": False,
        "sampling_rate": 16_000,
    }


def _speecht5(job: Job) -> None:
    config = speecht5.read_config(job.source)
    place = _vocoder(job)
    sound = speecht5.read_vocoder_config(place)
    if sound.mels != config.mels:
        raise ConfigError(
            f"{place / CONFIG_FILE}: model_in_dim is {sound.mels}, but {job.source / CONFIG_FILE} says "
            f"num_mel_bins {config.mels}; the vocoder is another model's."
        )
    if not (job.source / _PIECES).is_file():
        raise ConfigError(f"{job.source}: no {_PIECES} in this folder; copy the tokenizer files of the checkpoint.")
    tokenizers = sentence_piece_graphs(job.source / _PIECES, _special(job.source))
    with open_checkpoint(job.source) as tensors:
        check_shapes(job.source, expected_shapes(config), tensors)
        for name, graph, prefix in (
            ("openvino_encoder_model", speecht5_graphs.encoder_graph, speecht5_graphs.ENCODER_PREFIX),
            ("openvino_decoder_model", speecht5_graphs.decoder_graph, ""),
            ("openvino_postnet", sound_graphs.postnet_graph, ""),
        ):
            job.write(name, partial(graph, config), tensors, prefix)
    with open_checkpoint(place) as tensors:
        check_shapes(place, stored_vocoder_shapes(sound, tensors), tensors)
        job.write("openvino_vocoder", lambda weights: sound_graphs.vocoder_graph(sound, weights), tensors, "")
    _finish(job, tokenizers)


def _vocoder(job: Job) -> Path:
    place = job.vocoder or job.source / "vocoder"
    if not place.is_dir():
        given = (
            f"--vocoder {place}: no such folder; a vocoder" if job.vocoder else "--vocoder is required for SpeechT5; it"
        )
        raise ConfigError(f"{given} is a HiFi-GAN such as microsoft/speecht5_hifigan, by its folder or name.")
    return place


FAMILIES: Mapping[str, Callable[[Job], None]] = {"whisper": _whisper, "speecht5": _speecht5}


def _finish(job: Job, tokenizers: Models) -> None:
    for model, name in zip(tokenizers, ("tokenizer", "detokenizer"), strict=True):
        _save(model, job.folder / f"openvino_{name}.xml", "fp32")
    for name in _COMPANIONS:
        if (job.source / name).is_file():
            shutil.copyfile(job.source / name, job.folder / name)


def _save(model: ov.Model, path: Path, form: IrFormat) -> None:
    try:
        save_ir(model, path, form)
        ov.Core().read_model(path)  # a full disk is told by nobody else
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ConfigError(f"{path}: cannot be written ({reason}): is there room on the disk?") from error


def _special(source: Path) -> dict[str, int | None]:
    """The ids that readers of a tokenizer look up in it."""
    config = read_json(source / "config.json")
    return {name: config.get(name) if isinstance(config.get(name), int) else None for name in _SPECIAL}
