"""optimum-intel's exports on our own graphs: the tensors are the checkpoint's, the tokens too, in every weight format.

Where a checkpoint is not rounded as the export is (int4, int8 without zero points), the measure is the same export in
`openvino_genai`, and our graphs fed with the decompressed values.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from antiphon.models.whisper.ir import open_ir
from antiphon.models.whisper.session import WhisperSession
from antiphon.types.audio import Samples
from antiphon.types.options import WeightFormat
from antiphon.weights.safetensors import open_checkpoint
from tests.oracle.exports import WHISPER, export, names_in, write_decompressed
from tests.oracle.reference import open_session
from tests.oracle.signals import chirps, noise
from tests.support.drive_session import drive, make_unit
from tests.support.genai_tokens import open_exact, sample
from tests.support.whisper_checkpoint import Shape, write_checkpoint

PLAIN = Shape("ir-plain", width=64, heads=4, layers=2, ffn=128, init_std=0.3, seed=1)
# As large-v3-turbo: 128 mels, many encoder and few decoder layers; a head width whose root is not a power of two.
TURBO = Shape(
    "ir-turbo", width=96, heads=12, layers=4, decoder_layers=1, mels=128, vocabulary=51866, init_std=0.3, seed=4
)
UNTIED = Shape("ir-untied", width=64, heads=2, layers=1, tied=False, vocabulary=51864, init_std=0.3, seed=7)
TOKENS = 60
CLIPS = (chirps(7, 0), chirps(30, 1), noise(3, 1))

# How far a value may be from the checkpoint's, as a share of the largest in the tensor.
ROUNDING = {"fp32": 1e-6, "fp16": 6e-4, "int8": 1e-2, "int4": 0.15}

MakeExport = Callable[..., Path]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> MakeExport:
    """A shape's checkpoint, or its export with some options; each is made once."""
    made: dict[tuple[str, ...], Path] = {}

    def make(shape: Shape, *options: str) -> Path:
        if (shape.name,) not in made:
            made[shape.name,] = tmp_path_factory.mktemp(shape.name)
            write_checkpoint(made[shape.name,], shape)
        key = (shape.name, *options)
        if key not in made:
            made[key] = export(made[shape.name,], tmp_path_factory.mktemp("export"), WHISPER, *options)
            _write_features(made[key], shape.mels)
        return made[key]

    return make


def _write_features(folder: Path, mels: int) -> None:
    """A file that checkpoints on the hub have: without it openvino_genai assumes 80 mels for every model."""
    config = {"feature_extractor_type": "WhisperFeatureExtractor", "feature_size": mels, "sampling_rate": 16_000}
    config |= {"n_fft": 400, "hop_length": 160, "chunk_length": 30, "n_samples": 480_000, "nb_max_frames": 3_000}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))


def tokens(session: WhisperSession, samples: Samples, *, timestamps: bool = False) -> tuple[int, ...]:
    language = "en" if session.info.languages else None
    unit = make_unit(samples, language=language, max_new_tokens=TOKENS, min_new_tokens=TOKENS, timestamps=timestamps)
    (result,) = drive(session, [unit])
    return result.tokens


def assert_same_answers(one: WhisperSession, other: WhisperSession) -> None:
    for samples in CLIPS:
        for timestamps in (False, True):
            assert tokens(one, samples, timestamps=timestamps) == tokens(other, samples, timestamps=timestamps)


def export_options(form: str) -> tuple[str, ...]:
    if form == "int4":
        return ("--weight-format", "int4", "--group-size", "32")
    if form == "int4-sym":
        return ("--weight-format", "int4", "--sym", "--group-size", "64", "--all-layers")
    return ("--weight-format", *form.split("-")[:1], *(("--sym",) if form == "int8-sym" else ()))


@pytest.mark.parametrize("form", ["fp32", "fp16", "int8"])
@pytest.mark.parametrize("shape", [PLAIN, TURBO, UNTIED], ids=lambda shape: shape.name)
def test_export_transcripts_match_the_checkpoint(shape: Shape, form: WeightFormat, exported: MakeExport) -> None:
    folder = exported(shape, *export_options(form))
    session = open_session(folder)
    assert session.info.weight_format == form
    assert_same_answers(session, open_session(exported(shape), weight_format=form))


@pytest.mark.parametrize("form", ["fp32", "fp16", "int8", "int8-sym", "int4", "int4-sym"])
def test_ir_tensors_match_the_checkpoint(form: str, exported: MakeExport) -> None:
    folder = exported(PLAIN, *export_options(form))
    weights = open_ir(folder, "auto")
    kept = form.split("-")[0]
    assert weights.format_of("model.decoder.layers.0.fc1.weight") == kept
    with open_checkpoint(exported(PLAIN)) as checkpoint:
        for name in names_in(exported(PLAIN)):
            stored = checkpoint.array(name)
            assert weights.has(name)
            assert weights.shape(name) == stored.shape
            off = np.abs(weights.array(name) - stored).max() / np.abs(stored).max()
            assert off <= ROUNDING[kept], name


@pytest.mark.parametrize("form", ["int8", "int8-sym", "int4", "int4-sym"])
def test_compressed_weights_equal_their_decompressed_values(form: str, exported: MakeExport, tmp_path: Path) -> None:
    folder = exported(PLAIN, *export_options(form))
    plain = Path(shutil.copytree(exported(PLAIN), tmp_path / "decompressed"))
    write_decompressed(names_in(plain), open_ir(folder, "auto"), plain)
    assert_same_answers(open_session(folder), open_session(plain))


@pytest.mark.parametrize(("shape", "form"), [(PLAIN, "int8"), (PLAIN, "int4"), (TURBO, "int8")], ids=str)
def test_export_transcripts_match_genai(shape: Shape, form: str, exported: MakeExport) -> None:
    folder = exported(shape, *export_options(form))
    pipeline = open_exact(folder)
    session = open_session(folder)
    for samples in CLIPS:
        assert tuple(sample(pipeline, samples, TOKENS)) == tokens(session, samples)


def test_stateless_export_is_supported(exported: MakeExport) -> None:
    folder = exported(PLAIN, "--weight-format", "int8", "--disable-stateful")
    assert (folder / "openvino_decoder_with_past_model.xml").is_file()
    assert_same_answers(open_session(folder), open_session(exported(PLAIN, *export_options("int8"))))


def test_export_can_be_quantized_to_another_format(exported: MakeExport) -> None:
    folder = exported(PLAIN, *export_options("fp32"))
    session = open_session(folder, weight_format="int8")
    assert session.info.weight_format == "int8"
    assert_same_answers(session, open_session(exported(PLAIN), weight_format="int8"))
