"""The one table of what can be set: name, default, unit and help; flags of `antiphon serve` are derived from it.

Values come from flags, then from ANTIPHON_ environment variables. It must not know models, HTTP or the command line.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from antiphon.errors import ConfigError
from antiphon.types import Precision, WeightFormat

PREFIX = "ANTIPHON_"

# Next to a Service called antiphon (or antiphon-anything), Kubernetes puts these into every pod: ANTIPHON_SERVICE_HOST,
# ANTIPHON_SERVICE_PORT_HTTP, ANTIPHON_PORT=tcp://10.0.0.1:8000, ANTIPHON_PORT_8000_TCP_ADDR. None of them is meant for us.
_KUBERNETES = re.compile(
    r"(\w+_)?(SERVICE_HOST=.*|SERVICE_PORT(_\w+)?=.*|PORT=(tcp|udp|sctp)://.*|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?=.*)"
)

LogLevel = Literal["TRACE", "DEBUG", "INFO", "WARNING", "ERROR"]


def _knob(default: Any, description: str, *, unit: str | None = None, **limits: Any) -> Any:
    return Field(default, description=description, json_schema_extra={"unit": unit} if unit else None, **limits)


class Settings(BaseSettings):
    """Every knob. Immutable once read."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, protected_namespaces=()
    )

    model_path: str | None = _knob(
        None, "The model to serve: a folder, or the name of a built-in one; without it, all of the built-in models."
    )
    model_name: str | None = _knob(
        None, "The name requests call the model of --model_path by; without it, the folder's own name."
    )
    vocoder: Path | None = _knob(
        None, "The vocoder's folder of a SpeechT5 model; without it, vocoder/ in the model's own."
    )
    speaker_name: str | None = _knob(None, "The name of the voice in --speaker_path, which becomes the default.")
    speaker_path: Path | None = _knob(None, "A file of 512 float32 values, a voice for a SpeechT5 model.")
    target_device: str = _knob("CPU", "The OpenVINO device to run on.")
    precision: Precision = _knob("auto", "The arithmetic: what the device does best, or as named.")
    weight_format: WeightFormat = _knob("auto", "How weights are held in memory: as stored, or as named.")
    slots: int = _knob(16, "How many windows of audio are decoded together.", unit="windows", ge=1, le=1024)
    rest_port: int = _knob(8000, "The HTTP port; 0 takes any free one.", ge=0, le=65_535)
    rest_bind_address: str = _knob(
        "0.0.0.0", "The addresses to listen on, separated by commas; 0.0.0.0,:: is every one of IPv4 and of IPv6."
    )
    api_key_file: Path | None = _knob(None, "A file whose first line is the key that every POST must carry.")
    cache_dir: Path | None = _knob(None, "A folder for compiled models, so that the next start is quicker.")
    log_level: LogLevel = _knob("INFO", "The least severe message that is logged.")
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

    @model_validator(mode="after")
    def _named_model(self) -> Settings:
        if self.model_name and not self.model_path:
            raise ConfigError("--model_name names the model of --model_path: give that too.")
        if (self.speaker_name is None) != (self.speaker_path is None):
            raise ConfigError("--speaker_name and --speaker_path go together: give both.")
        return self

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value


def load_settings(flags: Mapping[str, object] | None = None) -> Settings:
    """Read flags (by field name), then the environment. ConfigError names what is wrong and what would be right."""
    for name in sorted(os.environ):
        field = name.upper().removeprefix(PREFIX).lower()
        known = field in Settings.model_fields or _is_from_kubernetes(name)
        if name.upper().startswith(PREFIX) and not known:
            raise ConfigError(f"The environment variable {name} is not a setting.{_hint(field)}")
    try:
        return Settings(**dict(flags or {}))  # type: ignore[arg-type]
    except ValidationError as error:
        wrong = error.errors()[0]
        field = str(wrong["loc"][0])
        source = f"--{field}" if flags and field in flags else f"{PREFIX}{field.upper()}"
        raise ConfigError(f"{source} is {wrong['input']!r}: {wrong['msg']}.") from error


def _is_from_kubernetes(name: str) -> bool:
    return _KUBERNETES.fullmatch(f"{name.removeprefix(PREFIX)}={os.environ[name]}") is not None


def _hint(field: str) -> str:
    near = get_close_matches(field, Settings.model_fields, n=1)
    return f" Did you mean {PREFIX}{near[0].upper()}?" if near else ""
