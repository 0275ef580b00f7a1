"""`antiphon models`: what a server would load, by which backend, and why; nothing is loaded for it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from tiny import write_tiny

from antiphon.__main__ import main
from antiphon.store.graph import GraphFile, render_graph
from tests.engine.genai_stand_in import write_folder


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


def test_the_built_in_models(rows) -> None:  # type: ignore[no-untyped-def]
    assert rows()[0][:3] == ["starter-asr", "whisper", "native on CPU"]


@pytest.mark.parametrize(
    ("device", "told"),
    [
        ("XPU", "device XPU: there is no XPU here; OpenVINO finds "),
        ("AUTO", "no such file; the genai backend reads OpenVINO IR, which `antiphon export speech2text"),
    ],
)
def test_what_serve_would_refuse_is_not_listed_as_served(rows, device: str, told: str) -> None:  # type: ignore[no-untyped-def]
    first, second, _ = rows("--target_device", device)
    assert first[:3] == ["starter-asr", "?", "none"]
    assert told in first[3]
    assert second[:3] == ["espeak", "espeak", "espeak-ng on CPU"]


def test_a_folder_without_a_model(rows, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    [[_, family, backend, told]] = rows("--model_path", tmp_path)
    assert (family, backend) == ("?", "none")
    assert told.startswith(f"{tmp_path}: holds no model; looked for config.json")


def test_a_repository_with_and_without_a_config(rows, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    hears = write_tiny(tmp_path / "openai" / "whisper-tiny")
    kokoro = write_folder(tmp_path / "kokoro", "kokoro", istftnet={})
    (kokoro / "graph.pbtxt").write_text(render_graph(GraphFile("text2speech")))
    expected = [
        ["kokoro", "kokoro", "genai on CPU (kokoro has no native graph yet)", str(kokoro)],
        ["openai/whisper-tiny", "whisper", "native on CPU", str(hears)],
    ]
    assert [[*row[:3], str(Path(row[3]))] for row in rows("--model_repository_path", tmp_path)] == expected
    entries = [
        {"config": {"name": "a", "base_path": "openai/whisper-tiny"}},
        {"config": {"name": "b", "base_path": "b"}},
    ]
    (tmp_path / "config.json").write_text(json.dumps({"model_config_list": entries}))
    for flag in ("--model_repository_path", "--config_path"):
        first, second = rows(flag, tmp_path)
        assert first == ["a", "whisper", "native on CPU", str(hears)]
        assert second[:3] == ["b", "?", "none"]
        assert "no such folder" in second[3]
