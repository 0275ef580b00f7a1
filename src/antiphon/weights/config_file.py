"""Reading the JSON files of a model folder, above all its config.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from antiphon.errors import ConfigError

CONFIG_FILE = "config.json"


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises ConfigError naming the file if it cannot be read or is not a JSON object."""
    try:
        value = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not valid JSON ({error}).") from error
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: not a JSON object.")
    return value


def read_config(folder: Path) -> dict[str, Any]:
    """Read the config.json that every model folder has. Raises ConfigError if it is missing or not a JSON object."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise ConfigError(
            f"{folder}: holds no model; looked for {CONFIG_FILE}, and next to it model.safetensors, openvino_*.xml or "
            "model.bin."
        )
    return read_json(path)
