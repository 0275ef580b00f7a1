"""Time per second of audio, and memory above the loaded model, for a file of ten minutes and one of an hour.

A WAV of sentences spoken by eSpeak NG is decoded from disk, planned and transcribed, in one process per length. Memory is the
peak of the resident set since just before the file is opened, after the model has transcribed a second of noise; and what is
still held when the model has been idle. Processor time is that of all threads: other work on the machine disturbs it less
than the clock. The last line is JSON.

    .venv/bin/python bench/long_file.py --model models/whisper-base
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np

import antiphon
from antiphon.benchmark.clips import pack_sentences, speak_sentences, to_wav
from antiphon.scheduling.worker import REST_AFTER_S
from antiphon.types.audio import SAMPLE_RATE


def resident(name: str) -> int:
    """Bytes: VmRSS, or VmHWM, the peak since `reset_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def measure(model: str, path: Path, tokens: int, minutes: float) -> dict[str, float]:
    noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
    with antiphon.load(model) as loaded:
        loaded.transcribe(noise, language="en", max_new_tokens=tokens)  # memory of the first run is the model's own
        reset_peak()
        before, began, worked = resident("VmHWM"), time.perf_counter(), time.process_time()
        transcript = loaded.transcribe(path, language="en", max_new_tokens=tokens)
        seconds, processor = time.perf_counter() - began, time.process_time() - worked
        peak, words = resident("VmHWM"), len(transcript.text.split())
        del transcript
        time.sleep(REST_AFTER_S + 2)
        return {
            "rtfx": round(minutes * 60 / seconds, 1),
            "processor_ms_a_second": round(1000 * processor / (minutes * 60), 2),
            "memory_mb": round((peak - before) / 1e6),
            "rested_mb": round((resident("VmRSS") - before) / 1e6),
            "words": words,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, help="the folder of a model")
    parser.add_argument("--minutes", type=float, nargs="+", default=[10, 60])
    parser.add_argument("--tokens", type=int, default=100, help="at most, per window")
    options = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    spoken = speak_sentences()
    with tempfile.TemporaryDirectory(prefix="antiphon-long-") as work:
        for minutes in options.minutes:
            path = Path(work) / "long.wav"
            samples, _ = pack_sentences(spoken, 60 * minutes, np.random.default_rng(0))
            path.write_bytes(to_wav(samples))
            with multiprocessing.get_context("spawn").Pool(1) as pool:  # one process per length, for its memory
                found = pool.apply(measure, (options.model, path, options.tokens, minutes))
            figures[f"{minutes:g} min"] = found
            print(f"{minutes:g} min:", ", ".join(f"{name} {figure:g}" for name, figure in found.items()), flush=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
