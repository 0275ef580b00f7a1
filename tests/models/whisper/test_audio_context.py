"""The audio context "auto": short windows in fewer encoder positions, alone and in a batch, and the retry in full."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from antiphon.models.whisper.audio_context import positions_for
from antiphon.models.whisper.config import read_config
from antiphon.models.whisper.graph import align_graph, encoder_graph, features_graph, step_graph
from antiphon.models.whisper.runner import WhisperGraphs, WhisperRunner
from antiphon.models.whisper.session import WhisperSession
from antiphon.models.whisper.tokens import read_tokenizer
from antiphon.runtime.openvino import open_device
from antiphon.types.events import Window
from antiphon.types.results import WindowResult
from antiphon.weights.safetensors import open_checkpoint
from tests.support.drive_session import drive, make_unit
from tests.support.sessions import load_session
from tests.support.tiny_whisper import noise

# Of a forced length, so that none of them is tried again.
KINDS: list[tuple[float, dict[str, Any]]] = [
    (0.8, {"language": "en", "min_new_tokens": 20, "max_new_tokens": 20}),
    (4.0, {"language": "es", "words": True, "timestamps": True, "min_new_tokens": 12, "max_new_tokens": 12}),
    (3.1, {"language": None, "min_new_tokens": 9, "max_new_tokens": 9}),
    (12.0, {"language": "en", "words": True, "prompt": "Antiphon", "min_new_tokens": 80, "max_new_tokens": 80}),
    (29.0, {"language": "en", "words": True, "min_new_tokens": 15, "max_new_tokens": 15}),
]


def unit_of(kind: int, **others: Any) -> Window:
    seconds, options = KINDS[kind]
    return make_unit(noise(seconds, seed=kind), **options | others)


@pytest.fixture(scope="module")
def auto(tiny_folder: Path) -> WhisperSession:
    loaded = load_session(str(tiny_folder), precision="f32", slots=5, audio_context="auto")
    assert isinstance(loaded, WhisperSession)
    return loaded


def open_shortened(folder: Path, tiny_folder: Path, positions: int) -> WhisperSession:
    """The tiny model cut to that many encoder positions, on graphs that take whole windows only."""
    shutil.copytree(tiny_folder, folder)
    tensors = load_file(folder / "model.safetensors")
    name = "model.encoder.embed_positions.weight"
    save_file(tensors | {name: tensors[name][:positions].copy()}, folder / "model.safetensors")
    config = replace(read_config(folder), source_positions=positions)
    device = open_device("CPU", "f32")
    compile_step = partial(device.compile, fuse_attention=False)
    with open_checkpoint(folder, "auto") as weights:
        align = compile_step(align_graph(config, weights, "f32"))
        graphs = WhisperGraphs(
            features=device.compile(features_graph(config)),
            encoder=device.compile(encoder_graph(config, weights, "f32")),
            step=compile_step(step_graph(config, weights, "f32")),
            align=lambda: align,
        )
    info = load_session(str(tiny_folder), precision="f32", slots=1).info
    return WhisperSession(info, config, read_tokenizer(folder, config), WhisperRunner(config, graphs, 1, "f32"), 1)  # type: ignore[arg-type]


def assert_same(one: WindowResult, other: WindowResult) -> None:
    assert one.tokens == other.tokens
    assert [piece.text for piece in one.pieces] == [piece.text for piece in other.pieces]
    assert times(one) == pytest.approx(times(other), abs=1e-6)
    assert one.avg_logprob == pytest.approx(other.avg_logprob, abs=1e-4)
    assert one.no_speech_prob == pytest.approx(other.no_speech_prob, rel=1e-3)
    assert one.language == other.language


def times(result: WindowResult) -> list[float]:
    return [time for piece in result.pieces for word in piece.words for time in (word.start, word.end)]


def count_encodings(session: WhisperSession, monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """The encoder positions of each encoding from now on."""
    encodings: list[int | None] = []
    encode = session.runner.encode

    def note(samples: np.ndarray, row: int, positions: int | None = None) -> None:
        encodings.append(positions)
        encode(samples, row, positions)

    monkeypatch.setattr(session.runner, "encode", note)
    return encodings


def test_positions_cover_audio_and_silence_in_steps() -> None:
    assert [positions_for(round(seconds * 16_000)) for seconds in (0, 1, 3, 5, 10, 20)] == [
        128,
        256,
        384,
        384,
        640,
        1152,
    ]
    assert positions_for(480_000) == positions_for(27 * 16_000) == 1500
    assert all(positions_for(samples) * 320 >= min(samples + 40_000, 480_000) for samples in range(0, 480_001, 997))


def test_shorter_log_mel_is_the_beginning_of_the_whole_one(auto: WhisperSession) -> None:
    samples = noise(4.0)
    whole = auto.runner.log_mel(samples).copy()
    assert np.abs(auto.runner.log_mel(samples, 384) - whole[:, :, :768]).max() < 1e-5


@pytest.mark.parametrize(("kind", "positions"), [(0, 256), (1, 384), (2, 384), (3, 768)])
def test_short_window_equals_a_model_with_that_many_positions(
    tmp_path: Path, tiny_folder: Path, auto: WhisperSession, kind: int, positions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    encodings = count_encodings(auto, monkeypatch)
    (result,) = drive(auto, [unit_of(kind)])
    assert encodings == [positions]
    (reference,) = drive(open_shortened(tmp_path / "short", tiny_folder, positions), [unit_of(kind)])
    assert_same(result, reference)
    assert bool(times(result)) == bool(KINDS[kind][1].get("words"))


def test_whole_window_equals_the_full_context(auto: WhisperSession, empty_session: WhisperSession) -> None:
    assert_same(drive(auto, [unit_of(4)])[0], drive(empty_session, [unit_of(4)])[0])


@pytest.mark.parametrize("joins", [[0, 0, 0, 0, 0], [0, 3, 5, 10, 12], [12, 10, 4, 2, 0], [5, 0, 0, 30, 6]])
def test_short_and_long_windows_in_a_batch_do_not_change_each_other(auto: WhisperSession, joins: list[int]) -> None:
    alone = [drive(auto, [unit_of(kind)])[0] for kind in range(len(KINDS))]
    for one, other in zip(drive(auto, list(map(unit_of, range(len(KINDS)))), joins), alone, strict=True):
        assert_same(one, other)


def test_doubtful_result_is_retried_with_the_full_context(
    auto: WhisperSession, empty_session: WhisperSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [unit_of(kind, min_new_tokens=0, language="en") for kind in range(4)]
    whole = drive(empty_session, free)
    monkeypatch.setattr("antiphon.types.results.LOGPROB_THRESHOLD", 0.0)  # nothing is good enough
    encodings = count_encodings(auto, monkeypatch)
    for joins in ([0, 0, 0, 0], [0, 7, 2, 4]):
        encodings.clear()
        for one, other in zip(drive(auto, free, joins), whole, strict=True):
            assert_same(one, other)
        assert sorted(map(int, encodings)) == [256, 384, 384, 768, 1500, 1500, 1500, 1500]  # type: ignore[arg-type]


def test_good_result_is_not_retried(auto: WhisperSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.types.results.LOGPROB_THRESHOLD", -100.0)
    monkeypatch.setattr("antiphon.types.results.COMPRESSION_RATIO_THRESHOLD", 100.0)
    encodings = count_encodings(auto, monkeypatch)
    drive(auto, [unit_of(kind, min_new_tokens=0) for kind in range(3)])
    assert encodings == [256, 384, 384]


def test_full_windows_are_never_retried(empty_session: WhisperSession, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antiphon.types.results.LOGPROB_THRESHOLD", 0.0)
    encodings = count_encodings(empty_session, monkeypatch)
    drive(empty_session, [unit_of(kind, min_new_tokens=0) for kind in range(3)])
    assert encodings == [1500, 1500, 1500]


def test_full_context_graphs_have_fixed_lengths(tiny_folder: Path) -> None:
    config = read_config(tiny_folder)
    with open_checkpoint(tiny_folder, "auto") as weights:
        graphs = [graph(config, weights, "f32") for graph in (encoder_graph, step_graph, align_graph)]
    encoder, step, align = [
        {each.any_name: list(each.partial_shape) for each in (*graph.inputs, *graph.outputs)} for graph in graphs
    ]
    assert encoder["features"][2] == 3000
    assert encoder["key.0"][2] == step["key.0"][2] == align["key.0"][2] == 1500
    assert "audio_mask" not in step


def test_log_names_the_audio_context(tiny_folder: Path) -> None:
    lines: list[str] = []
    load_session(str(tiny_folder), precision="f32", slots=1, audio_context="auto", report=lines.append)
    assert "as long as the audio" in lines[-1]
