"""Pulling from a fake hub on loopback: selected files, refusals, overwriting, and that only complete models appear."""

from __future__ import annotations

import errno
import io
import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from antiphon.errors import ConfigError
from antiphon.hub import client as hub_module
from antiphon.hub.pull import pull
from antiphon.models.folder import lacks_vocoder
from antiphon.repository.config_json import list_models
from antiphon.repository.graph_pbtxt import GraphFile, read_graph, render_graph
from tests.support.fake_hub import Hub, write_repository
from tests.support.pulling import NAME, WEIGHTS, WHISPER, files_in, keep

SPEECHT5 = '{"model_type": "speecht5", "architectures": ["SpeechT5ForTextToSpeech"]}'


def test_pull_downloads_every_file(hub: Hub, tmp_path: Path, models: Path, lines: list[str]) -> None:
    held = keep(hub, tmp_path / "hub")
    folder = pull(NAME, models, report=lines.append)
    assert folder == models / NAME
    assert files_in(models) == {f"{NAME}/{name}": content for name, content in held.items()}
    assert lines == ["Pulling openai/whisper-nano: 3 files, 3.1 MB."]


def test_progress_counts_up_to_the_total(hub: Hub, tmp_path: Path, models: Path) -> None:
    total = sum(map(len, keep(hub, tmp_path / "hub").values()))
    calls: list[tuple[str, int, int]] = []
    pull(NAME, models, progress=lambda *call: calls.append(call))
    counts = [done for _, done, _ in calls]
    assert counts == sorted(counts)
    assert len(set(counts)) > 3
    assert calls[-1] == (NAME, total, total)


def test_only_the_files_of_a_model_are_downloaded(hub: Hub, tmp_path: Path, models: Path) -> None:
    needed = {
        "vocab.json": "{}",
        "merges.txt": "a b",
        "spm_char.model": b"spm",
        "graph.pbtxt": render_graph(GraphFile("speech2text")),
        "openvino_encoder_model.xml": "<net/>",
        "openvino_encoder_model.bin": b"ir",
        "voices/anna.bin": b"v",
        "data/lexicon.json": "{}",
        "vocoder/config.json": "{}",
        "vocoder/model.safetensors": b"w",
    }
    others = {
        "README.md": "#",
        "pytorch_model.bin": b"pickle",
        "model.fp32-00001-of-00002.safetensors": b"w",
        "model.safetensors.index.fp32.json": "{}",
        "pytorch_model.bin.index.json": "{}",
        "flax_model.msgpack": b"flax",
        "tf_model.h5": b"tf",
        "model.onnx": b"onnx",
        "onnx/model.onnx": b"onnx",
        "whisper-q4.gguf": b"gguf",
        "training_args.bin": b"pickle",
        "runs/events.out": b"log",
        "voices/anna.pt": b"pickle",
    }
    held = keep(hub, tmp_path / "hub", **needed, **others)
    folder = pull(NAME, models)
    assert files_in(folder) == {name: content for name, content in held.items() if name not in others}
    requested = {request.path.rpartition("/")[2] for request in hub.requests}
    assert not requested & {"pytorch_model.bin", "flax_model.msgpack", "anna.pt", "training_args.bin"}


def test_shards_are_downloaded_without_a_single_file(hub: Hub, tmp_path: Path, models: Path) -> None:
    shards = {f"model-0000{number}-of-00002.safetensors": b"w" for number in (1, 2)}
    index = {"model.safetensors.index.json": "{}"}
    held = keep(hub, tmp_path / "hub", **shards, **index, **{"model.safetensors": None})
    assert files_in(pull(NAME, models)) == held


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"pytorch_model.bin": b"p", "training_args.bin": b"p"}, "its weights are pickled (pytorch_model.bin)"),
        ({"kokoro-v1_0.pth": b"p"}, "its weights are pickled (kokoro-v1_0.pth)"),
        ({"flax_model.msgpack": b"f"}, "a format that is not supported (flax_model.msgpack)"),
        ({"openvino_encoder_model.xml": "<net/>"}, "it has no weights"),
        ({}, "it has no weights"),
    ],
)
def test_pickle_and_other_formats_are_refused_before_any_download(
    hub: Hub, tmp_path: Path, models: Path, files: dict[str, Any], reason: str
) -> None:
    keep(hub, tmp_path / "hub", **files, **{"model.safetensors": None})
    with pytest.raises(ConfigError) as caught:
        pull(NAME, models)
    assert reason in str(caught.value)
    assert "Nothing was downloaded; name a converted repository" in str(caught.value)
    assert not models.exists()
    assert hub.sent == 0


