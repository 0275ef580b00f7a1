"""The server's lifecycle: models that come and go while requests run, none of which is lost."""

from __future__ import annotations

import json
import shutil
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from antiphon.repository.config_json import add_entry, remove_entry
from antiphon.repository.graph_pbtxt import GraphFile, render_graph
from antiphon.server.loading import summary
from antiphon.server.routes.config import NOT_WORKING
from antiphon.testing.fake import FAKE_INFO
from tests.support.fake_hub import serve_hub
from tests.support.serving import serving, wait_until
from tests.support.sounds import make_audio
from tests.support.tiny_speecht5 import write_tiny as write_tiny_speecht5
from tests.support.tiny_whisper import write_tiny

RECOGNISERS = ("openai/whisper-tiny", "openai/whisper-other", "someone/whisper")
VOICE = "microsoft/speecht5_tts"


def states(client: httpx.Client) -> dict[str, str]:
    body = client.get("/v1/config").json()
    return {name: model["model_version_status"][0]["state"] for name, model in body.items()}


def check_failed(client: httpx.Client, name: str) -> None:
    status = client.get("/v1/config").json()[name]["model_version_status"][0]["status"]
    assert status["error_code"] == "FAILED_PRECONDITION"
    assert status["error_message"] == NOT_WORKING


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four model folders with slashes in their names, two of them with a graph.pbtxt."""
    root = tmp_path_factory.mktemp("models")
    for seed, name in enumerate(RECOGNISERS):
        write_tiny(root / name, seed=seed)
    write_tiny_speecht5(root / VOICE)
    (root / RECOGNISERS[0] / "graph.pbtxt").write_text(render_graph(GraphFile("speech2text")))
    (root / VOICE / "graph.pbtxt").write_text(render_graph(GraphFile("text2speech")))
    return root


@pytest.fixture
def config(models: Path, tmp_path: Path) -> Path:
    """The config.json of a repository of the four."""
    root = tmp_path / "repository"
    shutil.copytree(models, root)
    for name in (*RECOGNISERS, VOICE):
        add_entry(root / "config.json", name, root / name)
    return root / "config.json"


class Caller(threading.Thread):
    """Sends requests to a model in a loop, and counts the answers by status."""

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
        if self.model == VOICE:
            return self.client.post("/v3/audio/speech", json={"model": self.model, "input": "Oh."})
        files = {"file": ("a.wav", self.audio)}
        return self.client.post("/v3/audio/transcriptions", data={"model": self.model}, files=files)


def test_models_are_added_and_removed_while_requests_run_and_404_after_removal(config: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    quick = ("--file_system_poll_wait_seconds", "0.1", "--precision", "f32", "--slots", "4")
    with serving("--config_path", str(config), *quick, log=log) as server:
        client = server.client
        assert states(client) == dict.fromkeys((*RECOGNISERS, VOICE), "AVAILABLE")
        assert {card["id"] for card in client.get("/v3/models").json()["data"]} == {*RECOGNISERS, VOICE}
        callers = [Caller(client, model) for model in (*RECOGNISERS, VOICE) for _ in range(2)]
        for caller in callers:
            caller.start()
        wait_until(lambda: all(caller.answers[200] for caller in callers), log)

        remove_entry(config, RECOGNISERS[1])
        wait_until(lambda: states(client)[RECOGNISERS[1]] == "END", log)
        assert Caller(client, RECOGNISERS[1]).ask().status_code == 404
        add_entry(config, "again/whisper", config.parent / RECOGNISERS[1])
        add_entry(config, "broken/whisper", config.parent)
        wait_until(lambda: states(client).get("again/whisper") == "AVAILABLE", log)
        wait_until(lambda: "broken/whisper is not served: " in log.read_text(), log)
        assert Caller(client, "again/whisper").ask().status_code == 200
        assert "config.json: model_type None is not served" in log.read_text()
        check_failed(client, "broken/whisper")
        (config.parent / RECOGNISERS[2] / "graph.pbtxt").write_text(render_graph(GraphFile("speech2text")))
        wait_until(lambda: log.read_text().count(f"Serving {RECOGNISERS[2]} ") == 2, log)

        for caller in callers:
            caller.enough.set()
        for caller in callers:
            caller.join()
        for caller in callers:
            allowed = {200, 404} if caller.model == RECOGNISERS[1] else {200}
            assert set(caller.answers) <= allowed, (caller.model, caller.answers)
    output = log.read_text()
    assert output.count("broken/whisper is not served: ") == 1


def test_reload_endpoint_reads_the_config_again(config: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for name in (*RECOGNISERS[1:], VOICE):
        remove_entry(config, name)
    still = ("--file_system_poll_wait_seconds", "0")
    with serving(*still, log=log, OVMS_MODEL_REPOSITORY_PATH=str(config.parent)) as server:
        client = server.client
        assert states(client) == {RECOGNISERS[0]: "AVAILABLE"}
        before = client.get("/v1/config").json()
        assert before[RECOGNISERS[0]] == {
            "model_version_status": [
                {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": "OK"}}
            ]
        }
        unchanged = client.post("/v1/config/reload")
        assert (unchanged.status_code, unchanged.json()) == (200, before)

        add_entry(config, RECOGNISERS[1], config.parent / RECOGNISERS[1])
        assert states(client) == {RECOGNISERS[0]: "AVAILABLE"}
        changed = client.post("/v1/config/reload")
        assert changed.status_code == 201
        assert changed.json() == client.get("/v1/config").json()
        assert Caller(client, RECOGNISERS[1]).ask().status_code == 200

        text = config.read_text()
        config.write_text(text[:-5])
        assert reload_error(client).startswith("Reloading config file failed. Check server logs for more info. ")
        config.unlink()
        assert reload_error(client).endswith(" The configuration cannot be read.")
        assert "Config file not found or cannot open" in log.read_text()
        broken = {"config": {"name": "broken", "base_path": "nowhere"}}
        kept = json.loads(text)["model_config_list"]
        config.write_text(json.dumps({"model_config_list": [*kept, broken]}))
        assert reload_error(client).endswith(" Not loaded: broken.")
        assert "nowhere: no such folder" in log.read_text()
        assert states(client) == {RECOGNISERS[0]: "AVAILABLE", RECOGNISERS[1]: "AVAILABLE", "broken": "LOADING"}
        assert Caller(client, RECOGNISERS[0]).ask().status_code == 200
        assert Caller(client, "broken").ask().status_code == 404


def reload_error(client: httpx.Client) -> str:
    response = client.post("/v1/config/reload")
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "reload_failed"
    return str(response.json()["error"]["message"])


def test_flags_without_a_command_serve_one_model(models: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    arguments = (
        "--model_path",
        str(models / RECOGNISERS[0]),
        "--model_name",
        "mine",
        "--grpc_workers",
        "4",
        "--port=9000",
    )
    with serving(*arguments, log=log) as server:
        client = server.client
        assert states(client) == {"mine": "AVAILABLE"}
        assert Caller(client, "mine").ask().status_code == 200
        assert client.post("/v1/config/reload").status_code == 200
    output = log.read_text()
    assert "antiphon: --grpc_workers changes nothing: there is no gRPC here.\n" in output
    assert "antiphon: --port changes nothing: there is no gRPC here, and the HTTP port is --rest_port.\n" in output
    assert f"Serving mine from {models / RECOGNISERS[0]}: native backend on CPU" in output


def test_one_command_pulls_and_serves(models: Path, tmp_path: Path) -> None:
    """One command on an empty folder, and the same command again."""
    log = tmp_path / "log"
    repository = tmp_path / "pulled"
    arguments = ("--source_model", RECOGNISERS[0], "--model_repository_path", str(repository), "--task", "speech2text")
    with serve_hub(models) as hub:
        environment = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0"}
        with serving(*arguments, log=log, **environment) as server:
            client = server.client
            assert Caller(client, RECOGNISERS[0]).ask().status_code == 200
        output = log.read_text()
        assert f"Model: {RECOGNISERS[0]} downloaded to: {repository / RECOGNISERS[0]}\n" in output
        assert f"Graph: graph.pbtxt created in: {repository / RECOGNISERS[0]}\n" in output
        downloads = len(hub.requests)
        with serving(*arguments, "--model_name", "mine", log=log, **environment) as server:
            client = server.client
            assert Caller(client, "mine").ask().status_code == 200
        assert len(hub.requests) == downloads


def test_summary_of_a_loaded_model() -> None:
    assert summary(FAKE_INFO, 8) == "Serving fake from fake: fake backend on CPU, precision f32, weights fp32, 8 slots"
    why = replace(FAKE_INFO, backend="genai", device="GPU", reason="the native engine runs on CPU, not on GPU")
    assert "genai backend on GPU (the native engine runs on CPU, not on GPU), precision" in summary(why, 1)
