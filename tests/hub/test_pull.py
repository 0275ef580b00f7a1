"""Pulling from a fake hub on loopback: selected files, refusals, resume, and that only complete models appear."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from antiphon.errors import ConfigError
from antiphon.hub import client as hub_module
from antiphon.hub.pull import pull
from antiphon.models.folder import lacks_vocoder
from antiphon.repository.config_json import list_models
from tests.support.fake_hub import Hub, serve_hub, write_repository

WHISPER = '{"model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"]}'
SPEECHT5 = '{"model_type": "speecht5", "architectures": ["SpeechT5ForTextToSpeech"]}'
WEIGHTS = random.Random(1).randbytes(3_000_000)
NAME = "openai/whisper-nano"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty hub that HF_ENDPOINT names."""
    with serve_hub() as running:
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setattr(hub_module, "RETRY_DELAYS_S", (0, 0))
        yield running


@pytest.fixture
def lines() -> list[str]:
    """What a pull reported."""
    return []


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def keep(hub: Hub, folder: Path, source: str = NAME, **others: Any) -> dict[str, bytes]:
    """Put a repository on the hub: a whisper unless `others` (name -> content) says so. What it holds comes back."""
    files = {"config.json": WHISPER, "tokenizer.json": "{}" * 40_000, "model.safetensors": WEIGHTS} | others
    kept = {name: content for name, content in files.items() if content is not None}
    hub.add(source, write_repository(folder / source, kept))
    return {name: (folder / source / name).read_bytes() for name in kept}


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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
        "graph.pbtxt": "node {}",
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
    spoken = keep(hub, tmp_path / "hub", "microsoft/speecht5_tts", **{"config.json": SPEECHT5})
    voiced = keep(hub, tmp_path / "hub", "microsoft/speecht5_hifigan", **{"config.json": "{}", "tokenizer.json": None})
    folder = pull("microsoft/speecht5_tts", models, lacks_vocoder=lacks_vocoder, report=lines.append)
    assert files_in(folder) == spoken | {f"vocoder/{name}": content for name, content in voiced.items()}
    assert "microsoft/speecht5_tts needs a vocoder from another repository: microsoft/speecht5_hifigan." in lines[1]
    shutil.rmtree(folder / "vocoder")
    pull("microsoft/speecht5_tts", models, lacks_vocoder=lacks_vocoder, report=lines.append)
    assert files_in(folder / "vocoder") == voiced
    without = pull("microsoft/speecht5_tts", tmp_path / "other", vocoder=None, lacks_vocoder=lacks_vocoder)
    assert files_in(without) == spoken


def test_existing_model_is_kept_without_a_request(hub: Hub, tmp_path: Path, models: Path, lines: list[str]) -> None:
    keep(hub, tmp_path / "hub")
    folder = pull(NAME, models)
    (folder / "graph.pbtxt").write_text("edited")
    asked = len(hub.requests)
    pull(NAME, models, report=lines.append)
    assert len(hub.requests) == asked
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


def test_broken_connection_is_resumed(hub: Hub, tmp_path: Path, models: Path) -> None:
    held = keep(hub, tmp_path / "hub", **{"config.json": WHISPER + " " * 500})
    hub.cut_at = [1_500_000, 2_600_000]
    assert files_in(pull(NAME, models)) == held
    assert hub.starts("model.safetensors")[0] == 0
    assert max(hub.starts("model.safetensors")) >= 2**20
    assert hub.sent < 2 * len(WEIGHTS)


def test_server_without_ranges_restarts_the_file(hub: Hub, tmp_path: Path, models: Path) -> None:
    held = keep(hub, tmp_path / "hub")
    hub.takes_ranges = False
    hub.cut_at = [2_000_000]
    assert files_in(pull(NAME, models)) == held


def test_mirror_without_sizes_is_asked_for_each_file(hub: Hub, tmp_path: Path, models: Path) -> None:
    held = keep(hub, tmp_path / "hub")
    hub.lists_sizes = False
    hub.damaged = {"model.safetensors": 1}
    assert files_in(pull(NAME, models)) == held
    assert hub.starts("model.safetensors") == [0, 0]


def test_wrong_digest_twice_is_refused(hub: Hub, tmp_path: Path, models: Path) -> None:
    keep(hub, tmp_path / "hub")
    hub.damaged = {"model.safetensors": 2}
    with pytest.raises(
        ConfigError, match=r"whisper-nano/model.safetensors: the content does not match the digest http"
    ):
        pull(NAME, models)
    assert list_models(models) == ()
    pull(NAME, models)
    assert list_models(models) == (NAME,)


def test_damaged_partial_file_is_downloaded_again(hub: Hub, tmp_path: Path, models: Path) -> None:
    held = keep(hub, tmp_path / "hub")
    digest = hashlib.sha256(WEIGHTS).hexdigest()[:16]
    part = f"model.safetensors.{digest}.part"
    write_repository(
        models / "openai" / ".whisper-nano.pulling", {part: bytes(1_000_000), "left.over": b"of another revision"}
    )
    assert files_in(pull(NAME, models)) == held


