"""What a model folder is for, by what its config.json says of it: writing speech down, or speaking.

It knows the words OVMS goes by; it must not know which families are served.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from antiphon.errors import ConfigError
from antiphon.types.options import GraphTask

_HEARS = re.compile(r"WhisperForConditionalGeneration|Qwen3ASRForConditionalGeneration|SeamlessM4T.*")
_SPEAKS = re.compile(r"ParlerTTSForConditionalGeneration|.*ForTextToSpeech")


def task_of(folder: Path) -> GraphTask | None:
    """The task of a model folder, or None if it is no model of speech, or a part of one."""
    config = _config(folder)
    names = config.get("architectures")
    architectures = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    if any(_HEARS.fullmatch(name) for name in architectures):
        return "speech2text"
    if any(_SPEAKS.fullmatch(name) for name in architectures):
        return "text2speech"
    # Kokoro's says no architecture; nothing else of that kind has mels.
    return "text2speech" if not architectures and "n_mels" in config else None


def lacks_vocoder(folder: Path, paths: Iterable[str]) -> bool:
    """Whether a folder, to hold these files, is a SpeechT5 checkpoint without its vocoder, which the hub keeps elsewhere."""
    speaks = "SpeechT5ForTextToSpeech" in (_config(folder).get("architectures") or ())
    paths = tuple(paths)
    return speaks and "model.safetensors" in paths and not any(path.startswith("vocoder/") for path in paths)


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON ({error}).") from error
    return config if isinstance(config, dict) else {}
