"""The table of settings: name, default, limits, unit and help. The flags of `antiphon serve` are derived from it.

Values come from flags, then from ANTIPHON_ environment variables, then from the defaults.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from antiphon.environment import OUR_KEY_VARIABLE, PREFIX, is_from_kubernetes, with_ovms_variables
from antiphon.errors import ConfigError
from antiphon.types.options import AudioContext, GraphTask, Precision, Vad, WeightFormat
from antiphon.validation_messages import requirement

DEFAULT_CACHE = Path("/opt/cache")  # where OVMS's images put compiled models

LogLevel = Literal["TRACE", "DEBUG", "INFO", "WARNING", "ERROR"]
Action = Literal["serve", "pull", "configure", "list_models", "add_to_config", "remove_from_config"]

# Settings of one model; refused with a config.json, which has them for each of its models.
_ONE_MODEL_SETTINGS = (
    "task",
    "model_type",
    "target_device",
    "plugin_config",
    "num_streams",
    "enable_word_timestamps",
    "vocoder",
    "speaker_name",
    "speaker_path",
)


def _setting(default: Any, description: str, *, unit: str | None = None, **limits: Any) -> Any:
    return Field(default, description=description, json_schema_extra={"unit": unit} if unit else None, **limits)


class Settings(BaseSettings):
    """All settings. Immutable once read."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, protected_namespaces=()
    )

    # Models.
    model_path: str | None = _setting(
        None, "The model to serve: a folder, a catalogue name or espeak. Default: whisper-base and espeak."
    )
    model_name: str | None = _setting(None, "The name of the model in requests. Default: the name of its folder.")
    config_path: Path | None = _setting(
        None, "A config.json, or its folder, that lists the models to serve. It is reloaded when it changes."
    )
    model_repository_path: Path | None = _setting(
        None, "The folder to pull models into and list them from. Given alone, its config.json is served."
    )
    source_model: str | None = _setting(None, "A model on the Hugging Face hub to pull and serve.")
    offline: bool = _setting(False, "Download nothing; serve what is on this machine.")
    # How a model is run.
    task: GraphTask | None = _setting(None, "The task of the model. Default: taken from the model's config.json.")
    model_type: str | None = _setting(
        None, "The family of a text-to-speech model: speecht5 or kokoro. Default: detected."
    )
    vocoder: str | None = _setting(
        None,
        "The vocoder of a SpeechT5 model: a folder, or a hub name to pull. Default: vocoder/ in the model's folder.",
    )
    speaker_name: str | None = _setting(None, "The name of the voice in --speaker_path. It becomes the default voice.")
    speaker_path: Path | None = _setting(
        None, "A speaker embedding for a SpeechT5 model: a file of 512 float32 values."
    )
    enable_word_timestamps: bool = _setting(
        False,
        "Load a model with word timestamps. Needed for the genai backend; the native engine loads them on the first "
        "request that asks for them.",
    )
    target_device: str | None = _setting(
        None, "The OpenVINO device. Default: the device in the model's graph.pbtxt, else CPU."
    )
    plugin_config: str | None = _setting(None, 'OpenVINO properties as JSON, such as {"INFERENCE_NUM_THREADS": 8}.')
    num_streams: int | None = _setting(
        None,
        "OpenVINO's NUM_STREAMS: replicas of the model that run in parallel, each on a share of the cores.",
        ge=1,
    )
    precision: Precision = _setting(
        "auto", "The precision of computations. auto is the fastest that the device supports."
    )
    weight_format: WeightFormat = _setting("auto", "The format of weights in memory. auto is the stored format.")
    slots: int = _setting(
        16, "The number of audio windows that are decoded in one batch.", unit="windows", ge=1, le=1024
    )
    audio_context: AudioContext = _setting(
        "full",
        "The length of audio that a Whisper model encodes: full is 30 seconds, as in training; auto is close to the length "
        "of the audio, which is faster for short clips, and 30 seconds in a second attempt if the result is uncertain.",
    )
    vad: Vad = _setting(
        "auto",
        "Voice activity detection (VAD): auto uses it to cut files longer than 30 seconds and to skip silence, always "
        "for files of any length, energy uses the loudness instead, none skips nothing.",
    )
    # Actions other than serving.
    pull: bool = _setting(False, "Pull --source_model into --model_repository_path and exit.")
    overwrite_models: bool = _setting(False, "Pull a model again if the repository already has it.")
    configure: bool = _setting(False, "Write a graph.pbtxt for the model in --model_path and exit.")
    list_models: bool = _setting(False, "List the models in --model_repository_path and exit.")
    add_to_config: bool = _setting(False, "Add --model_name to the config.json in --config_path and exit.")
    remove_from_config: bool = _setting(False, "Remove --model_name from the config.json in --config_path and exit.")
    # The server.
    rest_port: int = _setting(8000, "The HTTP port. 0 selects a free port.", ge=0, le=65_535)
    rest_bind_address: str = _setting(
        "0.0.0.0", "The addresses to listen on, separated by commas. 0.0.0.0,:: is all IPv4 and IPv6 addresses."
    )
    rest_workers: int | None = _setting(
        None, "The number of uploads decoded in parallel, from 2 to 10000. Default: two per core, at least four."
    )
    api_key_file: Path | None = _setting(
        None,
        "A file of API keys, one per line, alone or after a name, a colon and a space. Every request but those "
        "for health needs one. It is read again when it changes. Default: the variable ANTIPHON_API_KEY or API_KEY, else a "
        "generated key if other machines can reach the server.",
    )
    no_auth: bool = _setting(False, "Serve without an API key, also to other machines.")
    allowed_hosts: str | None = _setting(
        None,
        "Host names of this server, separated by commas, for requests that address it by a name: *.example.com is all "
        "subdomains, * is any name. IP addresses, localhost, this machine's name, the names in --rest_bind_address, names "
        "without a dot and names that end in .localhost, .internal, .svc or .svc.cluster.local are always allowed.",
    )
    allow_credentials: bool = _setting(False, "Allow credentials in requests from other origins (CORS).")
    allowed_origins: str | None = _setting(
        None, "Other origins whose web pages may use the server, separated by commas (CORS). * is all. Default: none."
    )
    allowed_methods: str = _setting("*", "Allowed HTTP methods, separated by commas (CORS).")
    allowed_headers: str = _setting("*", "Allowed request headers, separated by commas (CORS).")
    file_system_poll_wait_seconds: float = _setting(
        1.0, "How often the file in --config_path is checked for changes. 0 disables it.", unit="seconds", ge=0
    )
    metrics_enable: bool = _setting(False, "Expose Prometheus metrics at GET /metrics on the HTTP port.")
    metrics_list: str | None = _setting(
        None,
        "The metrics to expose, separated by commas. Default: all except two that are also off by default in OVMS.",
    )
    cache_dir: Path | None = _setting(
        None, "A folder for compiled models, which makes the next start faster. Default: /opt/cache if it exists."
    )
    log_level: LogLevel = _setting("INFO", "The lowest severity that is logged.")
    log_path: Path | None = _setting(None, "A file to write the log to as well.")
    # Limits.
    max_upload_bytes: int = _setting(2**30, "The largest request body; beyond it requests get 413.", unit="bytes", ge=1)
    max_uploads: int | None = _setting(
        None,
        "The number of uploads that are read at the same time; further ones wait for up to 5 seconds, then get 429. "
        "Default: four per core and 32 more.",
        ge=1,
    )
    max_spooled_bytes: int | None = _setting(
        None,
        "The size of all uploads in temporary files; beyond it requests get 429. Default: four times --max_upload_bytes.",
        unit="bytes",
        ge=1,
    )
    max_input_characters: int = _setting(20_000, "The longest input of a speech request.", unit="characters", ge=1)
    max_audio_seconds: float = _setting(
        4 * 3600.0, "The longest audio, once decoded; beyond it requests get 413.", unit="seconds", gt=0
    )
    # A window is 30 s * 16,000 samples/s * 4 bytes = 1.92 MB, so 2,000 of them are 16.7 hours of audio in 3.84 GB.
    max_waiting_units: int = _setting(
        2_000,
        "The number of windows that may wait before requests get 429. Each takes up to 1.92 MB, 3.8 GB in all by default.",
        unit="windows",
        ge=1,
    )
    # At 2.6 windows a second (whisper-base on two cores), the last of 256 short requests waits for 100 s; Node's fetch times
    # out after 300 s without the first byte of a response.
    max_queued_requests: int = _setting(
        256, "The number of requests a model may have, waiting or running, before further ones get 429.", ge=1
    )
    # At 75 times real time, the same model and machine, ten hours take 480 s; the OpenAI SDKs time out after 600 s. A second
    # is 16,000 samples of 4 bytes, so ten hours are 2.3 GB, and one more file of four hours is 0.9 GB.
    max_queued_seconds: float = _setting(
        36_000.0,
        "The amount of unfinished audio a model may have before requests get 429. 15 characters of text count as a second.",
        unit="seconds",
        gt=0,
    )
    stall_seconds: float = _setting(
        60.0,
        "How long a step of a model may take before the server counts as unhealthy and refuses requests for that model; after "
        "twice as long it exits with code 70. 0 is no limit.",
        unit="seconds",
        ge=0,
    )
    max_connections: int | None = _setting(
        None,
        "The number of open connections, beyond which only health checks are answered and other requests get 503. "
        "Default: 4096, or fewer if the limit of open files is low.",
        ge=1,
    )
    drain_seconds: float = _setting(
        90.0, "How long requests may go on after SIGTERM or SIGINT, before they get 503.", unit="seconds", ge=0
    )
    drain_grace: float = _setting(
        5.0,
        "How long the server still listens after SIGTERM, and answers new requests with 503. A proxy sends requests until "
        "it has noticed that the server is not ready.",
        unit="seconds",
        ge=0,
    )
    request_timeout: float = _setting(
        0.0,
        "The time limit of a request, upload included, after which it gets 504. 0 is no limit. "
        "The header x-request-timeout can set a shorter one.",
        unit="seconds",
        ge=0,
    )

    @property
    def action(self) -> Action:
        """The action to perform: serve, unless another one is set."""
        others: tuple[Action, ...] = ("pull", "configure", "list_models", "add_to_config", "remove_from_config")
        return next((name for name in others if getattr(self, name)), "serve")

    @property
    def properties(self) -> dict[str, object]:
        """OpenVINO properties from plugin_config and num_streams."""
        properties: dict[str, object] = json.loads(self.plugin_config) if self.plugin_config else {}
        return properties if self.num_streams is None else {**properties, "NUM_STREAMS": str(self.num_streams)}

    @property
    def cache(self) -> Path | None:
        """The folder for compiled models, if any."""
        usual = DEFAULT_CACHE if DEFAULT_CACHE.is_dir() and os.access(DEFAULT_CACHE, os.W_OK) else None
        return self.cache_dir or usual

    @property
    def speaker(self) -> tuple[str, Path] | None:
        """The one more voice: its name and its file."""
        if self.speaker_name is None or self.speaker_path is None:
            return None
        return self.speaker_name, self.speaker_path

    @property
    def metrics(self) -> tuple[str, ...] | None:
        """The names of the metrics to expose; () is the default set, None is no metrics."""
        return listed(self.metrics_list or "") if self.metrics_enable else None

    @field_validator("*", mode="before")
    @classmethod
    def _named(cls, value: object, info: ValidationInfo) -> object:
        """Refuse an empty path: it would be the working folder, and usually comes from an unset shell variable."""
        if value == "" and info.field_name is not None and cls.model_fields[info.field_name].annotation == Path | None:
            raise ConfigError("it is empty: name a path, or leave it out.", setting=info.field_name)
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("target_device")
    @classmethod
    def _empty_is_none(cls, value: str | None) -> str | None:
        return value or None

    @field_validator("plugin_config")
    @classmethod
    def _json(cls, value: str | None) -> str | None:
        if not value:
            return None
        try:
            is_object = isinstance(json.loads(value), dict)
        except ValueError:
            is_object = False
        if not is_object:
            raise ValueError('it must be a JSON object such as {"PERFORMANCE_HINT": "LATENCY"}')
        return value

    @field_validator("rest_workers")
    @classmethod
    def _workers(cls, value: int | None) -> int | None:
        if value is not None and not 2 <= value <= 10_000:
            raise ConfigError(f"count should be from 2 to 10000, not {value}.", setting="rest_workers")
        return value

    @model_validator(mode="after")
    def _check_combinations(self) -> Settings:
        """Refuse settings that exclude or need each other, with OVMS's messages where it has one."""
        if self.action in ("serve", "pull"):
            self._check_model_names()
        if (self.speaker_name is None) != (self.speaker_path is None):
            given, missing = (
                ("speaker_path", "speaker_name") if self.speaker_name is None else ("speaker_name", "speaker_path")
            )
            raise ConfigError(f"needs {missing} too.", setting=given)
        if self.metrics_list and not self.metrics_enable:
            raise ConfigError(
                "metrics_enable setting is missing, required when metrics_list is provided", setting="metrics_list"
            )
        for name, value in (("NUM_STREAMS", self.num_streams), ("CACHE_DIR", self.cache_dir)):
            if value not in (None, 1) and self.plugin_config and name in json.loads(self.plugin_config):
                raise ConfigError(f"Doubled {name} parameter in plugin config.", setting="plugin_config")
        if self.no_auth and (self.api_key_file or os.environ.get(OUR_KEY_VARIABLE)):
            keys = "api_key_file" if self.api_key_file else OUR_KEY_VARIABLE
            raise ConfigError(f"cannot be used with {keys}, which requires a key", setting="no_auth")
        if self.max_spooled_bytes is not None and self.max_spooled_bytes < self.max_upload_bytes:
            raise ConfigError(
                f"it must be at least max_upload_bytes, {self.max_upload_bytes}.", setting="max_spooled_bytes"
            )
        self._check_actions()
        return self

    def _check_model_names(self) -> None:
        if self.config_path and (self.model_path or self.model_name or self.source_model):
            raise ConfigError("Use either config_path or model_path with model_name", setting="config_path")
        if self.config_path and any(getattr(self, name) for name in _ONE_MODEL_SETTINGS):
            raise ConfigError("Model parameters in CLI are exclusive with the config file", setting="config_path")
        if self.model_path and self.source_model:
            raise ConfigError("cannot be used with source_model: both name the model.", setting="model_path")
        if self.model_name and not (self.model_path or self.source_model or self.pull):
            raise ConfigError("needs model_path too.", setting="model_name")
        if self.source_model and not self.model_repository_path:
            raise ConfigError("model_repository_path parameter is required for pull mode", setting="source_model")

    def _check_actions(self) -> None:
        actions = [name for name in ("list_models", "remove_from_config", "add_to_config") if getattr(self, name)]
        pulling = self.pull or self.source_model or (self.task and not self.configure and not self.model_path)
        if actions and pulling:
            raise ConfigError("cannot be used with pull or task", setting=actions[0])
        if len(actions) > 1:
            raise ConfigError(f"cannot be used with {actions[1]}", setting=actions[0])
        if self.configure and (self.pull or actions):
            raise ConfigError(f"cannot be used with {'pull' if self.pull else actions[0]}", setting="configure")
        if self.add_to_config and self.model_repository_path and self.model_path:
            raise ConfigError("cannot be used with model_path", setting="model_repository_path")
        for name in ("model_repository_path", "model_path"):
            if self.remove_from_config and getattr(self, name):
                raise ConfigError("cannot be used with remove_from_config", setting=name)


def listed(text: str) -> tuple[str, ...]:
    """Split a list separated by commas, leaving out empty parts."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def load_settings(flags: Mapping[str, object] | None = None) -> Settings:
    """Read flags (by field name), then the environment. Raises ConfigError with the setting or variable at fault."""
    for name in sorted(os.environ):
        field = name.upper().removeprefix(PREFIX).lower()
        known = field in Settings.model_fields or name == OUR_KEY_VARIABLE or is_from_kubernetes(name)
        if name.upper().startswith(PREFIX) and not known:
            raise ConfigError(f"The environment variable {name} is not a setting.{_hint(field)}")
    try:
        return Settings(**with_ovms_variables(dict(flags or {})))  # type: ignore[arg-type]
    except ValidationError as error:
        wrong = error.errors()[0]
        raise ConfigError(f"{requirement(wrong)}, not {wrong['input']!r}.", setting=str(wrong["loc"][0])) from error


def _hint(field: str) -> str:
    near = get_close_matches(field, Settings.model_fields, n=1)
    return f" Did you mean {PREFIX}{near[0].upper()}?" if near else ""
