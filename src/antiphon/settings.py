"""The one table of what can be set: name, default, unit and help; flags of `antiphon serve` are derived from it.

Values come from flags, then from ANTIPHON_ environment variables. It must not know models, HTTP or the command line.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from antiphon.errors import ConfigError
from antiphon.types.audio import SAMPLE_RATE
from antiphon.types.options import AudioContext, GraphTask, Precision, Vad, WeightFormat

PREFIX = "ANTIPHON_"
REPOSITORY_VARIABLE = "OVMS_MODEL_REPOSITORY_PATH"  # OVMS's own, which stands behind ours
KEY_VARIABLE = "API_KEY"  # likewise
AUDIO_VARIABLE = "OVMS_AUDIO_MAX_FILE_SIZE_BYTES"  # likewise; of audio when decoded, not of the file
USUAL_CACHE = Path("/opt/cache")  # where OVMS's images put compiled models

# Next to a Service called antiphon (or antiphon-anything), Kubernetes puts these into every pod: ANTIPHON_SERVICE_HOST,
# ANTIPHON_SERVICE_PORT_HTTP, ANTIPHON_PORT=tcp://10.0.0.1:8000, ANTIPHON_PORT_8000_TCP_ADDR. None of them is meant for us.
_KUBERNETES = re.compile(
    r"(\w+_)?(SERVICE_HOST=.*|SERVICE_PORT(_\w+)?=.*|PORT=(tcp|udp|sctp)://.*|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?=.*)"
)

LogLevel = Literal["TRACE", "DEBUG", "INFO", "WARNING", "ERROR"]
Action = Literal["serve", "pull", "configure", "list_models", "add_to_config", "remove_from_config"]

# What describes one model, so that it cannot stand beside a config.json, which does that for each of its own.
_OF_ONE_MODEL = (
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


def _knob(default: Any, description: str, *, unit: str | None = None, **limits: Any) -> Any:
    return Field(default, description=description, json_schema_extra={"unit": unit} if unit else None, **limits)


class Settings(BaseSettings):
    """Every knob. Immutable once read."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, protected_namespaces=()
    )

    # Which models.
    model_path: str | None = _knob(None, "The model to serve: a folder, or espeak; if no model is named, espeak alone.")
    model_name: str | None = _knob(
        None, "The name requests call the model of --model_path by; without it, the folder's own name."
    )
    config_path: Path | None = _knob(
        None, "A config.json (or its folder) that names several models to serve; it is read again when it changes."
    )
    model_repository_path: Path | None = _knob(
        None, "The folder that models are pulled into and listed from; alone, the config.json in it is served."
    )
    source_model: str | None = _knob(None, "A model of the Hugging Face hub, to be pulled and then served.")
    # How one model is run.
    task: GraphTask | None = _knob(None, "What the model is for; without it, what its own config.json says.")
    model_type: str | None = _knob(
        None, "The family of a model that speaks: speecht5 or kokoro; else what it says itself."
    )
    vocoder: str | None = _knob(
        None,
        "The vocoder of a SpeechT5 model: a folder, or a hub name to pull; without it, vocoder/ in the model's own.",
    )
    speaker_name: str | None = _knob(None, "The name of the voice in --speaker_path, which becomes the default.")
    speaker_path: Path | None = _knob(None, "A file of 512 float32 values, a voice for a SpeechT5 model.")
    enable_word_timestamps: bool = _knob(
        False,
        "Makes a model ready to tell when words are said. The native engine does without it too, once somebody asks; "
        "the genai backend does not.",
    )
    target_device: str | None = _knob(
        None, "The OpenVINO device to run on; without it, what the model's graph.pbtxt says, else CPU."
    )
    plugin_config: str | None = _knob(None, 'OpenVINO properties as JSON, such as {"INFERENCE_NUM_THREADS": 8}.')
    num_streams: int | None = _knob(
        None,
        "NUM_STREAMS of the plugin_config: sessions of a model side by side, each with a share of the cores.",
        ge=1,
    )
    precision: Precision = _knob("auto", "The arithmetic: what the device does best, or as named.")
    weight_format: WeightFormat = _knob("auto", "How weights are held in memory: as stored, or as named.")
    slots: int = _knob(16, "How many windows of audio are decoded together.", unit="windows", ge=1, le=1024)
    audio_context: AudioContext = _knob(
        "full",
        "How much a Whisper model hears: full is windows of 30 seconds, as it was trained; auto is about as much as there "
        "is audio, which makes short clips cheaper, and 30 seconds a second time where that leaves it in doubt.",
    )
    vad: Vad = _knob(
        "auto",
        "How a file is searched for speech: auto has voice activity say where one longer than 30 seconds is cut and what "
        "of it is skipped, always does so with any file, energy goes by loudness alone, none skips nothing.",
    )
    # What to do instead of serving.
    pull: bool = _knob(False, "Pull --source_model into --model_repository_path, and end.")
    overwrite_models: bool = _knob(False, "Whether what is in the repository already is pulled again.")
    configure: bool = _knob(False, "Write a graph.pbtxt for the model of --model_path, and end.")
    list_models: bool = _knob(False, "List the models of --model_repository_path, and end.")
    add_to_config: bool = _knob(False, "Add --model_name to the config.json of --config_path, and end.")
    remove_from_config: bool = _knob(False, "Remove --model_name from the config.json of --config_path, and end.")
    # The server.
    rest_port: int = _knob(8000, "The HTTP port; 0 takes any free one.", ge=0, le=65_535)
    rest_bind_address: str = _knob(
        "0.0.0.0", "The addresses to listen on, separated by commas; 0.0.0.0,:: is every one of IPv4 and of IPv6."
    )
    rest_workers: int | None = _knob(
        None, "How many uploads are decoded at once; without it, two a core, at least four."
    )
    api_key_file: Path | None = _knob(
        None, "A file whose first line is the key that every POST must carry; without it, the variable API_KEY is it."
    )
    allow_credentials: bool = _knob(False, "Whether pages of other origins may send credentials (CORS).")
    allowed_origins: str = _knob("*", "The origins whose pages may call, separated by commas (CORS).")
    allowed_methods: str = _knob("*", "The methods they may use (CORS).")
    allowed_headers: str = _knob("*", "The headers they may send (CORS).")
    file_system_poll_wait_seconds: float = _knob(
        1.0, "How often the file of --config_path is looked at; 0 never does.", unit="seconds", ge=0
    )
    metrics_enable: bool = _knob(False, "Whether GET /metrics, on the HTTP port, tells Prometheus how the server does.")
    metrics_list: str | None = _knob(
        None,
        "The metrics it tells, separated by commas; without it, all but two that OVMS does not show unasked either.",
    )
    cache_dir: Path | None = _knob(
        None, "A folder for compiled models, so that the next start is quicker; without it, /opt/cache if there is one."
    )
    log_level: LogLevel = _knob("INFO", "The least severe message that is logged.")
    log_path: Path | None = _knob(None, "A file that is logged to as well.")
    # What a request may take.
    max_upload_bytes: int = _knob(2**30, "The largest request body that is read.", unit="bytes", ge=1)
    max_input_characters: int = _knob(20_000, "The longest text that is spoken.", unit="characters", ge=1)
    max_audio_seconds: float = _knob(4 * 3600.0, "The longest audio that is accepted.", unit="seconds", gt=0)
    # A window is 30 s * 16,000 samples/s * 4 bytes = 1.92 MB, so 2,000 of them are 16.7 hours of audio in 3.84 GB.
    max_waiting_units: int = _knob(
        2_000,
        "How many windows may wait before requests get 429; each can hold 1.92 MB, the default 3.8 GB in all.",
        unit="windows",
        ge=1,
    )
    # At 2.6 windows a second, which is whisper-base on two cores, the last of 256 short requests waits for 100 s; Node's
    # own fetch gives up after 300 s without an answer's first byte.
    max_queued_requests: int = _knob(
        256, "How many requests a model may have, waiting or being worked on, before others get 429.", ge=1
    )
    # At 75 times real time, the same model and machine, ten hours take 480 s; the OpenAI SDKs wait for 600. A second is
    # 16,000 samples of 4 bytes, so they are 2.3 GB, and one more file of four hours 0.9 GB.
    max_queued_seconds: float = _knob(
        36_000.0,
        "How much audio they may have that is not done before others get 429; 15 characters of a text count as a second.",
        unit="seconds",
        gt=0,
    )
    request_timeout: float = _knob(
        0.0,
        "How long a request may take before it is given up with 504, its upload included; 0 is for ever. "
        "The header x-request-timeout can ask for less.",
        unit="seconds",
        ge=0,
    )

    @property
    def action(self) -> Action:
        """What is to be done: serve, unless a flag asks for something that ends by itself."""
        others: tuple[Action, ...] = ("pull", "configure", "list_models", "add_to_config", "remove_from_config")
        return next((name for name in others if getattr(self, name)), "serve")

    @property
    def properties(self) -> dict[str, object]:
        """OpenVINO's properties, from --plugin_config and --num_streams together."""
        properties: dict[str, object] = json.loads(self.plugin_config) if self.plugin_config else {}
        return properties if self.num_streams is None else {**properties, "NUM_STREAMS": str(self.num_streams)}

    @property
    def cache(self) -> Path | None:
        """The folder for compiled models, if any."""
        usual = USUAL_CACHE if USUAL_CACHE.is_dir() and os.access(USUAL_CACHE, os.W_OK) else None
        return self.cache_dir or usual

    @property
    def speaker(self) -> tuple[str, Path] | None:
        """The one more voice: its name and its file."""
        if self.speaker_name is None or self.speaker_path is None:
            return None
        return self.speaker_name, self.speaker_path

    @property
    def metrics(self) -> tuple[str, ...] | None:
        """The metrics that flags ask for, by name; () is the usual ones, None is none at all."""
        return listed(self.metrics_list or "") if self.metrics_enable else None

    def api_key(self) -> str | None:
        """The key of the environment, which counts where no file is named."""
        return os.environ.get(KEY_VARIABLE) or None

    @field_validator("*", mode="before")
    @classmethod
    def _named(cls, value: object, info: ValidationInfo) -> object:
        """An empty path would be the working folder; from a shell it is a variable that is not set."""
        if value == "" and info.field_name is not None and cls.model_fields[info.field_name].annotation == Path | None:
            raise ConfigError(f"--{info.field_name} is empty: name a path, or leave it out.")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("target_device")
    @classmethod
    def _no_name(cls, value: str | None) -> str | None:
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
            raise ConfigError(f"--rest_workers {value}: rest_workers count should be from 2 to 10000")
        return value

    @model_validator(mode="after")
    def _together(self) -> Settings:
        """What goes together and what does not, in OVMS's words where it has them."""
        if self.action in ("serve", "pull"):
            self._one_way_to_name_models()
        if (self.speaker_name is None) != (self.speaker_path is None):
            raise ConfigError("--speaker_name and --speaker_path go together: give both.")
        if self.metrics_list and not self.metrics_enable:
            raise ConfigError("metrics_enable setting is missing, required when metrics_list is provided")
        for name, flag in (("NUM_STREAMS", self.num_streams), ("CACHE_DIR", self.cache_dir)):
            if flag not in (None, 1) and self.plugin_config and name in json.loads(self.plugin_config):
                raise ConfigError(f"Doubled {name} parameter in plugin config.")
        self._one_action()
        return self

    def _one_way_to_name_models(self) -> None:
        if self.config_path and (self.model_path or self.model_name or self.source_model):
            raise ConfigError("Use either config_path or model_path with model_name")
        if self.config_path and any(getattr(self, name) for name in _OF_ONE_MODEL):
            raise ConfigError("Model parameters in CLI are exclusive with the config file")
        if self.model_path and self.source_model:
            raise ConfigError("--model_path and --source_model each name the model: give one of them.")
        if self.model_name and not (self.model_path or self.source_model or self.pull):
            raise ConfigError("--model_name names the model of --model_path: give that too.")
        if self.source_model and not self.model_repository_path:
            raise ConfigError("model_repository_path parameter is required for pull mode")

    def _one_action(self) -> None:
        asked = [name for name in ("list_models", "remove_from_config", "add_to_config") if getattr(self, name)]
        pulling = self.pull or self.source_model or (self.task and not self.configure and not self.model_path)
        if asked and pulling:
            raise ConfigError(f"--{asked[0]} cannot be used with --pull or --task")
        if len(asked) > 1:
            raise ConfigError(f"--{asked[0]} cannot be used with --{asked[1]}")
        if self.configure and (self.pull or asked):
            raise ConfigError(f"--configure cannot be used with --{'pull' if self.pull else asked[0]}")
        if self.add_to_config and self.model_repository_path and self.model_path:
            raise ConfigError("--model_repository_path cannot be used with --model_path")
        for name in ("model_repository_path", "model_path"):
            if self.remove_from_config and getattr(self, name):
                raise ConfigError(f"--{name} cannot be used with --remove_from_config")


