"""Pulling over an unreliable network: resume after broken connections and kills, digests, tokens, hub errors, offline use."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from antiphon.errors import ConfigError
from antiphon.hub.pull import pull
from antiphon.repository.config_json import list_models
from tests.support.fake_hub import Hub, write_repository
from tests.support.pulling import NAME, WEIGHTS, WHISPER, files_in, keep


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
    request_count = len(hub.requests)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert pull(NAME, models, report=lines.append) == folder
    with pytest.raises(
        ConfigError, match="does not exist, and HF_HUB_OFFLINE forbids using the hub: unset it, or copy"
    ):
        pull("openai/whisper-other", models)
    assert len(hub.requests) == request_count


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