def test_safetensors_pull_request_of_the_hubs_converter_is_used(
    hub: Hub, tmp_path: Path, models: Path, lines: list[str]
) -> None:
    keep(hub, tmp_path / "hub", **{"model.safetensors": None, "pytorch_model.bin": b"p"})
    hub.propose(NAME, write_repository(tmp_path / "1", {"model.safetensors": b"anyone's"}), "anyone")
    converted = {"config.json": WHISPER.encode(), "model.safetensors": WEIGHTS}
    hub.propose(NAME, write_repository(tmp_path / "2", {**converted, "pytorch_model.bin": b"p"}), "SFconvertbot")
    hub.propose(NAME, write_repository(tmp_path / "3", {"README.md": b"a typo"}), "SFconvertbot")
    assert files_in(pull(NAME, models, report=lines.append)) == converted
    assert lines[0] == (f"{NAME} is pickled on main; using refs/pr/2, the safetensors of the hub's own converter.")


@pytest.mark.parametrize(("discussions", "author"), [(True, "anyone"), (False, "an unknown author")])
def test_safetensors_pull_request_of_another_author_needs_revision(
    hub: Hub, tmp_path: Path, models: Path, discussions: bool, author: str
) -> None:
    keep(hub, tmp_path / "hub", **{"model.safetensors": None, "pytorch_model.bin": b"p"})
    proposed = {"config.json": WHISPER.encode(), "model.safetensors": WEIGHTS}
    hub.propose(NAME, write_repository(tmp_path / "1", proposed), "anyone")
    hub.has_discussions = discussions
    with pytest.raises(
        ConfigError, match=f"refs/pr/1 by {author} has safetensors: if you trust it, set revision to refs/pr/1"
    ):
        pull(NAME, models)
    assert files_in(pull(NAME, models, revision="refs/pr/1")) == proposed


def test_speecht5_gets_its_vocoder(hub: Hub, tmp_path: Path, models: Path, lines: list[str]) -> None:
    model_files = keep(hub, tmp_path / "hub", "microsoft/speecht5_tts", **{"config.json": SPEECHT5})
    vocoder_files = keep(
        hub, tmp_path / "hub", "microsoft/speecht5_hifigan", **{"config.json": "{}", "tokenizer.json": None}
    )
    folder = pull("microsoft/speecht5_tts", models, lacks_vocoder=lacks_vocoder, report=lines.append)
    assert files_in(folder) == model_files | {f"vocoder/{name}": content for name, content in vocoder_files.items()}
    assert "microsoft/speecht5_tts needs a vocoder from another repository: microsoft/speecht5_hifigan." in lines[1]
    shutil.rmtree(folder / "vocoder")
    pull("microsoft/speecht5_tts", models, lacks_vocoder=lacks_vocoder, report=lines.append)
    assert files_in(folder / "vocoder") == vocoder_files
    without = pull("microsoft/speecht5_tts", tmp_path / "other", vocoder=None, lacks_vocoder=lacks_vocoder)
    assert files_in(without) == model_files


def test_graph_of_the_hub_keeps_its_paths_inside_and_names_no_folders(
    hub: Hub, tmp_path: Path, models: Path, lines: list[str]
) -> None:
    config = {"CACHE_DIR": "/anywhere", "CONFIG_FILE": "/kernels.xml", "NUM_STREAMS": "2"}
    graph = GraphFile("text2speech", "./ir", "GPU", config, voices=(("anna", "voices/anna.bin"),))
    keep(hub, tmp_path / "hub", **{"graph.pbtxt": render_graph(graph)})
    folder = pull(NAME, models, report=lines.append)
    assert read_graph(folder / "graph.pbtxt") == replace(graph, plugin_config={"NUM_STREAMS": "2"})
    assert lines[1:] == [
        "graph.pbtxt of the hub: CACHE_DIR, CONFIG_FILE in plugin_config is not used; a setting can have it."
    ]


