"""Every row of docs/migrating.md, which lists the flags and fields of OVMS and what they do here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from antiphon.cli.ovms_flags import IGNORED
from antiphon.model_spec import enabled_metrics
from antiphon.server.app import create_app, create_telemetry
from antiphon.settings import Settings
from antiphon.testing.fake import FakeSession, FakeVoice
from tests.support.service import new_service
from tests.support.sounds import make_audio

PAGE = Path(__file__).parent.parent / "docs" / "migrating.md"
# Every flag that OVMS 2026.4 has for serving audio.
_FLAGS = """
rest_port rest_bind_address rest_workers log_level log_path file_system_poll_wait_seconds cache_dir api_key_file
allow_credentials allowed_origins allowed_methods allowed_headers metrics_enable metrics_list port grpc_bind_address
grpc_workers grpc_max_threads grpc_memory_quota grpc_channel_arguments custom_node_resources_cleaner_interval_seconds
allowed_local_media_path allowed_media_domains cpu_extension verbose_response model_name model_path target_device
plugin_config config_path batch_size shape layout mean scale color_format model_version_policy nireq list_models
add_to_config remove_from_config model_repository_path pull source_model task overwrite_models weight_format
extra_quantization_params gguf_filename source_loras configure num_streams model_type vocoder enable_word_timestamps
"""
FLAGS = _FLAGS.split()
WAV = make_audio(1.0)

# The value sent for each field.
SPEECH: dict[str, Any] = {
    "model": "tts-1",
    "input": "Good morning.",
    "voice": "alloy",
    "language": "en",
    "speed": 1.5,
    "response_format": "mp3",
    "stream_format": "sse",
    "instructions": "softly",
    "seed": 7,
}
TRANSCRIPTION: dict[str, str] = {
    "model": "whisper-1",
    "language": "English",
    "temperature": "0.2",
    "prompt": "Names: Ada.",
    "response_format": "srt",
    "chunking_strategy": "auto",
}


def tables() -> dict[str, dict[str, str]]:
    """The tables of the page by heading: the first column of each row, and its status."""
    found: dict[str, dict[str, str]] = {}
    heading = ""
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("#"):
            heading = line.lstrip("# ").strip("`")
        if match := re.match(r"\| `(.+?)` \| (\w[\w ]*) \|", line):
            found.setdefault(heading, {})[match[1]] = match[2]
    return found


def flags() -> dict[str, str]:
    rows = {name: status for table in tables().values() for name, status in table.items() if name.startswith("--")}
    return {name[2:].replace("-", "_"): status for name, status in rows.items()}


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    from fastapi.testclient import TestClient

    settings = Settings(metrics_enable=True)
    app = create_app(new_service(FakeSession("ears"), FakeVoice("mouth")), settings, create_telemetry(settings))
    app.state.server.open()
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_migration_page_lists_exactly_the_flags_of_ovms() -> None:
    assert sorted(flags()) == sorted(FLAGS)


@pytest.mark.parametrize("flag", FLAGS)
def test_flag_status_is_that_of_the_migration_page(flag: str) -> None:
    if flags()[flag] == "no effect":
        assert flag in IGNORED
    else:
        assert flags()[flag] in ("same", "better")
        assert flag in Settings.model_fields


def speak(client: Any, **fields: Any) -> Any:
    return client.post("/v3/audio/speech", json={"input": "Hello.", **fields})


def transcribe(client: Any, task: str = "transcriptions", **fields: str) -> Any:
    return client.post(f"/v3/audio/{task}", files={"file": ("a.wav", WAV)}, data=fields)


@pytest.mark.parametrize("field", SPEECH)
def test_speech_field_status_is_that_of_the_migration_page(client: Any, field: str) -> None:
    status = tables()["POST /v3/audio/speech"][field]
    assert status in ("same", "better", "ignored")
    answer = speak(client, **{field: SPEECH[field]})
    assert answer.status_code == 200, answer.text
    if status == "ignored":
        assert answer.content == speak(client).content


def test_every_speech_field_was_tried() -> None:
    assert set(tables()["POST /v3/audio/speech"]) == set(SPEECH)


def test_speech_fields_have_their_effect(client: Any) -> None:
    plain = speak(client).content
    assert speak(client, input="Good morning.").content != plain
    assert speak(client, voice="echo").content != plain  # the second of the fake's voices
    assert len(speak(client, speed=1.5).content) < len(plain)
    assert speak(client, response_format="mp3").headers["content-type"] == "audio/mpeg"
    assert speak(client, stream_format="sse").headers["content-type"].startswith("text/event-stream")
    assert speak(client, language="xx").json()["error"]["param"] == "language"
    assert speak(client, model="nonsense").status_code == 404


@pytest.mark.parametrize("task", ["transcriptions", "translations"])
def test_transcription_field_status_is_that_of_the_migration_page(client: Any, task: str) -> None:
    rows = tables()[f"POST /v3/audio/{task}"]
    for row, status in rows.items():
        name, _, value = row.partition("=")
        fields = {} if name == "file" else {name: value or TRANSCRIPTION[name]}
        answer = transcribe(client, task, **fields)
        assert answer.status_code == (400 if status == "refused" else 200), f"{row}: {answer.text}"
        if status == "ignored":
            assert answer.content == transcribe(client, task).content
    assert set(TRANSCRIPTION) | {"file"} >= {row.partition("=")[0] for row in rows if "=" not in row}


@pytest.mark.parametrize("task", ["transcriptions", "translations"])
def test_transcription_and_translation_fields_have_their_effect(client: Any, task: str) -> None:
    [segment] = transcribe(client, task, temperature="0.2", response_format="verbose_json").json()["segments"]
    assert segment["temperature"] == 0.2
    assert transcribe(client, task, response_format="srt").text.startswith("1\n00:00:00,000 --> 00:00:01,000\n")
    assert transcribe(client, task, language="xx").json()["error"]["param"] == "language"
    assert transcribe(client, task, model="nonsense").status_code == 404


def test_transcription_fields_have_their_effect(client: Any) -> None:
    assert set(transcribe(client).json()) == {"text", "usage"}
    assert "segments" in transcribe(client, **{"timestamp_granularities[]": "segment"}).json()
    assert "words" in transcribe(client, **{"timestamp_granularities[]": "word"}).json()
    verbose = transcribe(client, language="Spanish", response_format="verbose_json").json()
    assert verbose["language"] == "spanish"
    assert transcribe(client).json()["text"] == "audio of 1.00 s"
    for strategy in ("auto", '{"type": "server_vad"}'):  # the audio is a tone: VAD finds no speech
        assert transcribe(client, chunking_strategy=strategy).json()["text"] == ""


def test_request_status_is_that_of_the_migration_page(client: Any) -> None:
    for row, status in tables()["The rest"].items():
        method, path = row.split()
        status = client.request(method, path).status_code
        assert (status >= 400) == (status == "refused"), f"{row}: {status}"


def test_config_key_status_is_that_of_the_migration_page(tmp_path: Path) -> None:
    assert tables()["config.json"] == {"monitoring": "better"}
    block = '{"enable": true, "metrics_list": ["ovms_streams"]}'
    (tmp_path / "config.json").write_text(f'{{"model_config_list": [], "monitoring": {{"metrics": {block}}}}}')
    flags = Settings(metrics_enable=True, metrics_list="ovms_streams")
    assert enabled_metrics(Settings(config_path=tmp_path)) == enabled_metrics(flags) == ("ovms_streams",)
