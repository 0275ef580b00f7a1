"""Weights and activations in 8 bits: our export and optimum-intel's compute here what their files compute, and ours says the
same words in `openvino_genai`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino as ov
import openvino_genai
import pytest

from antiphon.cli.export import speakers
from antiphon.export.calibration import calibration_windows
from antiphon.export.export import export
from antiphon.models.folder import inspect
from antiphon.models.layers import NEVER
from antiphon.models.whisper.config import read_config
from antiphon.models.whisper.export import encoder_inputs
from antiphon.models.whisper.graph import encoder_graph, step_graph
from antiphon.models.whisper.ir import open_ir
from antiphon.models.whisper.session import WhisperSession
from antiphon.repository.graph_pbtxt import GraphFile
from antiphon.types.audio import Samples
from antiphon.weights.openvino_ir.files import DECODER_MODEL, ENCODER_MODEL
from tests.oracle.ir_folders import STARTER, export_starter
from tests.oracle.reference import open_session
from tests.support.drive_session import drive, make_unit
from tests.support.encoder_states import compile_exact, whisper_states_model
from tests.support.espeak_voice import Voice
from tests.support.held_out import HELD_OUT, word_errors
from tests.support.sessions import EXACT_F32

pytestmark = pytest.mark.oracle

WINDOWS = 16  # of 32 in the product: with 4, the eSpeak take decided whether five words were wrong or one
SCRIPT = Path(__file__).with_name("quantizing.py")


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quantized") / "ours"
    export(inspect(STARTER), folder, graph=GraphFile("speech2text"), calibration=windows)
    return folder


def windows() -> list[Samples]:
    return calibration_windows(None, speakers)[:WINDOWS]


@pytest.fixture(scope="module")
def theirs(ours: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both of its graphs round activations; what goes with them is as in ours."""
    work = tmp_path_factory.mktemp("optimum")
    exact = export_starter(work / "exact")
    features = [one["input_features"] for one in encoder_inputs(windows(), read_config(STARTER))]
    np.save(work / "features.npy", np.concatenate(features))
    command = [sys.executable, str(SCRIPT), str(exact), str(work / "features.npy"), str(work / "int8")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, "NNCF_CI": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    for path in ours.iterdir():
        if not (work / "int8" / path.name).exists():
            shutil.copy(path, work / "int8")
    return work / "int8"


@pytest.fixture(params=["ours", "theirs"])
def folder(request: pytest.FixtureRequest) -> Path:
    made: Path = request.getfixturevalue(request.param)
    return made


def test_quantized_encoder_matches_its_file(folder: Path) -> None:
    config = read_config(folder)
    features = encoder_inputs([Voice().speak(HELD_OUT[0])], config)[0]["input_features"]
    file = ov.Core().read_model(folder / ENCODER_MODEL)
    graph = whisper_states_model(config, open_ir(folder, "auto").expanded())
    # Two convolutions; in each layer what goes into query, key and value, two sides of attention, out_proj, fc1 and fc2.
    assert len(quantized_ranges(graph)) >= 2 + 6 * config.encoder_layers
    assert quantized_ranges(graph) == quantized_ranges(file)
    expected = compile_exact(with_fine_levels(file))(features)["last_hidden_state"]
    here = compile_exact(with_fine_levels(graph))(features)["states"]
    assert np.linalg.norm(here - expected) < 1e-5 * np.linalg.norm(expected)


def test_quantized_decoder_matches_its_file(theirs: Path) -> None:
    """Optimum rounds in both graphs: what enters every layer, the queries of attention, and the last layer's input."""
    config, weights = read_config(theirs), open_ir(theirs, "auto")
    features = encoder_inputs([Voice().speak(HELD_OUT[0])], config)[0]["input_features"]
    states = with_fine_levels(whisper_states_model(config, weights.expanded()))
    encoder = with_fine_levels(encoder_graph(config, weights.expanded(), "f32"))
    file = with_fine_levels(ov.Core().read_model(theirs / DECODER_MODEL))
    graph = with_fine_levels(step_graph(config, weights, "f32"))
    assert len(quantized_ranges(graph)) >= 6 * config.decoder_layers
    # Keys and values of the encoder's states are made in our encoder's graph, and in the file's decoder.
    assert sorted([*quantized_ranges(encoder), *quantized_ranges(graph)]) == sorted(
        [*quantized_ranges(states), *quantized_ranges(file)]
    )
    hidden, cross = compile_exact(states)(features)["states"], compile_exact(encoder)(features)
    ids = np.array([[1501, 1502, 1505, 20, 30, 40, 50, 60]], np.int32)
    count = ids.shape[1]
    given = {"input_ids": ids, "encoder_hidden_states": hidden, "beam_idx": np.zeros(1, np.int32)}
    properties = {"KV_CACHE_PRECISION": "f32", **EXACT_F32}
    expected = ov.Core().compile_model(file, "CPU", properties).create_infer_request().infer(given)["logits"][0]
    rows = np.array([[count - 1, *range(count)]], np.int32)
    mask = np.where(np.tri(count, dtype=np.bool_), 0, NEVER).astype(np.float32)[None, None]
    inputs = {"ids": ids, "positions": np.arange(count, dtype=np.int32)[None], "mask": mask, "logits_at": rows}
    inputs |= {"rules": np.zeros((1, 6), np.int32), "sampled": np.zeros(0, np.int32)}
    empty = np.zeros((1, config.decoder_heads, 0, config.width // config.decoder_heads), np.float32)
    for layer in range(config.decoder_layers):
        inputs |= {f"past_key.{layer}": empty, f"past_value.{layer}": empty}
        inputs |= {f"{side}.{layer}": cross[f"{side}.{layer}"] for side in ("key", "value")}
    here = compile_exact(graph)(inputs)["logits"][0]
    assert np.linalg.norm(here - expected) < 1e-5 * np.linalg.norm(expected)


def fake_quantizations(model: ov.Model) -> list[ov.Node]:
    return [node for node in model.get_ops() if node.get_type_name() == "FakeQuantize"]


def quantized_ranges(model: ov.Model) -> list[tuple[float, ...]]:
    """What each activation is clipped to, and the values of its lowest and highest level; sorted."""
    return sorted(
        tuple(float(range_end(node.input_value(port).get_node())) for port in range(1, 5))
        for node in fake_quantizations(model)
    )


def range_end(node: ov.Node) -> np.float32:
    while node.get_type_name() != "Constant":
        node = node.input_value(0).get_node()
    return np.float32(node.data.item())


def with_fine_levels(model: ov.Model) -> ov.Model:
    """The model with a million levels in place of its 256.

    Two graphs whose sums differ in the last digit put a few activations on neighbouring levels. With 256 levels that moves the
    result by up to 0.6 %, as much as quantizing does; with a million, by less than 2e-6.
    """
    for node in fake_quantizations(model):
        assert node.get_attributes()["levels"] == 256
        node.set_attribute("levels", 2**20)
    return model


def test_quantized_transcripts_match_genai(ours: Path) -> None:
    pipeline = openvino_genai.WhisperPipeline(str(ours), "CPU", KV_CACHE_PRECISION="f32", **EXACT_F32)
    session, voice, differing = open_session(ours), Voice(), 0
    for text in HELD_OUT[:12]:
        samples = voice.speak(text)
        expected_text = pipeline.generate(samples.tolist(), language="<|en|>", task="transcribe").texts[0]
        (result,) = drive(session, [make_unit(samples, language="en")])
        differing += expected_text != "".join(piece.text for piece in result.pieces)
    assert differing <= 1  # its features differ from ours in their last digits


def test_quantized_export_matches_the_checkpoint(ours: Path) -> None:
    exact, rounded = open_session(STARTER), open_session(ours)
    voice = Voice()
    clips = [voice.speak(text) for text in HELD_OUT[:12]]

    def errors(session: WhisperSession) -> int:
        results = [drive(session, [make_unit(samples, language="en")])[0] for samples in clips]
        return sum(
            word_errors(text, "".join(piece.text for piece in one.pieces))
            for text, one in zip(HELD_OUT, results, strict=False)
        )

    assert abs(errors(rounded) - errors(exact)) <= 2