@pytest.mark.parametrize(
    "graph",
    [
        render_graph(GraphFile("speech2text", "/anywhere")),
        render_graph(GraphFile("speech2text", "../other")),
        render_graph(GraphFile("speech2text", "a/../../other")),
        render_graph(GraphFile("speech2text", "C:\\models")),
        render_graph(GraphFile("text2speech", voices=(("anna", "/etc/passwd"),))),
        "node {}",
    ],
)
def test_graph_of_the_hub_that_leaves_its_folder_is_not_used(
    hub: Hub, tmp_path: Path, models: Path, lines: list[str], graph: str
) -> None:
    keep(hub, tmp_path / "hub", **{"graph.pbtxt": graph})
    folder = pull(NAME, models, report=lines.append)
    assert not (folder / "graph.pbtxt").exists()
    assert (folder / "model.safetensors").is_file()
    assert lines[1].startswith("graph.pbtxt of the hub is not used: ")


def test_existing_model_is_kept_without_a_request(hub: Hub, tmp_path: Path, models: Path, lines: list[str]) -> None:
    keep(hub, tmp_path / "hub")
    folder = pull(NAME, models)
    (folder / "graph.pbtxt").write_text("edited")
    request_count = len(hub.requests)
    pull(NAME, models, report=lines.append)
    assert len(hub.requests) == request_count
    assert lines == [f"{folder} already exists and is kept; overwrite_models pulls it again."]
    assert (folder / "graph.pbtxt").read_text() == "edited"


def test_overwrite_keeps_the_old_model_until_the_new_one_is_complete(hub: Hub, tmp_path: Path, models: Path) -> None:
    old = keep(hub, tmp_path / "hub")
    folder = pull(NAME, models)
    new = keep(hub, tmp_path / "hub", **{"model.safetensors": WEIGHTS[::-1]})
    seen: list[dict[str, bytes]] = []
    hub.at[hub.sent + 2_000_000] = lambda: seen.append(files_in(folder))
    pull(NAME, models, overwrite=True)
    assert seen == [old]
    assert files_in(folder) == new
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name]


def test_pull_killed_between_the_two_renames_resumes_without_download(hub: Hub, tmp_path: Path, models: Path) -> None:
    held = keep(hub, tmp_path / "hub")
    folder = pull(NAME, models)
    folder.rename(folder.with_name(".whisper-nano.pulling"))
    write_repository(folder.with_name(".whisper-nano.old"), {"model.safetensors": b"the old one"})
    sent = hub.sent
    assert list_models(models) == ()
    pull(NAME, models, overwrite=True)
    assert files_in(models) == {f"{NAME}/{name}": content for name, content in held.items()}
    assert hub.sent == sent


def test_folder_with_other_files_is_not_touched(hub: Hub, tmp_path: Path, models: Path) -> None:
    held = keep(hub, tmp_path / "hub")
    write_repository(models / NAME, {"notes.txt": b"mine"})
    with pytest.raises(ConfigError, match="contains files but no weights; move it away, or set overwrite_models"):
        pull(NAME, models)
    assert files_in(models) == {f"{NAME}/notes.txt": b"mine"}
    pull(NAME, models, overwrite=True)
    assert files_in(models / NAME) == held


@pytest.mark.parametrize("name", ["", "a/b/c", "../../etc", "openai/..", "/etc", "https://huggingface.co/a/b", "a b/c"])
def test_invalid_repository_name_is_refused_without_a_request(hub: Hub, models: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is not a repository: the hub's names are owner/name"):
        pull(name, models)
    assert hub.requests == []


def test_full_disk_is_reported_before_and_during_a_download(
    hub: Hub, tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(hub, tmp_path / "hub")
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000))
        with pytest.raises(ConfigError, match=r"3.1 MB needed and 1.0 MB free: make room, or choose another folder"):
            pull(NAME, models)
    assert hub.sent == 0

    class Full(io.BytesIO):
        name = "model.part"

        def write(self, data: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(ConfigError, match=r"^model.part: cannot be written \(No space left on device\): make room"):
        hub_module._Output(Full(), lambda size: None).write(b"x")


def test_second_pull_of_the_same_model_waits(hub: Hub, tmp_path: Path, models: Path) -> None:
    held = keep(hub, tmp_path / "hub")
    lines: list[str] = []
    second = threading.Thread(target=pull, args=(NAME, models), kwargs={"report": lines.append})
    waiting = threading.Event()

    def report(line: str) -> None:
        lines.append(line)

    def start_another() -> None:
        second.start()
        while not any("waiting for it" in line for line in lines):
            waiting.wait(0.01)

    hub.at[1_000_000] = start_another
    pull(NAME, models, report=report)
    second.join(30)
    assert files_in(models / NAME) == held
    assert any("was pulled by another process meanwhile" in line for line in lines)
    assert hub.starts("model.safetensors") == [0]
