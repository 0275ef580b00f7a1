"""config.json: reading, errors by name, and atomic writes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from antiphon.errors import ConfigError
from antiphon.repository.config_json import (
    Monitoring,
    add_entry,
    find_config,
    list_models,
    read_monitoring,
    read_repository,
    remove_entry,
    write_graph,
)
from antiphon.repository.graph_pbtxt import GraphFile


def write(folder: Path, content: Any) -> Path:
    config = folder / "config.json"
    config.write_text(content if isinstance(content, str) else json.dumps(content))
    return config


def listing(*entries: dict[str, Any]) -> dict[str, Any]:
    return {"model_config_list": [{"config": entry} for entry in entries]}


def make_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "graph.pbtxt").touch()
    return folder


def test_entries_are_read_in_order(tmp_path: Path) -> None:
    asr = make_model(tmp_path / "openai" / "whisper-tiny")
    content = listing(
        {"name": "openai/whisper-tiny", "base_path": "openai/whisper-tiny"},
        {
            "name": "b",
            "base_path": "/models/b",
            "target_device": "GPU",
            "plugin_config": {"NUM_STREAMS": 1},
            "nireq": 4,
        },
        {"name": "c", "base_path": "c", "graph_path": "other.pbtxt"},
    )
    content["mediapipe_config_list"] = [{"name": "d"}]
    content |= {"monitoring": {"metrics": {"enable": True}}, "custom_loader_config_list": []}
    first, second, third, fourth = read_repository(write(tmp_path, content))
    assert (first.name, first.folder, first.graph) == ("openai/whisper-tiny", asr, asr / "graph.pbtxt")
    assert (second.folder, second.graph, second.target_device) == (Path("/models/b"), None, "GPU")
    assert second.plugin_config == {"NUM_STREAMS": 1}
    assert third.graph == tmp_path / "c" / "other.pbtxt"
    assert (fourth.name, fourth.folder) == ("d", tmp_path / "d")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "not a JSON object"),
        ({"model_list": []}, "unknown key 'model_list'"),
        ({"pipeline_config_list": [{"name": "x"}]}, "unknown key 'pipeline_config_list'"),
        ({"model_config_list": {}}, "model_config_list is not a list"),
        ({"model_config_list": [{"name": "x"}]}, "entry 1 of model_config_list is not of the shape"),
        (listing({"name": "x", "base_path": "x", "base_pth": "y"}), "entry 1 .* unknown key 'base_pth'"),
        (listing({"base_path": "x"}), "entry 1 .* has no name"),
        (listing({"name": "x"}), r"entry 1 .* \(x\) has no base_path"),
        (listing({"name": "x", "base_path": 1}), "base_path is 1, not a string"),
        (listing({"name": "x", "base_path": "x", "plugin_config": "y"}), "plugin_config is not an object"),
        (listing({"name": "x", "base_path": "x"}, {"name": "x", "base_path": "y"}), "entry 2 .* repeats the name 'x'"),
        ({"monitoring": True}, "monitoring is not an object with metrics"),
        ({"monitoring": {"metric": {}}}, "monitoring has the unknown key 'metric'; known: metrics"),
        ({"monitoring": {}}, "monitoring.metrics is not an object with enable and metrics_list"),
        ({"monitoring": {"metrics": {"enable": True, "list": []}}}, "monitoring.metrics has the unknown key 'list'"),
        ({"monitoring": {"metrics": {}}}, "monitoring.metrics.enable is None; write true or false"),
        ({"monitoring": {"metrics": {"enable": 1}}}, "monitoring.metrics.enable is 1"),
        ({"monitoring": {"metrics": {"enable": True, "metrics_list": "x"}}}, "metrics_list is not a list of names"),
        ({"monitoring": {"metrics": {"enable": True, "metrics_list": []}}}, "metrics_list is not a list of names"),
        ({"mediapipe_config_list": [{"name": "x", "nireq": 1}]}, "entry 1 of mediapipe.* unknown key 'nireq'"),
        (listing({"name": "x", "base_path": "x"}) | {"mediapipe_config_list": [{"name": "x"}]}, "repeats the name 'x'"),
    ],
)
def test_errors_name_file_entry_and_key(tmp_path: Path, content: Any, message: str) -> None:
    config = write(tmp_path, content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_repository(config)
    assert str(config) in str(caught.value)


def test_monitoring_is_read(tmp_path: Path) -> None:
    metrics = {"enable": True, "metrics_list": ["a", "b"]}
    assert read_monitoring(write(tmp_path, {"monitoring": {"metrics": metrics}})) == Monitoring(True, ("a", "b"))
    assert read_monitoring(write(tmp_path, {"monitoring": {"metrics": {"enable": False}}})) == Monitoring(False)
    assert read_monitoring(write(tmp_path, {"model_config_list": []})) is None


def test_unknown_key_error_names_the_line(tmp_path: Path) -> None:
    content = listing({"name": "x", "base_path": "x"}, {"name": "y", "base_path": "y", "base_pth": "z"})
    config = write(tmp_path, json.dumps(content, indent=4))
    with pytest.raises(ConfigError, match=r"config\.json, line 13: entry 2 of model_config_list"):
        read_repository(config)


def test_missing_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Config file not found or cannot open"):
        read_repository(tmp_path / "config.json")


def test_entries_are_added_and_removed(tmp_path: Path) -> None:
    config = tmp_path / "repository" / "config.json"
    inside = make_model(tmp_path / "repository" / "openai" / "whisper-tiny")
    outside = make_model(tmp_path / "elsewhere")
    add_entry(config, "openai/whisper-tiny", inside)
    add_entry(config, "other", outside)
    assert json.loads(config.read_text()) == listing(
        {"name": "openai/whisper-tiny", "base_path": "openai/whisper-tiny"},
        {"name": "other", "base_path": str(outside)},
    )
    assert [entry.folder for entry in read_repository(config)] == [inside, outside]
    remove_entry(config, "openai/whisper-tiny")
    assert [entry.name for entry in read_repository(config)] == ["other"]
    assert inside.is_dir()
    assert [path.name for path in config.parent.iterdir() if path.is_file()] == ["config.json"]


def test_other_content_and_mode_are_kept(tmp_path: Path) -> None:
    content = {"monitoring": {"metrics": {"enable": True}}, "mediapipe_config_list": [{"name": "d"}, {"name": "e"}]}
    config = write(tmp_path, content)
    config.chmod(0o640)
    add_entry(config, "x", make_model(tmp_path / "x"))
    remove_entry(config, "d")
    left = json.loads(config.read_text())
    assert left["monitoring"] == content["monitoring"]
    assert left["mediapipe_config_list"] == [{"name": "e"}]
    assert [entry.name for entry in read_repository(config)] == ["x", "e"]
    assert config.stat().st_mode & 0o777 == 0o640


def test_entries_that_cannot_be_added_or_removed(tmp_path: Path) -> None:
    config = write(tmp_path, listing({"name": "x", "base_path": "x"}))
    before = config.read_text()
    with pytest.raises(ConfigError, match=r"Could not add model to configuration file .*same name already exists"):
        add_entry(config, "x", make_model(tmp_path / "y"))
    with pytest.raises(ConfigError, match=r"^model_path: .*/z: no such folder"):
        add_entry(config, "z", tmp_path / "z")
    with pytest.raises(ConfigError, match="no model named 'z'; it has x"):
        remove_entry(config, "z")
    config.write_text(before + "}")
    with pytest.raises(ConfigError, match="not valid JSON"):
        add_entry(config, "y", tmp_path / "y")
    assert config.read_text() == before + "}"


def test_concurrent_writers_lose_nothing_and_readers_see_complete_files(tmp_path: Path) -> None:
    config = write(tmp_path, listing())
    folder = make_model(tmp_path / "model")
    names = [f"model-{number}" for number in range(8)]
    errors: list[ConfigError] = []
    writers = [threading.Thread(target=add_entry, args=(config, name, folder)) for name in names]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        try:
            read_repository(config)
        except ConfigError as error:
            errors.append(error)
    assert not errors
    assert {entry.name for entry in read_repository(config)} == set(names)


def test_listing_models(tmp_path: Path) -> None:
    make_model(tmp_path / "meta" / "llama")
    make_model(tmp_path / "tts")
    (tmp_path / "meta" / "llama" / "inner").mkdir()
    checkpoint = tmp_path / "openai" / "whisper-tiny"
    checkpoint.mkdir(parents=True)
    (checkpoint / "config.json").write_text("{}")
    (checkpoint / "model.safetensors").touch()
    make_model(tmp_path / ".half-a-download" / "x")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    assert list_models(tmp_path) == ("meta/llama", "openai/whisper-tiny", "tts")
    with pytest.raises(ConfigError, match=r"^model_repository_path: .*/nowhere: no such folder"):
        list_models(tmp_path / "nowhere")


def test_config_path_is_a_file_or_its_folder(tmp_path: Path) -> None:
    assert find_config(tmp_path) == tmp_path / "config.json"
    assert find_config(tmp_path / "other.json") == tmp_path / "other.json"


def test_ctranslate2_folder_is_listed_as_a_model(tmp_path: Path) -> None:
    (tmp_path / "faster-whisper-base").mkdir()
    for name in ("model.bin", "config.json"):
        (tmp_path / "faster-whisper-base" / name).touch()
    assert list_models(tmp_path) == ("faster-whisper-base",)


def test_unreadable_folder_in_a_repository_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def denied(path: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied", str(tmp_path / "lost+found"))

    monkeypatch.setattr(Path, "iterdir", denied)
    with pytest.raises(
        ConfigError, match=r"^model_repository_path: .*lost\+found: cannot be read \(Permission denied\)"
    ):
        list_models(tmp_path)


def test_graph_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "graph.pbtxt").mkdir()
    with pytest.raises(ConfigError, match=r"graph\.pbtxt: cannot be written \(Is a directory\)"):
        write_graph(tmp_path, GraphFile("speech2text"))
