"""Which family serves a model folder, and how a name becomes a folder.

Importing it imports no family: each is loaded when a folder asks for it.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from antiphon.engine.device import open_device
from antiphon.errors import ConfigError
from antiphon.models.base import AnySession, Report
from antiphon.types import Precision, WeightFormat
from antiphon.weights.folder import read_json

STARTERS = {"starter-asr": Path(__file__).parent.parent / "starter" / "asr"}

# config.json's model_type -> the module whose `load` makes a session of the folder.
_FAMILIES = {"whisper": "antiphon.models.whisper.load"}


def find_folder(name_or_folder: str) -> Path:
    """The folder of a built-in starter or of a path. Raises ConfigError naming what exists."""
    folder = STARTERS.get(name_or_folder, Path(name_or_folder).expanduser())
    if not folder.is_dir():
        built_in = ", ".join(STARTERS)
        raise ConfigError(f"{name_or_folder}: no such folder, and not a built-in model ({built_in}).")
    return folder


def load_session(
    name_or_folder: str,
    *,
    precision: Precision = "auto",
    weight_format: WeightFormat = "auto",
    device: str = "CPU",
    slots: int = 16,
    name: str | None = None,
    report: Report = lambda line: None,
    cache_dir: Path | None = None,
) -> AnySession:
    """Load the model of a folder or a built-in name; `report` gets a line about each thing chosen.

    Raises ConfigError naming the folder, file or flag and the fix.
    """
    folder = find_folder(name_or_folder)
    family = read_json(folder / "config.json").get("model_type")
    if not isinstance(family, str) or family not in _FAMILIES:
        raise ConfigError(
            f"{folder / 'config.json'}: model_type {family!r} is not served; served: {', '.join(_FAMILIES)}."
        )
    if slots < 1:
        raise ConfigError(f"--slots {slots}: at least 1 is needed.")
    module = importlib.import_module(_FAMILIES[family])
    session: AnySession = module.load(
        folder,
        name=name or (name_or_folder if name_or_folder in STARTERS else folder.resolve().name),
        runtime=open_device(device, precision, cache_dir),
        weight_format=weight_format,
        slots=slots,
        report=report,
    )
    return session
