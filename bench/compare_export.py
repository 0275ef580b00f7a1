"""`antiphon export` beside `optimum-cli export openvino` for one Whisper shape: wall time and peak memory, in one run.

Random weights in fp16, as published; both write the same folder from the same files. Processor time is there because
wall time means little on a busy machine. Peak memory is the resident set of the command and its children, files that are
mapped into memory included. The last line is JSON.

    .venv/bin/python bench/compare_export.py --shape turbo --weight-format int8
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Cost:
    """What a command took. `ended` is false if it was stopped at the limit: then these are lower bounds."""

    seconds: float
    cpu_seconds: float
    peak_gb: float
    ended: bool


def write_shape(folder: Path, name: str) -> None:
    """A checkpoint of a published shape in fp16; its values are a few million random ones, over and over."""
    import numpy as np
    import torch
    from safetensors.numpy import save_file
    from transformers import WhisperForConditionalGeneration

    from bench import checkpoints

    shape = checkpoints.PUBLISHED[name]
    folder.mkdir(parents=True, exist_ok=True)
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(checkpoints._config(shape))
    pool = (np.random.default_rng(0).standard_normal(1 << 22) * 0.02).astype(np.float16)
    values = {key: value for key, value in model.state_dict().items() if key != "proj_out.weight"}
    # Each begins elsewhere in the pool: constants that are the same are written once.
    tensors = {
        key: np.resize(np.roll(pool, 7919 * index), value.shape) for index, (key, value) in enumerate(values.items())
    }
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    model.config.save_pretrained(folder)
    (folder / "generation_config.json").write_text(json.dumps(checkpoints._generation(shape)))
    checkpoints.write_tokenizer(folder, shape.vocabulary)


def measure(command: list[str], log: Path, limit: float) -> Cost:
    """Run a command; its resident set is asked for ten times a second, its children's with it."""
    began, peak, ended = time.perf_counter(), 0, True
    with log.open("wb") as output:
        process = os.posix_spawn(
            command[0],
            command,
            dict(os.environ),
            file_actions=[(os.POSIX_SPAWN_DUP2, output.fileno(), 1), (os.POSIX_SPAWN_DUP2, output.fileno(), 2)],
            setpgroup=0,
        )
    while True:
        done, status, usage = os.wait4(process, os.WNOHANG)
        if done:
            break
        peak = max(peak, resident(process))
        if time.perf_counter() - began > limit:
            ended = False
            os.killpg(process, signal.SIGKILL)
        time.sleep(0.1)
    if ended and status:
        raise SystemExit(f"{' '.join(command)} failed:\n{log.read_text(errors='replace')[-2000:]}")
    seconds, cpu = time.perf_counter() - began, usage.ru_utime + usage.ru_stime
    return Cost(round(seconds, 1), round(cpu, 1), round(max(peak, usage.ru_maxrss * 1024) / 1e9, 2), ended)


def resident(process: int) -> int:
    """Bytes in memory of a process and its children."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(resident(int(child)) for child in children)


def ours(checkpoint: Path, work: Path, form: str) -> tuple[list[str], Path]:
    command = [str(BIN / "antiphon"), "export", "speech2text", "--source_model", str(checkpoint)]
    command += ["--model_repository_path", str(work), "--model_name", "antiphon", "--weight-format", form]
    return [*command, "--config_file_path", str(work / "config.json")], work / "antiphon"


def theirs(checkpoint: Path, work: Path, form: str) -> tuple[list[str], Path]:
    command = [str(BIN / "optimum-cli"), "export", "openvino", "--model", str(checkpoint)]
    command += ["--task", "automatic-speech-recognition-with-past", "--weight-format", form]
    return [*command, str(work / "optimum")], work / "optimum"


def size(folder: Path) -> float:
    return round(sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e9, 3)


@contextmanager
def working(doc: str, *, shape: str, limit: float) -> Iterator[tuple[argparse.Namespace, Path]]:
    """The options of a comparison of exports, and the folder it writes into: one that is named stays, else it is temporary."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--shape", choices=("tiny", "base", "turbo"), default=shape)
    parser.add_argument("--weight-format", choices=("fp32", "fp16", "int8"), default="int8")
    parser.add_argument("--limit", type=float, default=limit, help="seconds after which an export is stopped")
    parser.add_argument("--work", type=Path, help="where to write, and what was written stays; else a temporary folder")
    options = parser.parse_args()
    if options.work is not None:
        yield options, options.work
        return
    with tempfile.TemporaryDirectory(prefix="antiphon-bench-") as work:
        yield options, Path(work)


def compare(shape: str, form: str, work: Path, limit: float) -> dict[str, object]:
    """What each export of one checkpoint took and wrote, and the ratios of ours to optimum's."""
    checkpoint = work / "checkpoint"
    if not (checkpoint / "tokenizer.json").is_file():
        # In a process of its own, so that its memory is given back.
        writer = multiprocessing.get_context("spawn").Process(target=write_shape, args=(checkpoint, shape))
        writer.start()
        writer.join()
    figures: dict[str, object] = {"shape": shape, "weight_format": form}
    costs = {}
    for name, make in (("antiphon", ours), ("optimum", theirs)):
        command, made = make(checkpoint, work, form)
        shutil.rmtree(made, ignore_errors=True)
        cost = costs[name] = measure(command, work / f"{name}.log", limit)
        figures[name] = asdict(cost) | {"written_gb": size(made)}
        bound = "" if cost.ended else " (stopped at the limit)"
        print(
            f"{name}: {cost.seconds} s ({cost.cpu_seconds} s of processor), at most {cost.peak_gb} GB in memory, "
            f"wrote {size(made)} GB{bound}",
            flush=True,
        )
    for key in ("seconds", "cpu_seconds"):
        figures[f"{key}_ratio"] = round(getattr(costs["antiphon"], key) / getattr(costs["optimum"], key), 3)
    return figures


def main() -> None:
    with working(__doc__, shape="turbo", limit=1800) as (options, work):
        figures = compare(options.shape, options.weight_format, work, options.limit)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
