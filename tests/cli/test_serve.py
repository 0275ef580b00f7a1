"""The server process with a fake model: starting, 503 while loading, draining and failing."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.serving import free_port
from tests.support.sounds import make_audio

SOURCE = Path(__file__).parents[2] / "src"

# `antiphon serve` in a subprocess, with a fake loader that waits for a line on stdin.
SCRIPT = """
import sys
import antiphon.loader as registry
from antiphon.errors import ConfigError
from antiphon.testing.fake import FakeSession

def wait_in_step():
    print("in a step", flush=True)
    sys.stdin.readline()

def load_sessions(path, options):
    word = sys.stdin.readline().strip()
    if word == "fail":
        raise ConfigError(f"{path}/model.safetensors: not there; fetch it.")
    waiting = {"before_step": wait_in_step} if word == "load and wait" else {}
    return (FakeSession(options.name or path, slots=3, **waiting),)

registry.load_sessions = load_sessions
registry.download = lambda name, options: None
from antiphon.__main__ import main
main()
"""


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the address it listens on."""
    port = free_port()
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            SCRIPT,
            "serve",
            "--rest_port",
            str(port),
            "--rest_bind_address",
            "127.0.0.1",
            *arguments,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


def say(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdin is not None
    process.stdin.write(word + "\n")
    process.stdin.flush()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().rstrip("\n")


def wait_for(url: str, process: subprocess.Popen[str]) -> httpx.Response:
    with httpx.Client(transport=httpx.HTTPTransport(retries=10), timeout=60) as client:
        while process.poll() is None:
            try:
                return client.get(url)
            except httpx.ConnectError:
                continue
    raise AssertionError("the server has ended")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_start_load_serve_and_stop(number: signal.Signals) -> None:
    files = {"file": ("a.wav", make_audio(1.0))}
    with serving("--model_path", "/m/x", "--model_name", "mine") as (process, url):
        assert wait_for(f"{url}/v2/health/live", process).status_code == 200
        assert httpx.get(f"{url}/v2/health/ready").status_code == 503
        assert httpx.post(f"{url}/v1/audio/transcriptions", files=files).status_code == 503
        assert httpx.get(f"{url}/v1/models").status_code == 503
        assert list(httpx.get(f"{url}/v1/config").json()) == ["mine"]

        say(process, "load")
        assert line_of(process) == ("Serving mine from fake: fake backend on CPU, precision f32, weights fp32, 3 slots")
        assert line_of(process) == f"Ready at {url}"
        assert httpx.get(f"{url}/v2/health/ready").status_code == 200
        assert httpx.get(f"{url}/v1/models").json()["data"][0]["id"] == "mine"
        assert httpx.post(f"{url}/v1/audio/transcriptions", files=files).json()["text"] == "audio of 1.00 s"

        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output) == (0, "")
        if number == signal.SIGINT:  # without a grace period
            assert errors == ""
        else:
            assert "stopping in 5 to 90 s, after 0 requests; a second signal ends the process at once\n" in errors
            assert len(errors.splitlines()) == 1


def test_whisper_base_and_espeak_are_served_if_no_model_is_named() -> None:
    with serving() as (process, url):
        assert list(wait_for(f"{url}/v1/config", process).json()) == ["whisper-base", "espeak"]
        for name in ("whisper-base", "espeak"):
            say(process, "load")
            assert line_of(process).startswith(f"Serving {name} from ")
        assert line_of(process) == f"Ready at {url}"


