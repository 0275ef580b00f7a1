"""`antiphon models`: the models a server would load, the backend of each, and the reason; nothing is loaded."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from antiphon.__main__ import main
from antiphon.cli.models import models
from antiphon.repository.graph_pbtxt import GraphFile, render_graph
from tests.genai.stand_in import write_folder
from tests.support.starters import STARTER_ASR
from tests.support.tiny_whisper import write_tiny


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Run `antiphon models` in this process; its table's rows, each cell trimmed."""

    def here(*arguments: object) -> list[list[str]]:
        monkeypatch.setattr(sys, "argv", ["antiphon", "models", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        heading, *rest = capsys.readouterr().out.splitlines()
        assert heading.split() == ["name", "family", "backend", "folder"]
        return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in rest]

    return here


def test_default_models_are_listed_if_no_model_is_named(rows) -> None:  # type: ignore[no-untyped-def]
    recogniser, voice = rows()
    assert recogniser[:3] == ["whisper-base", "?", "none"]
    assert recogniser[3] == "whisper-base has not been downloaded; `antiphon pull whisper-base` does it."
    assert voice == ["espeak", "espeak", "espeak-ng on CPU", "built in"]


def test_available_lists_the_catalogue_with_size_and_licence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "antiphon" / "whisper-tiny.en").mkdir(parents=True)
    models(available=True)
    output = capsys.readouterr().out
    rows = {line.split()[0]: line.split() for line in output.splitlines() if line.strip()}
    assert rows["whisper-base"][:6] == ["whisper-base", "146", "many", "base", "MIT", "the"]
    assert rows["whisper-tiny.en"][:6] == ["whisper-tiny.en", "76", "en", "yes", "tiny.en", "MIT"]
    assert rows["kokoro-82m"][:3] == ["kokoro-82m", "140", "8"]
    assert f"antiphon pull NAME downloads a model to {tmp_path / 'antiphon'}." in output


@pytest.mark.parametrize(
    ("device", "reason"),
    [
        ("XPU", "target_device: XPU is not available, there is no XPU here; OpenVINO finds "),
        ("AUTO", "no such file; the genai backend reads OpenVINO IR, which `antiphon export speech2text"),
    ],
)
def test_unservable_model_is_listed_with_its_reason(rows, tmp_path: Path, device: str, reason: str) -> None:  # type: ignore[no-untyped-def]
    entries = [{"config": {"name": STARTER_ASR.name, "base_path": str(STARTER_ASR), "target_device": device}}]
    (tmp_path / "config.json").write_text(json.dumps({"model_config_list": entries}))
    (first,) = rows("--config_path", tmp_path)
    assert first[:3] == ["starter-asr", "?", "none"]
    assert reason in first[3]


@pytest.mark.parametrize(
    ("flag", "place", "line"),
    [
        ("--model_path", "empty", "{path}: holds no model; looked for config.json, "),
        (
            "--model_path",
            "nowhere",
            "--model_path: {path}: no such folder, and not in the catalogue or the Hugging Face cache.",
        ),
        ("--model-repository-path", "empty", "{path}: there is no model in it."),
        ("--model_repository_path", "nowhere", "--model_repository_path: {path}: no such folder; "),
        ("--config_path", "none.json", "{path}: there is no model in it."),
        ("--config_path", "nowhere", "{path}: Config file not found"),
    ],
)
def test_missing_model_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    flag: str,
    place: str,
    line: str,
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "none.json").write_text(json.dumps({"model_config_list": []}))
    monkeypatch.setattr(sys, "argv", ["antiphon", "models", flag, str(tmp_path / place)])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.startswith(f"antiphon: {line.format(path=tmp_path / place)}")
    assert err.count("\n") == 1


def test_repository_with_and_without_a_config(rows, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    asr = write_tiny(tmp_path / "openai" / "whisper-tiny")
    kokoro = write_folder(tmp_path / "kokoro", "kokoro", istftnet={})
    (kokoro / "graph.pbtxt").write_text(render_graph(GraphFile("text2speech")))
    expected = [
        ["kokoro", "kokoro", "genai on CPU (kokoro has no native graph yet)", str(kokoro)],
        ["openai/whisper-tiny", "whisper", "native on CPU", str(asr)],
    ]
    assert [[*row[:3], str(Path(row[3]))] for row in rows("--model_repository_path", tmp_path)] == expected
    entries = [
        {"config": {"name": "a", "base_path": "openai/whisper-tiny"}},
        {"config": {"name": "b", "base_path": "b"}},
    ]
    (tmp_path / "config.json").write_text(json.dumps({"model_config_list": entries}))
    for flag in ("--model_repository_path", "--config_path"):
        first, second = rows(flag, tmp_path)
        assert first == ["a", "whisper", "native on CPU", str(asr)]
        assert second[:3] == ["b", "?", "none"]
        assert "no such folder" in second[3]


def test_device_of_the_environment_counts_in_a_repository(
    rows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    write_tiny(tmp_path / "tiny")
    monkeypatch.setenv("ANTIPHON_TARGET_DEVICE", "XPU")
    [row] = rows("--model-repository-path", tmp_path)
    assert row[:3] == ["tiny", "?", "none"]
    assert "XPU is not available" in row[3]
