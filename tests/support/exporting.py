"""Tiny checkpoints with all files that an export needs, and a runner for exported graphs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

import tests.support.tiny_speecht5 as tiny_speecht5
import tests.support.tiny_whisper as tiny
from tests.support.sessions import EXACT_F32
from tests.support.toy_vocabulary import character_model

LETTERS = "abcdefghijklmnopqrstuvwxyz .,?!'"


def write_whisper(folder: Path, seed: int = 0) -> Path:
    return tiny.write_tiny(folder, seed=seed)


def write_speecht5(folder: Path) -> Path:
    """With a SentencePiece model of its letters, from which the OpenVINO tokenizer is made."""
    tiny_speecht5.write_tiny(folder)
    (folder / "spm_char.model").write_bytes(character_model(LETTERS))
    return folder


class Graph:
    """An exported graph, run in float32 on any machine, inputs and outputs by name."""

    def __init__(self, path: Path) -> None:
        import openvino_tokenizers  # noqa: F401  registers the operations of tokenizers

        core = ov.Core()
        self.model = core.read_model(path)
        options = {"KV_CACHE_PRECISION": "f32", **EXACT_F32}
        self.compiled = core.compile_model(self.model, "CPU", options)
        self.request = self.compiled.create_infer_request()

    def __call__(self, **inputs: Any) -> dict[str, NDArray[Any]]:
        given = {name: np.asarray(value) for name, value in inputs.items()}
        made = self.request.infer(given)
        return {name: made[output].copy() for output in self.compiled.outputs for name in output.get_names()}

    def shapes(self) -> dict[str, str]:
        ports = (*self.model.inputs, *self.model.outputs)
        return {name: str(port.partial_shape) for port in ports for name in port.get_names()}
