"""The same samples from SpeechT5 in its published shape, from the checkpoint and from the exports of optimum-intel and ours.

Random weights, all three on our engine in f32, two sentences without dropout. Prints how far the samples are from those of
optimum's export, as a share of the loudest. The last line is JSON.

    .venv/bin/python bench/compare_samples.py --weight-format int8
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.compare_speech import RATE, SENTENCES, export
from bench.speech_checkpoint import write_speech_checkpoint

RATIO = 1.5  # decoder steps a letter; with random weights a sentence stops as soon as it may


def speak(folder: Path, form: str) -> np.ndarray:
    """Both sentences, one behind the other."""
    from antiphon.local import Model
    from antiphon.models.folder import inspect
    from antiphon.models.speecht5.load import load
    from antiphon.models.speecht5.session import StopRule
    from antiphon.runtime.openvino import open_device

    sessions = load(
        inspect(folder),
        name=folder.name,
        runtime=open_device(precision="f32"),
        weight_format=form,  # type: ignore[arg-type]
        slots=2,
        report=print,
        rules=StopRule(dropout=False, minlenratio=RATIO, maxlenratio=RATIO + 1),
    )
    with Model(*sessions) as model:
        spoken = [model.speak(sentence) for sentence in SENTENCES[:2]]
    return np.concatenate(spoken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weight-format", choices=("fp32", "fp16", "int8"), default="int8")
    form = parser.parse_args().weight_format
    with tempfile.TemporaryDirectory(prefix="antiphon-samples-") as work:
        checkpoint, optimum, ours = (Path(work) / name for name in ("speecht5", "optimum", "antiphon"))
        write_speech_checkpoint(checkpoint)
        export(checkpoint, optimum, "--weight-format", form)
        command = ["export", "text2speech", "--source_model", str(checkpoint), "--vocoder", str(checkpoint / "vocoder")]
        command += ["--model_repository_path", work, "--model_name", "antiphon", "--weight-format", form]
        command += ["--config_file_path", str(Path(work) / "config.json")]
        subprocess.run([str(Path(sys.executable).with_name("antiphon")), *command], check=True)
        for folder in (optimum, ours):
            shutil.copytree(checkpoint / "voices", folder / "voices", dirs_exist_ok=True)
        measure = speak(optimum, "auto")
        figures: dict[str, object] = {"weight_format": form, "seconds": round(len(measure) / RATE, 2)}
        for name, folder, asked in (("the checkpoint", checkpoint, form), ("antiphon's export", ours, "auto")):
            made = speak(folder, asked)
            same = len(made) == len(measure)
            off = float(np.abs(made - measure).max() / np.abs(measure).max()) if same else None
            figures[name] = off
            told = f"off by {off:.1e} of the loudest at most" if same else f"{len(made)} samples, not {len(measure)}"
            print(f"{name}: {told}", flush=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
