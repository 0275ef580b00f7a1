"""`antiphon pull` from a fake hub on loopback: its output and the graph.pbtxt it writes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from antiphon.cli.pull import pull
from antiphon.errors import ConfigError
from antiphon.repository.graph_pbtxt import read_graph
from tests.support.fake_hub import Hub, serve_hub, write_repository

WHISPER = '{"architectures": ["WhisperForConditionalGeneration"]}'
SPEECHT5 = '{"architectures": ["SpeechT5ForTextToSpeech"]}'
HIFIGAN = '{"architectures": ["SpeechT5HifiGan"]}'


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with a transcription model, a speech model and its vocoder."""
    root = tmp_path / "hub"
    held = {"openai/whisper-nano": WHISPER, "microsoft/speecht5_tts": SPEECHT5, "microsoft/speecht5_hifigan": HIFIGAN}
    for source, config in held.items():
        write_repository(root / source, {"config.json": config, "model.safetensors": b"w" * 100_000})
    with serve_hub(root) as running:
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def test_output_is_that_of_ovms(hub: Hub, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pull(["openai/whisper-nano"], models)
    folder = models / "openai/whisper-nano"
    output = capsys.readouterr()
    assert output.out.splitlines() == [
        f"Model: openai/whisper-nano downloaded to: {folder}",
        f"Graph: graph.pbtxt created in: {folder}",
    ]
    assert output.err == "Pulling openai/whisper-nano: 2 files, 100.1 kB.\n"
    graph = read_graph(folder / "graph.pbtxt")
    assert (graph.task, graph.models_path, graph.target_device) == ("speech2text", "./", "CPU")
    assert "target_device" not in (folder / "graph.pbtxt").read_text()


def test_several_models_and_a_vocoder(hub: Hub, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pull(["openai/whisper-nano", "microsoft/speecht5_tts"], models, target_device="GPU")
    folder = models / "microsoft/speecht5_tts"
    assert (folder / "vocoder/model.safetensors").is_file()
    assert read_graph(folder / "graph.pbtxt").task == "text2speech"
    assert {read_graph(path).target_device for path in models.rglob("graph.pbtxt")} == {"GPU"}
    assert "needs a vocoder from another repository: microsoft/speecht5_hifigan" in capsys.readouterr().err


def test_existing_graph_is_kept_unless_options_are_given(hub: Hub, models: Path) -> None:
    pull(["openai/whisper-nano"], models)
    graph = models / "openai/whisper-nano/graph.pbtxt"
    edited = graph.read_text().replace("enable_word_timestamps: false", "enable_word_timestamps: true")
    graph.write_text(edited)
    pull(["openai/whisper-nano"], models)
    assert graph.read_text() == edited
    pull(["openai/whisper-nano"], models, target_device="NPU")
    assert read_graph(graph).target_device == "NPU"


def test_other_models_get_no_graph(hub: Hub, models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pull(["microsoft/speecht5_hifigan"], models)
    folder = models / "microsoft/speecht5_hifigan"
    assert not (folder / "graph.pbtxt").exists()
    assert (
        f"{folder}: not a speech model according to its config.json, so no graph.pbtxt is written"
        in capsys.readouterr().err
    )
    pull(["microsoft/speecht5_hifigan"], models, task="text2speech")
    assert read_graph(folder / "graph.pbtxt").task == "text2speech"


def test_progress_bar_on_a_terminal(
    hub: Hub, models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    pull(["microsoft/speecht5_tts"], models)
    output = capsys.readouterr()
    assert "microsoft/speecht5_tts" in output.err
    assert output.err.count("100%") >= 2
    assert "%" not in output.out


def test_revision_with_two_repositories_is_refused(hub: Hub, models: Path) -> None:
    with pytest.raises(ConfigError, match=r"^revision: names one repository's revision; pull a/b and c/d separately\."):
        pull(["a/b", "c/d"], models, revision="v1")


def test_catalogue_model_in_a_repository_gets_a_graph_as_any_other(
    models: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = models / "whisper-base"
    write_repository(folder, {"config.json": WHISPER, "model.safetensors": b"w"})
    pull(["base"], models)
    output = capsys.readouterr().out
    assert output.startswith(f"Model: whisper-base downloaded to: {folder}\n")
    assert read_graph(folder / "graph.pbtxt").task == "speech2text"


@pytest.mark.parametrize(
    ("options", "setting"), [({"overwrite": True}, "overwrite_models"), ({"revision": "x"}, "revision")]
)
def test_option_without_meaning_for_a_catalogue_model_is_refused(options: dict[str, Any], setting: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{setting}: not for catalogue names"):
        pull(["whisper-base"], **options)
