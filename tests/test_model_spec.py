"""The models to serve, from settings and a config.json."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from antiphon import model_spec
from antiphon.errors import ConfigError
from antiphon.loader import LoadOptions
from antiphon.model_spec import ModelSpec, enabled_metrics, load, model_specs
from antiphon.repository.graph_pbtxt import GraphFile
from antiphon.settings import load_settings
from tests.support.starters import STARTER_ASR, STARTER_TTS


def names(**flags: object) -> list[str]:
    return [spec.name for spec in model_specs(load_settings(flags))]


def test_whisper_base_and_espeak_are_specified_if_no_model_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert names() == ["whisper-base", "espeak"]
    monkeypatch.setattr(model_spec, "built_in_models", lambda: ())
    assert names() == ["whisper-base"]


def test_config_names_the_built_in_espeak(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    entry = {"config": {"name": "voice", "base_path": "espeak"}}
    config.write_text(json.dumps({"model_config_list": [entry]}))
    assert model_specs(load_settings({"config_path": config})) == (ModelSpec("voice", "espeak"),)
    (tmp_path / "espeak").mkdir()  # a folder of that name is a model like any other
    assert model_specs(load_settings({"config_path": config})) == (ModelSpec("voice", str(tmp_path / "espeak")),)


def test_fixtures_config_names_the_starters_and_espeak() -> None:
    specs = model_specs(load_settings({"config_path": STARTER_ASR.parent}))
    assert [(spec.name, spec.source) for spec in specs] == [
        ("starter-asr", str(STARTER_ASR)),
        ("espeak", "espeak"),
        ("starter-tts", str(STARTER_TTS)),
    ]


def test_one_model(tmp_path: Path) -> None:
    assert model_specs(load_settings({"model_path": str(tmp_path / "x")})) == (ModelSpec("x", str(tmp_path / "x")),)
    assert names(model_path=str(tmp_path), model_name="mine") == ["mine"]
    [spec] = model_specs(
        load_settings({"model_path": str(tmp_path), "target_device": "GPU", "num_streams": 2, "vocoder": "/v"})
    )
    assert (spec.device, spec.plugin_config, spec.vocoder) == ("GPU", {"NUM_STREAMS": "2"}, Path("/v"))


@pytest.mark.parametrize(("flags", "context"), [({}, "full"), ({"audio_context": "auto"}, "auto")])
def test_audio_context_setting_reaches_the_loader(
    monkeypatch: pytest.MonkeyPatch, flags: dict[str, object], context: str
) -> None:
    loaded: list[LoadOptions] = []
    monkeypatch.setattr(model_spec, "load_sessions", lambda _name, options: loaded.append(options))
    load(ModelSpec("m", "espeak"), load_settings(flags), lambda _line: None)
    assert [options.audio_context for options in loaded] == [context]


def test_task_setting_makes_a_graph_in_memory(tmp_path: Path) -> None:
    flags = {"model_path": str(tmp_path), "task": "text2speech", "model_type": "kokoro", "target_device": "NPU"}
    [spec] = model_specs(load_settings(flags))
    assert spec.graph == GraphFile("text2speech", target_device="NPU", model_type="kokoro")
    [spec] = model_specs(load_settings({"model_path": str(tmp_path), "task": "speech2text"}))
    assert spec.graph == GraphFile("speech2text", target_device="")


def test_pulled_model(tmp_path: Path) -> None:
    flags = {"source_model": "openai/whisper-tiny", "model_repository_path": tmp_path, "vocoder": "microsoft/hifigan"}
    [spec] = model_specs(load_settings(flags))
    assert (spec.name, spec.source) == ("openai/whisper-tiny", str(tmp_path / "openai/whisper-tiny"))
    assert spec.vocoder is None  # it was pulled into the model's own folder
    assert names(**flags, model_name="mine") == ["mine"]


def test_config_is_read_again_each_time(tmp_path: Path) -> None:
    settings = load_settings({"config_path": tmp_path})
    with pytest.raises(ConfigError, match=r"config\.json: Config file not found"):
        model_specs(settings)
    config = tmp_path / "config.json"
    entry = {"config": {"name": "a/b", "base_path": "a/b", "target_device": "GPU", "plugin_config": {"X": 1}}}
    config.write_text(json.dumps({"model_config_list": [entry]}))
    [before] = model_specs(settings)
    assert before == ModelSpec("a/b", str(tmp_path / "a" / "b"), device="GPU", plugin_config={"X": 1})
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "graph.pbtxt").write_text("one")
    [after] = model_specs(settings)
    assert (after.graph, after.graph_text) == (tmp_path / "a" / "b" / "graph.pbtxt", "one")
    (tmp_path / "a" / "b" / "graph.pbtxt").write_text("two")
    assert model_specs(settings) != (after,)


def test_repository_without_a_model_means_its_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"model_config_list": [{"config": {"name": "x", "base_path": "x"}}]})
    )
    assert names(model_repository_path=tmp_path) == ["x"]
    monkeypatch.setenv("OVMS_MODEL_REPOSITORY_PATH", str(tmp_path))
    assert names() == ["x"]
    assert names(model_path=str(tmp_path / "y")) == ["y"]
    monkeypatch.setenv("ANTIPHON_MODEL_PATH", str(tmp_path / "z"))
    assert names() == ["z"]


@pytest.mark.parametrize(
    ("flags", "names"),
    [
        ({}, None),
        ({"metrics_enable": True}, ()),
        ({"metrics_enable": True, "metrics_list": " a, b,"}, ("a", "b")),
    ],
    ids=str,
)
def test_metrics_of_flags(flags: dict[str, object], names: tuple[str, ...] | None) -> None:
    assert enabled_metrics(load_settings(flags)) == names


@pytest.mark.parametrize(
    ("monitoring", "names"),
    [
        ({"enable": True}, ()),
        ({"enable": True, "metrics_list": ["a", "b"]}, ("a", "b")),
        ({"enable": False, "metrics_list": ["a", "b"]}, None),
    ],
    ids=str,
)
def test_metrics_of_a_config(tmp_path: Path, monitoring: dict[str, object], names: tuple[str, ...] | None) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"model_config_list": [], "monitoring": {"metrics": monitoring}}))
    assert enabled_metrics(load_settings({"config_path": tmp_path})) == names
    with pytest.raises(ConfigError, match="Metrics configuration duplicated in configuration file and CLI parameters"):
        enabled_metrics(load_settings({"config_path": tmp_path, "metrics_enable": True}))


def test_config_without_monitoring_leaves_metrics_to_the_settings(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_config_list": []}')
    assert enabled_metrics(load_settings({"config_path": tmp_path})) is None
    assert enabled_metrics(load_settings({"config_path": tmp_path, "metrics_enable": True})) == ()


def test_catalogue_alias_is_served_from_the_folder_that_it_is_pulled_into(tmp_path: Path) -> None:
    [spec] = model_specs(load_settings({"source_model": "base", "model_repository_path": tmp_path}))
    assert (spec.name, spec.source) == ("whisper-base", str(tmp_path / "whisper-base"))
