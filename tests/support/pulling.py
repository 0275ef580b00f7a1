"""A Whisper repository for the fake hub, and the files of a folder."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from tests.support.fake_hub import Hub, write_repository

WHISPER = '{"model_type": "whisper", "architectures": ["WhisperForConditionalGeneration"]}'
WEIGHTS = random.Random(1).randbytes(3_000_000)
NAME = "openai/whisper-nano"


def keep(hub: Hub, folder: Path, source: str = NAME, **others: Any) -> dict[str, bytes]:
    """Put a Whisper repository on the hub, changed by `others` (name -> content, None for no file); returns its files."""
    files = {"config.json": WHISPER, "tokenizer.json": "{}" * 40_000, "model.safetensors": WEIGHTS} | others
    kept = {name: content for name, content in files.items() if content is not None}
    hub.add(source, write_repository(folder / source, kept))
    return {name: (folder / source / name).read_bytes() for name in kept}


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
