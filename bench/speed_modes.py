"""Does a faster mode hear the same? Words wrong on sentences held out of training, in every mode this machine can run.

Everyday sentences and some out of the fortunes, English and Spanish, spoken by eSpeak NG in its plain voices and heard by
starter-asr or the model given. The first mode is what the others are compared with: f32, one sentence at a time. The
difference is in points of words wrong, with its standard error over the sentences (each is heard in both modes, so what is
hard for both cancels out): within twice that, it is chance. The last line is JSON.

    .venv/bin/python bench/speed_modes.py --fortunes 300
"""

from __future__ import annotations

import argparse
import inspect
import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

import antiphon
from antiphon.errors import ConfigError
from antiphon.export.calibration import calibration_windows
from antiphon.export.export import export
from antiphon.loader import find_folder
from antiphon.repository.graph_pbtxt import GraphFile
from bench.clients import run_clients
from training.starter_asr import text
from training.starter_asr.heldout import word_errors, words
from training.starter_asr.listen import Once, TokenTimings, spoken

VOICES = {"en": "en-us", "es": "es"}
CLIENTS = 16
SEED = 1  # of the training text, which says what was held out of it


@dataclass(frozen=True)
class Mode:
    """How the model is loaded and asked; `options` are those of `antiphon.load`."""

    name: str
    options: dict[str, Any]
    clients: int = CLIENTS
    folder: Callable[[], Path] | None = None


@dataclass(frozen=True)
class Row:
    """A mode's words wrong, in per cent, and how many points that is from the first mode's; `note` says why there are none."""

    mode: str
    wrong: dict[str, float] = field(default_factory=dict)
    apart: dict[str, float] = field(default_factory=dict)
    error: dict[str, float] = field(default_factory=dict)
    note: str = ""


def sentences(fortunes: int) -> dict[str, list[str]]:
    """What was held out of training, by language: the everyday sentences, and so many `fortunes` of at most 300."""
    lines = {"en": text.read_lines(text.HELDOUT_FILE), "es": text.read_lines(text.SPANISH_HELDOUT_FILE)}
    if not fortunes:
        return lines
    more = {
        "en": text.build(text.FORTUNES, SEED)["heldout_fortunes"],
        "es": text.build_spanish(text.FORTUNES / "es", text.SPANISH_WORDS, SEED)["heldout_fortunes"],
    }
    return {language: lines[language] + more[language][:fortunes] for language in lines}


def modes(model: str, target: Path) -> list[Mode]:
    """Every way to serve the model that changes the arithmetic; those that the machine lacks say so when they are run.

    `target` is where its export in int8 lies, or will be made when it is wanted.
    """

    def quantised() -> Path:
        if not target.is_dir():
            windows = partial(calibration_windows, None)
            export(find_folder(model), target, graph=GraphFile("speech2text"), calibration=windows)
        return target

    exact = {"precision": "f32"}
    found = [
        Mode("f32, one at a time", exact, clients=1),
        Mode(f"f32, {CLIENTS} at once", exact),
        Mode("weights in fp16", {**exact, "weight_format": "fp16"}),
        Mode("weights in int8", {**exact, "weight_format": "int8"}),
        Mode("weights and activations in int8", exact, folder=quantised),
        Mode("bf16", {"precision": "bf16"}),
        Mode("bf16, weights in int8", {"precision": "bf16", "weight_format": "int8"}),
        Mode("bf16, weights and activations in int8", {"precision": "bf16"}, folder=quantised),
    ]
    if "audio_context" in inspect.signature(antiphon.load).parameters:
        found.append(Mode("audio context as long as the clip", {**exact, "audio_context": "auto"}))
    return found


def heard(mode: Mode, model: str, said: TokenTimings) -> list[int]:
    """Words wrong in each sentence."""
    wrong = [0] * len(said)
    with antiphon.load(mode.folder() if mode.folder else model, slots=CLIENTS, **mode.options) as loaded:

        def ask(number: int) -> None:
            if number < len(said):
                expected, samples = said[number]
                wrong[number] = word_errors(expected, loaded.transcribe(samples).text)

        run_clients(ask, mode.clients, math.ceil(len(said) / mode.clients))
    return wrong


def compare(model: str, fortunes: int, wanted: list[str], target: Path) -> Iterator[Row]:
    """A row for each mode, the one that the others are compared with first."""
    voice = Once()
    said = {language: spoken(voice, lines, VOICES[language]) for language, lines in sentences(fortunes).items()}
    counts = {language: sum(len(words(one)) for one, _ in pairs) for language, pairs in said.items()}
    for language, pairs in said.items():
        print(f"{language}: {len(pairs)} sentences, {counts[language]} words", flush=True)
    first: dict[str, np.ndarray] = {}
    for place, mode in enumerate(modes(model, target)):
        if place and wanted and mode.name not in wanted:
            continue
        try:
            wrong = {language: np.array(heard(mode, model, pairs)) for language, pairs in said.items()}
        except ConfigError as error:
            yield Row(mode.name, note=str(error))
            continue
        first = first or wrong
        apart = {language: wrong[language] - first[language] for language in wrong}
        yield Row(
            mode.name,
            {one: round(100 * each.sum() / counts[one], 2) for one, each in wrong.items()},
            {one: round(100 * each.sum() / counts[one], 2) for one, each in apart.items()},
            {one: round(100 * each.std() * math.sqrt(len(each)) / counts[one], 2) for one, each in apart.items()},
        )


def line(row: Row) -> str:
    """A row of the table."""
    if row.note:
        return f"| {row.mode} | not run: {row.note} | | | |"
    cells = [f"{row.wrong[one]:.2f} | {row.apart[one]:+.2f} ± {row.error[one]:.2f}" for one in VOICES]
    return f"| {row.mode} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="starter-asr", help="a built-in model's name, or a checkpoint's folder")
    parser.add_argument("--fortunes", type=int, default=300, help="so many sentences more in each language, 0 to 300")
    parser.add_argument("--modes", nargs="*", default=[], help="these beside the first, by their names; else all")
    parser.add_argument("--int8", type=Path, help="an export with --quant-mode int8 made before; else one is made")
    options = parser.parse_args()
    print("| mode | en, % wrong | points from the first | es, % wrong | points from the first |\n|---|---|---|---|---|")
    rows = []
    with tempfile.TemporaryDirectory(prefix="antiphon-modes-") as work:
        for row in compare(options.model, options.fortunes, options.modes, options.int8 or Path(work) / "int8"):
            rows.append(row)
            print(line(row), flush=True)
    print(json.dumps([asdict(row) for row in rows], ensure_ascii=False))


if __name__ == "__main__":
    main()
