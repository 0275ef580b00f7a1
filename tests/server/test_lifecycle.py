"""A repository of models behind one server: entries come and go while requests run, and none of those is lost."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from antiphon.repository.config_json import add_entry, remove_entry
from antiphon.repository.graph_pbtxt import GraphFile, render_graph
from tests.support.fake_hub import serve_hub
from tests.support.sounds import make_audio
from tests.support.tiny_speecht5 import write_tiny as write_speaking
from tests.support.tiny_whisper import write_tiny

SOURCE = Path(__file__).parents[2] / "src"
HEARING = ("openai/whisper-tiny", "openai/whisper-other", "someone/whisper")
SPEAKING = "microsoft/speecht5_tts"


@contextmanager
def serving(*arguments: str, log: Path, **environment: str) -> Iterator[httpx.Client]:
    """`antiphon` with flags alone, ready to answer; stopped at the end, which must go well."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "antiphon", "--rest_port", str(port), "--rest_bind_address", "127.0.0.1"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, *arguments],
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONPATH": str(SOURCE), **environment},
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=300) as client:
            wait_until(lambda: is_ready(client, process), log)
            yield client
            process.terminate()
            assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


def is_ready(client: httpx.Client, process: subprocess.Popen[bytes]) -> bool:
    assert process.poll() is None, "the server is gone"
    try:
        return client.get("/v2/health/ready").status_code == 200
    except httpx.ConnectError:
        return False


def wait_until(true: Callable[[], Any], log: Path) -> None:
    until = time.monotonic() + 300
    while not true():
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)


def states(client: httpx.Client) -> dict[str, str]:
    body = client.get("/v1/config").json()
    return {name: model["model_version_status"][0]["state"] for name, model in body.items()}


