"""What a model folder holds: its weight format, the family of its model, and the task."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from antiphon.errors import ConfigError
from antiphon.models.family import Config, Family, families
from antiphon.types.options import GraphTask
from antiphon.weights.config_file import CONFIG_FILE, read_config, read_json
from antiphon.weights.ctranslate2 import MODEL_FILE, read_model_type

Format = Literal["safetensors", "openvino", "ctranslate2"]

# The files that show which format a folder's weights are in. A folder with several is read in the first.
FORMATS: Mapping[Format, tuple[str, ...]] = MappingProxyType(
    {
        "safetensors": ("model.safetensors", "model.safetensors.index.json"),
        "openvino": ("openvino_*model.xml",),
        "ctranslate2": ("model.bin",),
    }
)

# Architectures that OVMS serves and Antiphon does not: `pull` writes a graph.pbtxt for them too.
_OTHER_TASKS: tuple[tuple[re.Pattern[str], GraphTask], ...] = (
    (re.compile(r"SeamlessM4T.*"), "speech2text"),
    (re.compile(r"ParlerTTSForConditionalGeneration|.*ForTextToSpeech"), "text2speech"),
)


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A model folder. Without weights in a format that is read, `format` is None; `family` is None if it is not served.

    `task` is None if the folder does not hold a speech model, or holds only a part of one, such as a vocoder.
    """

    path: Path
    format: Format | None
    family: Family | None
    task: GraphTask | None
    config: Config

    def served_family(self) -> Family:
        """The family. Raises ConfigError for a folder without a model, or with one that is not served."""
        if self.family is not None:
            return self.family
        config = self.config or read_config(self.path)  # explains a missing file
        served = ", ".join(family.name for family in families() if family.detect is not None)
        kind = f"model_type {config.get('model_type')!r}"
        if config.get("architectures"):
            kind += f" with architectures {config['architectures']}"
        raise ConfigError(f"{self.path / CONFIG_FILE}: {kind} is not served; served: {served}.")


def inspect(path: Path) -> ModelFolder:
    """Read a folder's config.json and file names. Raises ConfigError if config.json is not a JSON object."""
    config = read_json(path / CONFIG_FILE) if (path / CONFIG_FILE).is_file() else {}
    form = format_of(path)
    if form == "ctranslate2":
        config = {"model_type": read_model_type(path / MODEL_FILE), **config}
    family = next((family for family in families() if family.detect is not None and family.detect(config)), None)
    return ModelFolder(path, form, family, family.task if family else _other_task(config), config)


def format_of(path: Path) -> Format | None:
    """The format a folder's weights are read in, by the names of its files."""
    return next((form for form in FORMATS if holds(path, form)), None)


def holds(path: Path, form: Format) -> bool:
    """Whether a folder has weights in this format."""
    return any(any(path.glob(pattern)) for pattern in FORMATS[form])


def lacks_vocoder(path: Path, files: Collection[str]) -> bool:
    """Whether a checkpoint, which will consist of `files`, needs a vocoder and comes without one."""
    family = inspect(path).family
    needs_one = family is not None and "vocoder" in family.takes and "model.safetensors" in files
    return needs_one and not any(file.startswith("vocoder/") for file in files)


def _other_task(config: Config) -> GraphTask | None:
    names = config.get("architectures")
    listed = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return next((task for name in listed for pattern, task in _OTHER_TASKS if pattern.fullmatch(name)), None)
