"""Settings: defaults, flags before environment, and errors that carry the setting."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from antiphon.environment import api_key_variable
from antiphon.errors import ConfigError
from antiphon.settings import Settings, load_settings


def test_defaults() -> None:
    settings = load_settings()
    assert settings.model_path is None
    assert settings.model_name is None
    assert settings.target_device is None
    assert (settings.precision, settings.weight_format, settings.slots) == ("auto", "auto", 16)
    assert (settings.rest_port, settings.rest_bind_address) == (8000, "0.0.0.0")
    assert settings.max_upload_bytes == 2**30
    assert settings.max_audio_seconds == 4 * 60 * 60
    assert settings.max_waiting_units == 2_000


def test_every_setting_has_help() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


def test_flags_come_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_REST_PORT", "9000")
    monkeypatch.setenv("ANTIPHON_SLOTS", "4")
    monkeypatch.setenv("ANTIPHON_CACHE_DIR", "/tmp/cache")
    settings = load_settings({"rest_port": 9001})
    assert (settings.rest_port, settings.slots, settings.cache_dir) == (9001, 4, Path("/tmp/cache"))


def test_empty_variable_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_MODEL_NAME", "")
    monkeypatch.setenv("ANTIPHON_SLOTS", "")
    assert load_settings() == Settings()


def test_unknown_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_REST_PROT", "9000")
    with pytest.raises(ConfigError, match=r"ANTIPHON_REST_PROT is not a setting. Did you mean ANTIPHON_REST_PORT\?"):
        load_settings()


KUBERNETES = {
    "SERVICE_HOST": "10.0.0.1",
    "SERVICE_PORT": "8000",
    "SERVICE_PORT_HTTP": "8000",
    "PORT": "tcp://10.0.0.1:8000",
    "PORT_8000_TCP": "tcp://10.0.0.1:8000",
    "PORT_8000_TCP_PROTO": "tcp",
    "PORT_8000_TCP_PORT": "8000",
    "PORT_8000_TCP_ADDR": "10.0.0.1",
    "PORT_8000_UDP": "udp://10.0.0.1:8000",
    "PORT_8000_UDP_ADDR": "10.0.0.1",
}


@pytest.mark.parametrize("service", ["", "METRICS_"])
def test_kubernetes_service_variables_are_ignored(monkeypatch: pytest.MonkeyPatch, service: str) -> None:
    for name, value in KUBERNETES.items():
        monkeypatch.setenv(f"ANTIPHON_{service}{name}", value)
    assert load_settings() == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "9000"),
        ("HOST", "0.0.0.0"),
        ("SERVICE", "x"),
        ("PORT_8000", "1"),
        ("PORT_X_TCP", "1"),
        ("HTTP_PORT", "1"),
    ],
)
def test_other_unknown_variables_are_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"ANTIPHON_{name}", value)
    with pytest.raises(ConfigError, match=f"ANTIPHON_{name} is not a setting"):
        load_settings()


def test_setting_with_the_name_of_a_service_variable_is_validated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_REST_PORT", "tcp://10.0.0.1:80")
    with pytest.raises(ConfigError, match=r"^rest_port: it must be a valid integer, not 'tcp:"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rest_port", "http"),
        ("rest_port", "70000"),
        ("slots", "0"),
        ("precision", "f16"),
        ("weight_format", "int4"),
        ("log_level", "LOUD"),
        ("max_audio_seconds", "-1"),
        ("max_upload_bytes", "1.5"),
        ("task", "text_generation"),
        ("plugin_config", "{"),
        ("file_system_poll_wait_seconds", "-1"),
    ],
)
def test_invalid_value_names_the_setting(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{name}: it must be .*, not '{value}'\.$") as caught:
        load_settings({name: value})
    assert caught.value.setting == name
    monkeypatch.setenv(f"ANTIPHON_{name.upper()}", value)
    with pytest.raises(ConfigError, match=rf"^{name}: it must be .*, not '{value}'\.$"):
        load_settings()


def test_log_level_in_lower_case() -> None:
    assert load_settings({"log_level": "debug"}).log_level == "DEBUG"


def test_action() -> None:
    assert load_settings().action == "serve"
    assert load_settings({"source_model": "a/b", "model_repository_path": "r"}).action == "serve"
    assert load_settings({"list_models": True}).action == "list_models"
    assert load_settings({"pull": True, "model_name": "a/b", "model_repository_path": "r"}).action == "pull"


def test_openvino_properties_come_from_both_flags() -> None:
    assert load_settings().properties == {}
    settings = load_settings({"plugin_config": '{"PERFORMANCE_HINT": "LATENCY"}', "num_streams": 2})
    assert settings.properties == {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "2"}


def test_boolean_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_OVERWRITE_MODELS", "true")
    assert load_settings().overwrite_models


def test_ovms_variables_are_used_after_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVMS_MODEL_REPOSITORY_PATH", "/theirs")
    assert load_settings().model_repository_path == Path("/theirs")
    assert load_settings({"model_repository_path": "/flag"}).model_repository_path == Path("/flag")
    assert load_settings({"config_path": "/flag"}).model_repository_path is None
    monkeypatch.setenv("ANTIPHON_MODEL_REPOSITORY_PATH", "/ours")
    assert load_settings().model_repository_path == Path("/ours")


def test_api_key_variables_are_no_settings_and_ours_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    assert api_key_variable() is None
    monkeypatch.setenv("API_KEY", "theirs")
    assert api_key_variable() == ("API_KEY", "theirs")
    monkeypatch.setenv("ANTIPHON_API_KEY", "ours")
    assert api_key_variable() == ("ANTIPHON_API_KEY", "ours")
    assert load_settings() == Settings()


def test_no_auth_excludes_keys_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "of another program")
    assert load_settings({"no_auth": True}).no_auth
    with pytest.raises(ConfigError, match=r"^no_auth: cannot be used with api_key_file, which requires a key"):
        load_settings({"no_auth": True, "api_key_file": "keys"})
    monkeypatch.setenv("ANTIPHON_API_KEY", "ours")
    with pytest.raises(ConfigError, match=r"^no_auth: cannot be used with ANTIPHON_API_KEY, which requires a key"):
        load_settings({"no_auth": True})


def test_ovms_audio_limit_becomes_max_audio_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OVMS_AUDIO_MAX_FILE_SIZE_BYTES", "6400000")
    assert load_settings().max_audio_seconds == 100
    assert load_settings({"max_audio_seconds": 7}).max_audio_seconds == 7
    monkeypatch.setenv("ANTIPHON_MAX_AUDIO_SECONDS", "8")
    assert load_settings().max_audio_seconds == 8


@pytest.mark.parametrize("value", ["", "0", "-1", "1e9", "1 GB", "lots"])
def test_invalid_ovms_audio_limit_is_ignored(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("OVMS_AUDIO_MAX_FILE_SIZE_BYTES", value)
    assert load_settings() == Settings()


@pytest.mark.parametrize("name", ["api_key_file", "cache_dir", "config_path", "log_path", "model_repository_path"])
def test_empty_path_is_not_the_working_folder(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: it is empty: name a path, or leave it out"):
        load_settings({name: ""})


def test_cache_dir_defaults_to_the_folder_of_ovms_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("antiphon.settings.DEFAULT_CACHE", tmp_path / "none")
    assert load_settings().cache is None
    monkeypatch.setattr("antiphon.settings.DEFAULT_CACHE", tmp_path)
    assert load_settings().cache == tmp_path
    assert load_settings({"cache_dir": "/mine"}).cache == Path("/mine")


def test_settings_are_immutable() -> None:
    with pytest.raises(ValidationError):
        load_settings().slots = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"model_name": "mine"}, "model_name: needs model_path too."),
        ({"speaker_name": "ann"}, "speaker_name: needs speaker_path too."),
        ({"speaker_path": "ann.bin"}, "speaker_path: needs speaker_name too."),
        (
            {"model_path": "x", "source_model": "a/b", "model_repository_path": "r"},
            "model_path: cannot be used with source_model: both name the model.",
        ),
        (
            {"configure": True, "pull": True, "source_model": "a/b", "model_repository_path": "r"},
            "configure: cannot be used with pull",
        ),
    ],
)
def test_settings_that_need_or_exclude_each_other(flags: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(flags)
    assert str(caught.value) == message
