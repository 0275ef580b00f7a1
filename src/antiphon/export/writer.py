"""The files of one export: graphs, tokenizers, and the companion files copied from the checkpoint."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openvino as ov

from antiphon.errors import ConfigError
from antiphon.export.quantize import quantize
from antiphon.export.tokenizers import TOKENIZER, Models, byte_pair_graphs, sentence_piece_graphs
from antiphon.models.family import EncoderInputs
from antiphon.types.audio import Samples
from antiphon.types.options import Report
from antiphon.weights.config_file import CONFIG_FILE, read_json
from antiphon.weights.openvino_ir.writer import IrFormat, WrittenWeights, save_ir
from antiphon.weights.shapes import making_graphs
from antiphon.weights.source import ArraySource

_COMPANIONS = (
    CONFIG_FILE,
    "generation_config.json",
    "preprocessor_config.json",
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "normalizer.json",
    "spm_char.model",
)
_SPECIAL = ("bos_token_id", "eos_token_id", "pad_token_id")


@dataclass(frozen=True, slots=True)
class FolderExport:
    """An export of the checkpoint in `source` into `folder`; see `models.family.ExportJob`.

    With `calibration`, which returns the audio to calibrate on, the encoder computes in 8 bits.
    """

    source: Path
    folder: Path
    weight_format: IrFormat
    vocoder: Path | None
    report: Report
    calibration: Callable[[], Sequence[Samples]] | None = None

    def write_graph(
        self,
        name: str,
        build: Callable[[WrittenWeights], ov.Model],
        tensors: ArraySource,
        prefix: str = "",
        *,
        calibrate: Callable[[Sequence[Samples]], EncoderInputs] | None = None,
    ) -> None:
        self.report(f"Writing {name}.")
        calibration = self.calibration if calibrate is not None else None
        # A graph is quantised from exact weights, and what is not in 8 bits afterwards stays exact.
        form: IrFormat = self.weight_format if calibration is None else "fp32"
        with making_graphs(self.source):
            model = build(WrittenWeights(tensors, form, prefix))
        if calibrate is not None and calibration is not None:
            windows = calibration()
            self.report(f"Calibrating it on {len(windows)} windows of speech.")
            model = quantize(model, calibrate(windows))
        self._save(model, name, form)

    def write_byte_pair_tokenizer(self) -> None:
        self._write_tokenizer(byte_pair_graphs(self.source, self._special_tokens()))

    def write_sentence_piece_tokenizer(self, name: str) -> None:
        if not (self.source / name).is_file():
            raise ConfigError(f"{self.source}: no {name} in this folder; copy the tokenizer files of the checkpoint.")
        self._write_tokenizer(sentence_piece_graphs(self.source / name, self._special_tokens()))

    def write_default_json(self, name: str, content: Mapping[str, Any]) -> None:
        if not (self.source / name).is_file():
            (self.folder / name).write_text(json.dumps(content, indent=2) + "\n")

    def copy_companions(self) -> None:
        """Copy the checkpoint's config and tokenizer files."""
        for name in _COMPANIONS:
            if (self.source / name).is_file():
                shutil.copyfile(self.source / name, self.folder / name)

    def _special_tokens(self) -> dict[str, int | None]:
        """The ids that readers look up in a tokenizer graph."""
        config = read_json(self.source / CONFIG_FILE)
        return {name: config.get(name) if isinstance(config.get(name), int) else None for name in _SPECIAL}

    def _write_tokenizer(self, models: Models) -> None:
        for model, name in zip(models, ("openvino_tokenizer", "openvino_detokenizer"), strict=True):
            self._save(model, name, "fp32")

    def _save(self, model: ov.Model, name: str, form: IrFormat) -> None:
        path = self.folder / f"{name}.xml"
        try:
            save_ir(model, path, form)
            ov.Core().read_model(path)  # a full disk raises no error before
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ConfigError(f"{path}: cannot be written ({reason}): is there room on the disk?") from error
