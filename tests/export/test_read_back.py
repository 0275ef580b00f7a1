"""Our own engine reads what we export: every tensor comes back, in every format, and a session serves the folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file

import tests.support.tiny_speecht5 as tiny_speecht5
import tests.support.tiny_whisper as tiny
from antiphon.export.export import export
from antiphon.models.folder import inspect
from antiphon.models.speecht5 import ir as speecht5_ir
from antiphon.models.speecht5.config import read_config
from antiphon.models.whisper import ir as whisper_ir
from antiphon.repository.graph_pbtxt import GraphFile
from antiphon.weights.openvino_ir.writer import IrFormat
from tests.support.exporting import write_speecht5, write_whisper
from tests.support.sessions import load_session

FORMATS: tuple[IrFormat, ...] = ("fp32", "fp16", "int8")


def far(read: NDArray[np.generic], stored: NDArray[np.float32], form: IrFormat) -> bool:
    """Further off than the format rounds: 11 bits, or a row's range in 255 steps with a scale of 11 bits."""
    if form == "int8" and stored.ndim > 1:
        by_row = stored.reshape(stored.shape[0], -1)
        span = np.maximum(by_row.max(), 0) - np.minimum(by_row.min(), 0)
        limit = span / 255 + 2e-3 * np.abs(stored).max()
    else:
        limit = np.abs(stored).max() * (2**-11 if form == "fp16" else 0)
    return not np.abs(np.asarray(read, np.float32) - stored).max() <= limit


@pytest.mark.parametrize("form", FORMATS)
def test_every_whisper_tensor_comes_back(tmp_path: Path, form: IrFormat) -> None:
    source = write_whisper(tmp_path / "source")
    export(inspect(source), tmp_path / "made", graph=GraphFile("speech2text"), weight_format=form)
    weights = whisper_ir.open_ir(tmp_path / "made", "auto")
    stored = load_file(source / "model.safetensors")
    assert [name for name in stored if far(weights.array(name), stored[name], form)] == []


@pytest.mark.parametrize("form", FORMATS)
def test_every_speecht5_tensor_comes_back(tmp_path: Path, form: IrFormat) -> None:
    source = write_speecht5(tmp_path / "source")
    export(inspect(source), tmp_path / "made", graph=GraphFile("text2speech"), weight_format=form)
    weights = speecht5_ir.open_ir(tmp_path / "made", read_config(source), "auto")
    stored = load_file(source / "model.safetensors")
    folded = [name for name in stored if name.startswith("speech_decoder_postnet.layers.")]
    names = [name for name in stored if name not in folded]
    assert [name for name in names if far(weights.array(name), stored[name], form)] == []
    sound, vocoder = speecht5_ir.open_vocoder_ir(tmp_path / "made")
    stored = load_file(source / "vocoder" / "model.safetensors")
    assert [name for name in stored if far(vocoder.array(name), stored[name], form)] == []
    assert (sound.rates, sound.kernels) == (tiny_speecht5.SOUND.rates, tiny_speecht5.SOUND.kernels)


def test_session_serves_the_folder_natively(tmp_path: Path) -> None:
    asr, tts = write_whisper(tmp_path / "asr"), write_speecht5(tmp_path / "tts")
    export(inspect(asr), tmp_path / "ear", graph=GraphFile("speech2text"))
    export(inspect(tts), tmp_path / "mouth", graph=GraphFile("text2speech"))
    ear = load_session(str(tmp_path / "ear"), precision="f32")
    assert (ear.info.backend, ear.info.weight_format) == ("native", "int8")
    assert ear.info.languages == tuple(name.strip("<|>") for name in tiny.SPECIALS[2:4])
    mouth = load_session(str(tmp_path / "mouth"), precision="f32")
    assert (mouth.info.backend, mouth.info.voices) == ("native", ("ada", "bob"))
