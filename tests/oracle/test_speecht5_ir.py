"""optimum-intel's exports of SpeechT5 and its vocoder on our own graphs: the tensors, frames and samples of the checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from antiphon.models.speecht5.config import read_config, read_vocoder_config
from antiphon.models.speecht5.ir import open_ir, open_vocoder_ir
from antiphon.models.speecht5.session import SpeechT5Session, StopRule
from antiphon.types.options import WeightFormat
from tests.oracle.exports import export, names_in, speech, write_decompressed
from tests.oracle.speecht5_reference import Shape, frames_of, make_comparison, open_session
from tests.support.speecht5_sessions import audio, sentence

PLAIN = Shape("speecht5-ir-plain", seed=7)
# The exporter wants as many heads on both sides, two frames a step, and the vocoder's norms folded: parametrized ones it
# does not load, and exports what it drew in their place.
OTHER = Shape(
    "speecht5-ir-other",
    width=48,
    heads=3,
    decoder_heads=3,
    decoder_layers=1,
    activation="relu",
    relative=160,
    postnet_layers=3,
    postnet_kernel=7,
    rates=(8, 5),
    kernels=(16, 11),
    block_kernels=(3, 5),
    dilations=((1, 2), (2, 6, 12)),
    normalize=False,
    seed=4,
)
TEXTS = ("Hello there, how are you?", "Hi")
RULES = StopRule(dropout=False, minlenratio=3.0, maxlenratio=4.0)
# 16-bit biases and folded norms are not rounded at the same place on both sides; in float32 nothing is.
TOLERANCES = {"fp32": 1e-6, "fp16": 4e-3, "int8": 1e-4}

MakeExport = Callable[..., Path]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> MakeExport:
    """A shape's checkpoint, or its export in a format; each is made once."""
    made: dict[tuple[str, ...], Path] = {}

    def make(shape: Shape, *options: str) -> Path:
        if (shape.name,) not in made:
            made[shape.name,] = make_comparison(tmp_path_factory.mktemp(shape.name), shape).folder
        folder, key = made[shape.name,], (shape.name, *options)
        if key not in made:
            made[key] = export(folder, tmp_path_factory.mktemp("export"), speech(folder), *options)
            shutil.copytree(folder / "voices", made[key] / "voices")
        return made[key]

    return make


def assert_same_speech(one: SpeechT5Session, other: SpeechT5Session, tolerance: float) -> None:
    for text in TEXTS:
        for made in (frames_of, audio):
            ours, theirs = (made(session, sentence(text, "ada")) for session in (one, other))
            assert ours.shape == theirs.shape
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)


@pytest.mark.parametrize("form", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("shape", [PLAIN, OTHER], ids=lambda shape: shape.name)
def test_export_samples_match_the_checkpoint(shape: Shape, form: WeightFormat, exported: MakeExport) -> None:
    session = open_session(exported(shape, "--weight-format", form), RULES)
    assert session.info.weight_format == form
    assert_same_speech(session, open_session(exported(shape), RULES, weight_format=form), TOLERANCES[form])


@pytest.mark.parametrize("shape", [PLAIN, OTHER], ids=lambda shape: shape.name)
def test_vocoder_config_is_derived_from_its_graph(shape: Shape, exported: MakeExport) -> None:
    config, weights = open_vocoder_ir(exported(shape, "--weight-format", "fp32"))
    assert config == read_vocoder_config(exported(shape) / "vocoder")
    assert weights.has("mean") == weights.has("scale") == shape.normalize


@pytest.mark.parametrize("form", ["int8", "int4"])
def test_compressed_weights_equal_their_decompressed_values(form: str, exported: MakeExport, tmp_path: Path) -> None:
    options = ("--group-size", "16", "--group-size-fallback", "adjust") if form == "int4" else ()
    folder = exported(PLAIN, "--weight-format", form, *options)
    plain = Path(shutil.copytree(exported(PLAIN), tmp_path / "decompressed"))
    normed = ".batch_norm."
    names = [name for name in names_in(plain) if _speaks(name) and normed not in name]
    names += [f"speech_decoder_postnet.layers.{layer}.conv.bias" for layer in range(PLAIN.postnet_layers)]
    weights = open_ir(folder, read_config(folder), "auto")
    assert weights.format_of("speecht5.decoder.wrapped_decoder.layers.0.self_attn.q_proj.weight") == form
    write_decompressed(names, weights, plain)
    write_decompressed(names_in(plain / "vocoder"), open_vocoder_ir(folder)[1], plain / "vocoder")
    assert_same_speech(open_session(folder, RULES), open_session(plain, RULES), 1e-4)
    for name, stored in load_file(exported(PLAIN) / "model.safetensors").items():
        if name in names and ".conv." not in name:
            off = np.abs(weights.array(name) - stored).max() / np.abs(stored).max()
            assert off <= {"int8": 5e-3, "int4": 0.15}[form], name


def _speaks(name: str) -> bool:
    """Whether speaking needs the tensor; the checkpoint has some that training needed."""
    return "num_batches" not in name and not name.endswith(".pe")


def test_given_vocoder_replaces_the_exported_one(exported: MakeExport, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported(PLAIN, "--weight-format", "fp32"), tmp_path / "both"))
    shutil.copytree(exported(PLAIN) / "vocoder", folder / "vocoder")
    tensors = load_file(folder / "vocoder" / "model.safetensors")
    tensors["conv_post.weight"] *= 0
    save_file(tensors, folder / "vocoder" / "model.safetensors")
    silent = audio(open_session(folder, RULES), sentence(TEXTS[1], "ada"))
    assert np.ptp(silent) < 1e-6
