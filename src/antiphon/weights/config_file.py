"""The JSON files of a model folder.

It must not know what any of them says, or more of a model than that it has a config.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from antiphon.errors import ConfigError


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises ConfigError naming the file."""
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
    """The config.json that every model has. ConfigError says what a folder without one lacks."""
    path = folder / "config.json"
    if not path.is_file():
        raise ConfigError(
            f"{folder}: holds no model; looked for config.json, beside which a checkpoint has model.safetensors, and an "
            "OpenVINO model openvino_*.xml."
        )
    return read_json(path)