def error_of(client: httpx.Client, name: str) -> str:
    status = client.get("/v1/config").json()[name]["model_version_status"][0]["status"]
    assert status["error_code"] == "FAILED_PRECONDITION"
    return str(status["error_message"])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders of four models under names with slashes, two of them with a graph.pbtxt."""
    root = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(HEARING):
        write_tiny(root / name, seed=seed)
    write_speaking(root / SPEAKING)
    (root / HEARING[0] / "graph.pbtxt").write_text(render_graph(GraphFile("speech2text")))
    (root / SPEAKING / "graph.pbtxt").write_text(render_graph(GraphFile("text2speech")))
    return root


@pytest.fixture
def config(models: Path, tmp_path: Path) -> Path:
    """A repository of the four."""
    root = tmp_path / "repository"
    shutil.copytree(models, root)
    for name in (*HEARING, SPEAKING):
        add_entry(root / "config.json", name, root / name)
    return root / "config.json"


class Caller(threading.Thread):
    """Asks a model again and again, and counts the answers by status."""

    def __init__(self, client: httpx.Client, model: str) -> None:
        super().__init__(daemon=True)
        self.client = client
        self.model = model
        self.answers: Counter[int] = Counter()
        self.enough = threading.Event()
        self.audio = make_audio(0.3)

    def run(self) -> None:
        while not self.enough.is_set():
            self.answers[self.ask().status_code] += 1

    def ask(self) -> httpx.Response:
        if self.model == SPEAKING:
            return self.client.post("/v3/audio/speech", json={"model": self.model, "input": "Oh."})
        files = {"file": ("a.wav", self.audio)}
        return self.client.post("/v3/audio/transcriptions", data={"model": self.model}, files=files)


def test_four_models_come_and_go_while_requests_run(config: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    quick = ("--file_system_poll_wait_seconds", "0.1", "--precision", "f32", "--slots", "4")
    with serving("--config_path", str(config), *quick, log=log) as client:
        assert states(client) == dict.fromkeys((*HEARING, SPEAKING), "AVAILABLE")
        assert {card["id"] for card in client.get("/v3/models").json()["data"]} == {*HEARING, SPEAKING}
        callers = [Caller(client, model) for model in (*HEARING, SPEAKING) for _ in range(2)]
        for each in callers:
            each.start()
        wait_until(lambda: all(each.answers[200] for each in callers), log)

        remove_entry(config, HEARING[1])
        wait_until(lambda: states(client)[HEARING[1]] == "END", log)
        assert Caller(client, HEARING[1]).ask().status_code == 404
        add_entry(config, "again/whisper", config.parent / HEARING[1])
        add_entry(config, "broken/whisper", config.parent)
        wait_until(lambda: states(client).get("again/whisper") == "AVAILABLE", log)
        wait_until(lambda: "broken/whisper is not served: " in log.read_text(), log)
        assert Caller(client, "again/whisper").ask().status_code == 200
        assert "config.json: model_type None is not served" in error_of(client, "broken/whisper")
        (config.parent / HEARING[2] / "graph.pbtxt").write_text(render_graph(GraphFile("speech2text")))
        wait_until(lambda: log.read_text().count(f"Serving {HEARING[2]} ") == 2, log)

        for each in callers:
            each.enough.set()
        for each in callers:
            each.join()
        for each in callers:
            allowed = {200, 404} if each.model == HEARING[1] else {200}
            assert set(each.answers) <= allowed, (each.model, each.answers)
    said = log.read_text()
    assert said.count("broken/whisper is not served: ") == 1


def test_reloading_on_demand(config: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for name in (*HEARING[1:], SPEAKING):
        remove_entry(config, name)
    still = ("--file_system_poll_wait_seconds", "0")
    with serving(*still, log=log, OVMS_MODEL_REPOSITORY_PATH=str(config.parent)) as client:
        assert states(client) == {HEARING[0]: "AVAILABLE"}
        before = client.get("/v1/config").json()
        assert before[HEARING[0]] == {
            "model_version_status": [
                {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": "OK"}}
            ]
        }
        unchanged = client.post("/v1/config/reload")
        assert (unchanged.status_code, unchanged.json()) == (200, before)

        add_entry(config, HEARING[1], config.parent / HEARING[1])
        assert states(client) == {HEARING[0]: "AVAILABLE"}
        changed = client.post("/v1/config/reload")
        assert changed.status_code == 201
        assert changed.json() == client.get("/v1/config").json()
        assert Caller(client, HEARING[1]).ask().status_code == 200

        text = config.read_text()
        config.write_text(text[:-5])
        assert reload_error(client).startswith("Reloading config file failed. Check server logs for more info. ")
        config.unlink()
        assert "Config file not found or cannot open" in reload_error(client)
        broken = {"config": {"name": "broken", "base_path": "nowhere"}}
        kept = json.loads(text)["model_config_list"]
        config.write_text(json.dumps({"model_config_list": [*kept, broken]}))
        assert "nowhere: no such folder" in reload_error(client)
        assert states(client) == {HEARING[0]: "AVAILABLE", HEARING[1]: "AVAILABLE", "broken": "LOADING"}
        assert Caller(client, HEARING[0]).ask().status_code == 200
        assert Caller(client, "broken").ask().status_code == 404


def reload_error(client: httpx.Client) -> str:
    response = client.post("/v1/config/reload")
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "reload_failed"
    return str(response.json()["error"]["message"])


def test_bare_flags_serve_one_model(models: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    arguments = ("--model_path", str(models / HEARING[0]), "--model_name", "mine", "--grpc_workers", "4", "--port=9000")
    with serving(*arguments, log=log) as client:
        assert states(client) == {"mine": "AVAILABLE"}
        assert Caller(client, "mine").ask().status_code == 200
        assert client.post("/v1/config/reload").status_code == 200
    said = log.read_text()
    assert "antiphon: --grpc_workers changes nothing: there is no gRPC here.\n" in said
    assert "antiphon: --port changes nothing: there is no gRPC here, and the HTTP port is --rest_port.\n" in said
    assert f"Serving mine from {models / HEARING[0]}: native backend on CPU" in said


def test_pulling_and_serving_at_once(models: Path, tmp_path: Path) -> None:
    """The seed's way to start: one command on an empty folder, and the same one again."""
    log = tmp_path / "log"
    repository = tmp_path / "pulled"
    arguments = ("--source_model", HEARING[0], "--model_repository_path", str(repository), "--task", "speech2text")
    with serve_hub(models) as hub:
        environment = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"}
        with serving(*arguments, log=log, **environment) as client:
            assert Caller(client, HEARING[0]).ask().status_code == 200
        said = log.read_text()
        assert f"Model: {HEARING[0]} downloaded to: {repository / HEARING[0]}\n" in said
        assert f"Graph: graph.pbtxt created in: {repository / HEARING[0]}\n" in said
        asked = len(hub.asked)
        with serving(*arguments, "--model_name", "mine", log=log, **environment) as client:
            assert Caller(client, "mine").ask().status_code == 200
        assert len(hub.asked) == asked
