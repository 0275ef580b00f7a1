"""optimum-intel's exports of a checkpoint, and a checkpoint of what an export holds: each made in its own process, so
that optimum-intel's warnings do not fail tests."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from safetensors import safe_open
from safetensors.numpy import save_file

from antiphon.weights.source import Weights

WHISPER = ("--task", "automatic-speech-recognition-with-past")


def speech(folder: Path) -> tuple[str, ...]:
    """What optimum wants to know to export a SpeechT5 with its vocoder."""
    return ("--task", "text-to-audio", "--model-kwargs", json.dumps({"vocoder": str(folder / "vocoder")}))


def export(folder: Path, target: Path, task: Sequence[str], *options: str) -> Path:
    """optimum-cli's export of the checkpoint in `folder`."""
    tool = Path(sys.executable).with_name("optimum-cli")
    command = [str(tool), "export", "openvino", "--model", str(folder), *task, *options, str(target)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return target


def names_in(folder: Path) -> list[str]:
    """The tensors of a checkpoint that is one file."""
    with safe_open(folder / "model.safetensors", framework="numpy") as reader:
        return list(reader.keys())


def write_decompressed(names: Sequence[str], weights: Weights, folder: Path) -> None:
    """The values that an export has, as a checkpoint."""
    save_file({name: weights.array(name) for name in names}, folder / "model.safetensors")
