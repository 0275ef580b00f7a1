"""The actions of OVMS's command line and its messages: list, add, remove, configure, pull."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from antiphon.__main__ import main
from antiphon.hub import pull as hub
from antiphon.repository.config_json import read_repository
from antiphon.repository.graph_pbtxt import read_graph
from tests.support.tiny_whisper import write_tiny

RunCommand = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunCommand:
    """Run `antiphon` with flags alone in this process: its exit code, what it printed, and its errors."""

    def here(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["antiphon", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return ended.value.code, *capsys.readouterr()

    return here


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    write_tiny(tmp_path / "openai" / "whisper-tiny")
    return tmp_path


def test_list_add_and_remove(run: RunCommand, repository: Path) -> None:
    name, config = "openai/whisper-tiny", repository / "config.json"
    listed = f"Available servables to serve from path: {repository} are: \n{name}\n"
    assert run("--list_models", "--model_repository_path", repository) == (0, listed, "")
    adding = ("--add_to_config", "--config_path", config, "--model_name", name, "--model_repository_path", repository)
    assert run(*adding) == (0, f"Model: {name} added to configuration file: {config}\n", "")
    assert json.loads(config.read_text())["model_config_list"] == [{"config": {"name": name, "base_path": name}}]
    code, out, err = run(*adding)
    assert (code, out) == (2, "")
    assert "Could not add model to configuration file" in err
    assert "Model with the same name already exists." in err
    removing = ("--remove_from_config", config, "--model_name", name)  # as older releases spell it
    assert run(*removing) == (0, f"Model: {name} removed from configuration file: {config}\n", "")
    assert read_repository(config) == ()


def test_adding_by_path_with_a_device(run: RunCommand, repository: Path) -> None:
    folder = repository / "openai" / "whisper-tiny"
    more = ("--target_device", "GPU", "--plugin_config", '{"PERFORMANCE_HINT": "LATENCY"}')
    code, _, _ = run("--add_to_config", repository, "--model_name", "x", "--model_path", folder, *more)
    assert code == 0
    [entry] = read_repository(repository / "config.json")
    assert (entry.folder, entry.target_device) == (folder, "GPU")
    assert entry.plugin_config == {"PERFORMANCE_HINT": "LATENCY"}


def test_repository_from_the_ovms_variable(run: RunCommand, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVMS_MODEL_REPOSITORY_PATH", str(repository))
    assert run("--list_models")[1].endswith(" are: \nopenai/whisper-tiny\n")
    assert run("--add_to_config", "--model_name", "openai/whisper-tiny")[0] == 0
    assert [entry.name for entry in read_repository(repository / "config.json")] == ["openai/whisper-tiny"]


def test_configuring_writes_a_graph(run: RunCommand, repository: Path) -> None:
    folder = repository / "openai" / "whisper-tiny"
    arguments = ("--target_device", "GPU", "--num_streams", "2", "--enable_word_timestamps")
    assert run("--configure", "--model_path", folder, *arguments) == (
        0,
        f"Graph: graph.pbtxt created in: {folder}\n",
        "",
    )
    graph = read_graph(folder / "graph.pbtxt")
    assert (graph.task, graph.target_device, graph.enable_word_timestamps) == ("speech2text", "GPU", True)
    assert graph.plugin_config == {"NUM_STREAMS": "2"}
    (folder / "config.json").write_text("{}")
    code, _, err = run("--configure", "--model_path", folder)
    assert (code, err) == (2, "antiphon: Could not infer model task - specify --task value explicitly\n")
    assert run("--configure", "--model_path", folder, "--task", "text2speech", "--speaker_name", "ann", "--speaker_path", "a.bin")[0] == 0  # fmt: skip  # noqa: E501
    assert read_graph(folder / "graph.pbtxt").voices == (("ann", str(Path("a.bin").resolve())),)


def test_pulling(run: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pull(source: str, repository: Path, **_: object) -> Path:
        return write_tiny(repository / source)

    monkeypatch.setattr(hub, "pull", pull)
    folder = tmp_path / "openai/whisper-tiny"
    code, out, _ = run("--pull", "--source_model", "openai/whisper-tiny", "--model_repository_path", tmp_path)
    lines = f"Model: openai/whisper-tiny downloaded to: {folder}\nGraph: graph.pbtxt created in: {folder}\n"
    assert (code, out) == (0, lines)
    assert read_graph(folder / "graph.pbtxt").task == "speech2text"


REPOSITORY = ("--model_repository_path", "/models")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--pull", *REPOSITORY), "--pull: source_model parameter is required for pull mode"),
        (
            ("--pull", "--source_model", "a/b"),
            "--source_model: model_repository_path parameter is required for pull mode",
        ),
        (("--source_model", "a/b"), "--source_model: model_repository_path parameter is required for pull mode"),
        (
            ("--pull", "--source_model", "OpenVINO/whisper", "--weight-format", "int8", *REPOSITORY),
            "--weight-format: parameter unsupported for OpenVINO models.",
        ),
        (("--pull", "--list_models", *REPOSITORY), "--list_models: cannot be used with pull or task"),
        (("--add_to_config", "c", "--pull", *REPOSITORY), "--add_to_config: cannot be used with pull or task"),
        (
            ("--remove_from_config", "c", "--task", "speech2text"),
            "--remove_from_config: cannot be used with pull or task",
        ),
        (("--add_to_config", "c", "--list_models"), "--list_models: cannot be used with add_to_config"),
        (
            ("--add_to_config", "c", "--model_path", "x", *REPOSITORY),
            "--model_repository_path: cannot be used with model_path",
        ),
        (("--remove_from_config", "c", *REPOSITORY), "--model_repository_path: cannot be used with remove_from_config"),
        (("--remove_from_config", "c"), "--remove_from_config: Set model_name with remove_from_config parameter."),
        (
            ("--add_to_config", "c"),
            "--add_to_config: Set model_name either with model_path or model_repository_path with add_to_config parameter.",
        ),
        (
            ("--add_to_config", "--model_name", "x", "--model_path", "y"),
            "--config_path: is missing; name the configuration file, or set OVMS_MODEL_REPOSITORY_PATH.",
        ),
        (("--list_models",), "--list_models: needs model_repository_path too"),
        (("--configure",), "--configure: needs model_path too"),
        (
            ("--config_path", "c", "--model_path", "x"),
            "--config_path: Use either config_path or model_path with model_name",
        ),
        (
            ("--config_path", "c", "--model_name", "x"),
            "--config_path: Use either config_path or model_path with model_name",
        ),
        (
            ("--config_path", "c", "--target_device", "GPU"),
            "--config_path: Model parameters in CLI are exclusive with the config file",
        ),
        (("--rest_workers", "1"), "--rest_workers: count should be from 2 to 10000, not 1."),
        (
            ("--metrics_list", "x"),
            "--metrics_list: metrics_enable setting is missing, required when metrics_list is provided",
        ),
        (("--metrics_enable", "--metrics_list", "ovms_streams,x"), "metrics_list: there is no metric 'x'."),
        (
            ("--model_path", "x", "--num_streams", "2", "--plugin_config", '{"NUM_STREAMS": 3}'),
            "--plugin_config: Doubled NUM_STREAMS parameter",
        ),
        (
            ("--model_path", "x", "--cache_dir", "y", "--plugin_config", '{"CACHE_DIR": "z"}'),
            "--plugin_config: Doubled CACHE_DIR parameter",
        ),
        (
            ("--plugin_config", "[1]"),
            '--plugin_config: it must be a JSON object such as {"PERFORMANCE_HINT": "LATENCY"}, not \'[1]\'.',
        ),
    ],
)
def test_invalid_combinations_have_ovms_messages(run: RunCommand, arguments: tuple[str, ...], message: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


def test_pull_of_a_model_without_a_speech_task(
    run: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pull(source: str, repository: Path, **_: object) -> Path:
        (repository / source).mkdir(parents=True)
        return repository / source

    monkeypatch.setattr(hub, "pull", pull)
    code, _, err = run("--source_model", "meta/llama", "--model_repository_path", tmp_path)
    assert code == 2
    assert "Could not infer model task - specify --task value explicitly" in err
