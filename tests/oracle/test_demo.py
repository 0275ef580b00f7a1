"""OVMS's audio demo from its first command to its last, with `ovms` and `export_model.py` replaced and a hub on loopback.

The hub has small checkpoints under the demo's names. Two lines of the demo name what it never made, and are read as they
were meant: the Spanish voice lies where its --model_name put it, and a request names the model that is served.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import httpx
import openai
import pytest

from tests.support.espeak_voice import Voice
from tests.support.exporting import write_speecht5
from tests.support.fake_hub import Hub, serve_hub
from tests.support.serving import free_port
from tests.support.sounds import encode
from tests.support.starters import STARTER_ASR as STARTER

pytestmark = pytest.mark.oracle

ENGLISH_VOICE = "microsoft/speecht5_tts"
SPANISH_VOICE = "Sandiago21/speecht5_finetuned_facebook_voxpopuli_spanish"
WHISPER = "openai/whisper-large-v3-turbo"
WHISPER_IR = "OpenVINO/whisper-base-fp16-ov"
PROMPT = "The quick brown fox jumped over the lazy dog"
STARTS_WITHIN = 240.0  # seconds; the machine may be busy with other things


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the demo is run: an empty folder."""
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    kept = tmp_path_factory.mktemp("hub")
    voice = write_speecht5(kept / "voice")
    with serve_hub() as hub:
        hub.add(WHISPER, STARTER)
        hub.add(ENGLISH_VOICE, voice)
        hub.add(SPANISH_VOICE, voice)
        hub.add("microsoft/speecht5_hifigan", voice / "vocoder")
        made = run(kept, hub, f"export speech2text --source_model {STARTER} --weight-format fp16 --model_name ir")
        assert (kept / "models" / "ir" / "graph.pbtxt").is_file(), made
        hub.add(WHISPER_IR, kept / "models" / "ir")
        yield hub