def test_token_is_sent_to_the_hub_but_not_after_a_redirect(
    hub: Hub, tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(hub, tmp_path / "hub")
    hub.token = "hf_secret"
    with pytest.raises(ConfigError, match=r"no such repository at http.*, or a private one: set HF_TOKEN"):
        pull(NAME, models)
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(ConfigError, match="refuses HF_TOKEN"):
        pull(NAME, models)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.requests.clear()
    pull(NAME, models)
    tokens = {(request.server, request.token) for request in hub.requests}
    assert tokens == {("hub", "hf_secret"), ("cdn", None)}


def test_hub_errors_404_403_and_other_statuses_name_the_fix(
    hub: Hub, tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(hub, tmp_path / "hub")
    with pytest.raises(ConfigError, match=r"^openai/whisper-none: no such repository at http://127.0.0.1:\d+, "):
        pull("openai/whisper-none", models)
    with pytest.raises(ConfigError, match=r"^revision: openai/whisper-nano has no revision 'v9': name another."):
        pull(NAME, models, revision="v9")
    hub.gated = {NAME}
    with pytest.raises(ConfigError, match="access is restricted; accept its terms at http"):
        pull(NAME, models)
    hub.gated = set()
    hub.broken = {"/api/models": 418}
    with pytest.raises(ConfigError, match=r"answers 418: try again later, or name a mirror with HF_ENDPOINT."):
        pull(NAME, models)
    assert list_models(tmp_path / "models") == ()


@pytest.mark.parametrize("name", ["", "a/b/c", "../../etc", "openai/..", "/etc", "https://huggingface.co/a/b", "a b/c"])
def test_invalid_repository_name_is_refused_without_a_request(hub: Hub, models: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is not a repository: the hub's names are owner/name"):
        pull(name, models)
    assert hub.requests == []


def test_connection_refused_names_the_endpoint(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(
        ConfigError, match=r"http://127.0.0.1:9 cannot be reached \(Connection refused\): run the command again"
    ):
        pull(NAME, models)
    assert not models.exists()


def test_endpoint_that_is_not_a_hub_is_reported(hub: Hub, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "tests.support.fake_hub._Handler._api", lambda self, *_: self._send(200, {}, b"<html>welcome</html>")
    )
    with pytest.raises(ConfigError, match=r"^http://127.0.0.1:\d+ does not answer like a hub: check HF_ENDPOINT.$"):
        pull(NAME, models)


def test_offline_uses_an_existing_model_and_refuses_another(
    hub: Hub, tmp_path: Path, models: Path, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    keep(hub, tmp_path / "hub")
    folder = pull(NAME, models)
    asked = len(hub.requests)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert pull(NAME, models, report=lines.append) == folder
    with pytest.raises(
        ConfigError, match="does not exist, and HF_HUB_OFFLINE forbids using the hub: unset it, or copy"
    ):
        pull("openai/whisper-other", models)
    assert len(hub.requests) == asked


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


KILLED = """
import sys
from pathlib import Path
from antiphon.hub.pull import pull
from antiphon.models.folder import lacks_vocoder
pull(sys.argv[1], Path(sys.argv[2]), report=lambda line: print(line, flush=True))
"""


def test_pull_killed_at_ten_moments_resumes_and_never_shows_a_partial_model(
    hub: Hub, tmp_path: Path, models: Path
) -> None:
    random_bytes = random.Random(7)
    held = keep(hub, tmp_path / "hub", **{"model.safetensors": random_bytes.randbytes(24 * 2**20)})
    total = sum(map(len, held.values()))
    hub.seconds_per_megabyte = 0.02
    for moment in (*sorted(random_bytes.sample(range(1, total), 9)), total):
        reached, release = threading.Event(), threading.Event()

        def hold(reached: threading.Event = reached, release: threading.Event = release) -> None:
            reached.set()
            release.wait(30)

        # A moment that has already passed is replaced by one a little later.
        hub.at = {max(moment, hub.sent + 1): hold}
        process = start(hub, models)
        while not reached.wait(0.05) and process.poll() is None:
            pass
        assert process.poll() is None or process.returncode == 0, process.communicate()
        process.kill()
        process.communicate()
        hub.at = {}
        release.set()
        if (models / NAME).exists():
            assert files_in(models / NAME) == held
        else:
            assert list_models(models) == ()
    finished = start(hub, models)
    output, _ = finished.communicate(timeout=60)
    assert finished.returncode == 0
    assert files_in(models) == {f"{NAME}/{name}": content for name, content in held.items()}
    assert "already here" in output
    assert len({start for start in hub.starts("model.safetensors") if start}) >= 5
    assert hub.sent < 2 * total


def start(hub: Hub, models: Path) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return subprocess.Popen(
        [sys.executable, "-c", KILLED, NAME, str(models)],
        env=environment | {"HF_ENDPOINT": hub.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
