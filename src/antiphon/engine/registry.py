"""Which family serves a model folder, and how a name becomes a folder.

Importing it imports no family: each is loaded when a folder asks for it.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path

from antiphon.engine.device import open_device
from antiphon.errors import ConfigError
from antiphon.models.base import AnySession, Report
from antiphon.types import Precision, WeightFormat
from antiphon.weights.folder import read_json

STARTERS = {"starter-asr": Path(__file__).parent.parent / "starter" / "asr"}
ESPEAK = "espeak"  # a name and no folder: what it is made of came with a wheel
BUILT_IN = (*STARTERS, ESPEAK)

# config.json's model_type -> the module whose `load` makes a session of the folder.
_FAMILIES = {"whisper": "antiphon.models.whisper.load", "speecht5": "antiphon.models.speecht5.load"}


def find_folder(name_or_folder: str) -> Path:
    """The folder of a built-in starter or of a path. Raises ConfigError naming what exists."""
    folder = STARTERS.get(name_or_folder, Path(name_or_folder).expanduser())
    if not folder.is_dir():
        raise ConfigError(f"{name_or_folder}: no such folder, and not a built-in model ({', '.join(BUILT_IN)}).")
    return folder


def models_of(model_path: str | None) -> tuple[str, ...]:
    """What a server loads: the model that was named, or the built-in ones that are installed."""
    if model_path is not None:
        return (model_path,)
    return tuple(STARTERS) if importlib.util.find_spec("espeakng_loader") is None else BUILT_IN


def name_of(name_or_folder: str) -> str:
    """What a model is called unless somebody names it: a built-in one's name, or that of its folder."""
    return name_or_folder if name_or_folder in BUILT_IN else Path(name_or_folder).expanduser().resolve().name


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
    vocoder: Path | None = None,
    speaker: tuple[str, Path] | None = None,
) -> AnySession:
    """Load the model of a folder or a built-in name; `report` gets a line about each thing chosen.

    For SpeechT5 there may be a `vocoder` folder, and one more `speaker`: its name and the file of its embedding.

    Raises ConfigError naming the folder, file or flag and the fix.
    """
    if slots < 1:
        raise ConfigError(f"--slots {slots}: at least 1 is needed.")
    if name_or_folder == ESPEAK:
        folder, module = Path(), "antiphon.models.espeak.load"
    else:
        folder = find_folder(name_or_folder)
        module = _family_of(folder)
    extras = {"vocoder": vocoder, "speaker": speaker}
    given = {flag: value for flag, value in extras.items() if value is not None}
    if given and module != _FAMILIES["speecht5"]:
        raise ConfigError(f"--{next(iter(given))}: {name_or_folder} is no SpeechT5 model, which alone has one.")
    session: AnySession = importlib.import_module(module).load(
        folder,
        name=name or name_of(name_or_folder),
        runtime=open_device(device, precision, cache_dir),
        weight_format=weight_format,
        slots=slots,
        report=report,
        **given,
    )
    return session


def _family_of(folder: Path) -> str:
    """The module that serves the model of a folder. ConfigError if none does."""
    family = read_json(folder / "config.json").get("model_type")
    if not isinstance(family, str) or family not in _FAMILIES:
        raise ConfigError(
            f"{folder / 'config.json'}: model_type {family!r} is not served; served: {', '.join(_FAMILIES)}."
        )
    return _FAMILIES[family]