def environment(hub: Hub) -> dict[str, str]:
    online = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    return online | {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_TELEMETRY": "1"}


def run(place: Path, hub: Hub, command: str) -> str:
    """A command that ends; its output."""
    arguments = [sys.executable, "-m", "antiphon", *shlex.split(command)]
    ended = subprocess.run(arguments, cwd=place, env=environment(hub), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout + ended.stderr


@contextmanager
def serving(place: Path, hub: Hub, flags: str) -> Iterator[str]:
    """`antiphon --rest_port … flags` as long as it is needed; gives its address."""
    port = free_port()
    arguments = [sys.executable, "-m", "antiphon", "--rest_port", str(port), "--rest_bind_address", "127.0.0.1"]
    log = place / f"server-{port}.log"
    with log.open("w") as out:
        server = subprocess.Popen(
            [*arguments, *shlex.split(flags)], cwd=place, env=environment(hub), stdout=out, stderr=out
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, server, log)
        yield url
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0, log.read_text()


def _wait_until_ready(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < until:
        assert server.poll() is None, log.read_text()
        try:
            if httpx.get(f"{url}/v2/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"not ready within {STARTS_WITHIN} s: {log.read_text()}")


def curl(place: Path, arguments: str) -> str:
    ended = subprocess.run(
        ["curl", "-sS", *shlex.split(arguments)], cwd=place, capture_output=True, text=True, check=True
    )
    return ended.stdout


def speak_by_sdk(url: str, model: str, path: Path) -> None:
    """The demo's own script, with only the address and the model's name changed."""
    client = openai.OpenAI(base_url=f"{url}/v3", api_key="not_used")
    with client.audio.speech.with_streaming_response.create(model=model, voice="unused", input=PROMPT) as response:
        response.stream_to_file(path)


def seconds_of(path: Path) -> float:
    with av.open(path) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


def test_speech_generation_after_an_export(place: Path, hub: Hub) -> None:
    (place / "models").mkdir()
    run(
        place,
        hub,
        f"export text2speech --source_model {ENGLISH_VOICE} --weight-format fp16 --model_name {ENGLISH_VOICE} "
        "--config_file_path models/config.json --model_repository_path models --overwrite_models "
        "--vocoder microsoft/speecht5_hifigan",
    )
    with serving(place, hub, f"--model_path models/{ENGLISH_VOICE} --model_name {ENGLISH_VOICE}") as url:
        curl(
            place,
            f'{url}/v3/audio/speech -H "Content-Type: application/json" '
            f'-d "{{\\"model\\": \\"{ENGLISH_VOICE}\\", \\"input\\": \\"{PROMPT}\\"}}" -o speech.wav',
        )
        speak_by_sdk(url, ENGLISH_VOICE, place / "by_sdk.wav")
    assert seconds_of(place / "speech.wav") > 0
    assert (place / "by_sdk.wav").read_bytes()[:4] == b"RIFF"
    assert seconds_of(place / "by_sdk.wav") == pytest.approx(seconds_of(place / "speech.wav"))


def test_speech_generation_pulled_on_start(tmp_path: Path, hub: Hub) -> None:
    flags = (
        f"--source_model {ENGLISH_VOICE} --model_repository_path models --model_name {ENGLISH_VOICE} "
        "--task text2speech --target_device CPU"
    )
    with serving(tmp_path, hub, flags) as url:
        speak_by_sdk(url, ENGLISH_VOICE, tmp_path / "speech.wav")
    assert seconds_of(tmp_path / "speech.wav") > 0


def test_transcription_after_an_export(place: Path, hub: Hub, talk: Path) -> None:
    run(
        place,
        hub,
        f"export speech2text --source_model {WHISPER} --weight-format fp16 --model_name {WHISPER} "
        "--config_file_path models/config.json --model_repository_path models --overwrite_models",
    )
    flags = f"--source_model {WHISPER} --model_repository_path models --model_name {WHISPER} --task speech2text"
    with serving(place, hub, f"{flags} --target_device CPU") as url:
        transcribed = curl(
            place,
            f'{url}/v3/audio/transcriptions -H "Content-Type: multipart/form-data" -F file="@{talk}" -F model="{WHISPER}"',
        )
        client = openai.OpenAI(base_url=f"{url}/v3", api_key="not_used")
        with talk.open("rb") as audio:
            transcript = client.audio.transcriptions.create(model=WHISPER, file=audio)
    assert "call me back" in transcribed
    assert "call me back" in transcript.text


def test_both_models_in_one_config(place: Path, hub: Hub, talk: Path) -> None:
    """What the two exports before this wrote into config.json."""
    with serving(place, hub, "--config_path models/config.json") as url:
        served = [model["id"] for model in httpx.get(f"{url}/v3/models").json()["data"]]
        assert served == [ENGLISH_VOICE, WHISPER]
        with talk.open("rb") as audio:
            answer = httpx.post(
                f"{url}/v3/audio/transcriptions", data={"model": WHISPER}, files={"file": audio}, timeout=60
            )
    assert "call me back" in answer.json()["text"]


def test_translation(place: Path, hub: Hub) -> None:
    run(
        place,
        hub,
        f"export text2speech --source_model {SPANISH_VOICE} --weight-format fp16 --model_name speecht5_tts_spanish "
        "--config_file_path models/config.json --model_repository_path models --overwrite_models "
        "--vocoder microsoft/speecht5_hifigan",
    )
    with serving(place, hub, "--model_path models/speecht5_tts_spanish --model_name speecht5_tts_spanish") as url:
        curl(
            place,
            f'{url}/v3/audio/speech -H "Content-Type: application/json" -d "{{\\"model\\": \\"speecht5_tts_spanish\\", '
            '\\"input\\": \\"Madrid es la capital de España\\"}" -o speech_spanish.wav',
        )
    assert seconds_of(place / "speech_spanish.wav") > 0
    flags = f"--source_model {WHISPER_IR} --model_repository_path models --model_name {WHISPER_IR} --task speech2text"
    with serving(place, hub, f"{flags} --target_device CPU") as url:
        body = curl(
            place,
            f'{url}/v3/audio/translations -H "Content-Type: multipart/form-data" -F file="@speech_spanish.wav" '
            f'-F model="{WHISPER_IR}"',
        )
        client = openai.OpenAI(base_url=f"{url}/v3", api_key="not_used")
        with (place / "speech_spanish.wav").open("rb") as audio, pytest.deprecated_call():
            translation = client.audio.translations.create(model=WHISPER_IR, file=audio)
    assert body.startswith('{"text":')
    assert isinstance(translation.text, str)


def test_unavailable_device_is_one_line(place: Path, hub: Hub) -> None:
    flags = f"--source_model {WHISPER} --model_repository_path models --model_name {WHISPER} --task speech2text"
    arguments = [sys.executable, "-m", "antiphon", "--rest_port", "0", "--rest_bind_address", "127.0.0.1"]
    ended = subprocess.run(
        [*arguments, *shlex.split(flags), "--target_device", "GPU"],
        cwd=place,
        env=environment(hub),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "--target_device: GPU is not available" in ended.stderr
    assert "CPU" in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence that the starter knows, spoken by eSpeak NG: the voice of these small checkpoints says no words."""
    path = tmp_path_factory.mktemp("talk") / "speech.wav"
    samples = Voice().speak("Please call me back tomorrow morning.")
    path.write_bytes(encode(samples[None], 16_000))
    return path