def listed(text: str) -> tuple[str, ...]:
    """What is separated by commas, as OVMS takes it."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def load_settings(flags: Mapping[str, object] | None = None) -> Settings:
    """Read flags (by field name), then the environment. ConfigError names what is wrong and what would be right."""
    for name in sorted(os.environ):
        field = name.upper().removeprefix(PREFIX).lower()
        known = field in Settings.model_fields or _is_from_kubernetes(name)
        if name.upper().startswith(PREFIX) and not known:
            raise ConfigError(f"The environment variable {name} is not a setting.{_hint(field)}")
    try:
        return Settings(**_with_ovms_variables(dict(flags or {})))  # type: ignore[arg-type]
    except ValidationError as error:
        wrong = error.errors()[0]
        field = str(wrong["loc"][0])
        source = f"--{field}" if flags and field in flags else f"{PREFIX}{field.upper()}"
        raise ConfigError(f"{source} is {wrong['input']!r}: {right_of(wrong)}.") from error


def right_of(wrong: Mapping[str, Any]) -> str:
    """What would be right, out of what pydantic says is wrong (one of its `errors()`): "it must be a valid integer"."""
    said = str(wrong["msg"]).partition(", unable to parse")[0].removeprefix("Value error, ").rstrip(".")
    _, separator, choices = said.partition(" is not one of ")  # typer's words for a choice
    if separator:
        return f"it must be {'one of ' if ',' in choices else ''}{choices.replace(chr(39), '')}"
    return re.sub("^Input should be ", "it must be ", said)


def _with_ovms_variables(flags: dict[str, object]) -> dict[str, object]:
    """OVMS's own variables are defaults, unless flags or our own variables say otherwise.

    One of them bounds the bytes of a file's audio once it is float32 at 16 kHz: max_audio_seconds in other words. As in
    OVMS, what is no number above 0 says nothing.
    """
    ours = {name.upper() for name in os.environ}

    def said(*names: str) -> bool:
        return any(name in flags or f"{PREFIX}{name.upper()}" in ours for name in names)

    defaults: dict[str, object] = {}
    repository = os.environ.get(REPOSITORY_VARIABLE)
    if repository and not said("model_path", "config_path", "model_repository_path", "remove_from_config"):
        defaults["model_repository_path"] = repository
    size = os.environ.get(AUDIO_VARIABLE, "").strip()
    if size.isdecimal() and int(size) and not said("max_audio_seconds"):
        defaults["max_audio_seconds"] = int(size) / (4 * SAMPLE_RATE)
    return flags | defaults


def _is_from_kubernetes(name: str) -> bool:
    return _KUBERNETES.fullmatch(f"{name.removeprefix(PREFIX)}={os.environ[name]}") is not None


def _hint(field: str) -> str:
    near = get_close_matches(field, Settings.model_fields, n=1)
    return f" Did you mean {PREFIX}{near[0].upper()}?" if near else ""