def test_default_model_that_cannot_be_downloaded_is_one_line_and_exit_code_2() -> None:
    command = [sys.executable, "-m", "antiphon", "serve", "--offline", "--no_auth", "--rest_port", "0"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert re.fullmatch(r"antiphon: whisper-base is not in .*; run `antiphon pull whisper-base` .*\n", ended.stderr)
    assert ended.stdout == ""


def test_models_route_is_503_until_every_model_is_loaded(tmp_path: Path) -> None:
    names = ["a", "b", "c"]
    write_config(tmp_path, *names)
    with serving("--config_path", str(tmp_path)) as (process, url):
        assert list(wait_for(f"{url}/v1/config", process).json()) == names
        for name in names:
            assert httpx.get(f"{url}/v1/models").status_code == 503
            say(process, "load")
            assert line_of(process).startswith(f"Serving {name} from ")
        assert line_of(process) == f"Ready at {url}"
        assert [card["id"] for card in httpx.get(f"{url}/v1/models").json()["data"]] == names


def test_model_that_fails_to_load_ends_the_server_with_one_line() -> None:
    with serving("--model_path", "/models/x") as (process, url):
        wait_for(f"{url}/v2/health/live", process)
        say(process, "fail")
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert output == ""
    assert errors == "antiphon: /models/x/model.safetensors: not there; fetch it.\n"


def test_models_that_fail_to_load_are_logged_and_the_others_served(tmp_path: Path) -> None:
    write_config(tmp_path, "a", "b")
    with serving("--config_path", str(tmp_path)) as (process, url):
        wait_for(f"{url}/v2/health/live", process)
        say(process, "fail")
        say(process, "load")
        assert line_of(process).startswith("Serving b from ")
        assert line_of(process) == f"Ready at {url}"
        states = httpx.get(f"{url}/v1/config").json()
        assert {name: model["model_version_status"][0]["state"] for name, model in states.items()} == {
            "a": "LOADING",
            "b": "AVAILABLE",
        }
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0
    assert "ERROR antiphon.model_server: a is not served: " in errors
    assert "model.safetensors: not there; fetch it." in errors
    assert len(errors.splitlines()) == 1


def test_server_ends_if_no_model_loads(tmp_path: Path) -> None:
    write_config(tmp_path, "a", "b")
    with serving("--config_path", str(tmp_path)) as (process, url):
        wait_for(f"{url}/v2/health/live", process)
        say(process, "fail")
        say(process, "fail")
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors.splitlines()[-1].startswith("antiphon: None of the 2 models can be loaded; the first is a: ")


def test_config_without_models_is_served(tmp_path: Path) -> None:
    write_config(tmp_path)
    with serving("--config_path", str(tmp_path)) as (process, url):
        assert line_of(process) == f"Ready at {url}"
        assert httpx.get(f"{url}/v1/config").json() == {}
        files = {"file": ("a.wav", make_audio(1.0))}
        assert httpx.post(f"{url}/v1/audio/transcriptions", files=files).status_code == 503
        named = httpx.post(f"{url}/v1/audio/transcriptions", files=files, data={"model": "x"})
        assert named.json()["error"]["code"] == "model_not_found"


def write_config(folder: Path, *names: str) -> None:
    entries = [{"config": {"name": name, "base_path": name}} for name in names]
    (folder / "config.json").write_text(json.dumps({"model_config_list": entries}))


def test_log_file(tmp_path: Path) -> None:
    with serving("--model_path", "/models/x", "--log_path", str(tmp_path / "log"), "--log_level", "debug") as (
        process,
        url,
    ):
        wait_for(f"{url}/v2/health/live", process)
        say(process, "fail")
        process.communicate(timeout=60)
    assert "DEBUG" in (tmp_path / "log").read_text()
    assert (tmp_path / "log").stat().st_mode & 0o007 == 0  # not readable by other users


def test_running_requests_finish_before_shutdown() -> None:
    with serving("--model_path", "/m/x") as (process, url), ThreadPoolExecutor(1) as pool:
        wait_for(f"{url}/v2/health/live", process)
        say(process, "load and wait")
        assert line_of(process).startswith("Serving")
        assert line_of(process).startswith("Ready")
        files = {"file": ("a.wav", make_audio(1.0))}
        answer = pool.submit(httpx.post, f"{url}/v1/audio/transcriptions", files=files, timeout=60)
        assert line_of(process) == "in a step"
        process.send_signal(signal.SIGTERM)
        say(process, "go on")
        assert answer.result().json()["text"] == "audio of 1.00 s"
        assert process.wait(60) == 0


def test_key_is_generated_at_the_first_start_beyond_loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    path = tmp_path / "antiphon" / "api-key"
    with serving("--rest_bind_address", "0.0.0.0") as (process, url):
        assert wait_for(f"{url}/v1/config", process).status_code == 401
        shown, key = line_of(process).rsplit(": ", 1)
        assert shown == f"Generated an API key, kept in {path} and not shown again"
        assert "--no_auth" in line_of(process)
        assert httpx.get(f"{url}/v1/config", headers={"authorization": f"Bearer {key}"}).status_code == 200
        assert httpx.get(f"{url}/v2/health/live").status_code == 200
    with serving("--rest_bind_address", "0.0.0.0") as (process, url):
        assert wait_for(f"{url}/v1/config", process).status_code == 401
        assert line_of(process) == f"Requests need the API key in {path}."
        assert httpx.get(f"{url}/v1/config", headers={"x-api-key": key}).status_code == 200


@pytest.mark.parametrize(
    "flags", [("--no_auth", "--rest_bind_address", "0.0.0.0"), ("--rest_bind_address", "localhost")]
)
def test_no_key_is_generated_with_no_auth_or_on_loopback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with serving(*flags) as (process, url):
        assert wait_for(f"{url}/v1/config", process).status_code == 200
    assert not list(tmp_path.iterdir())
