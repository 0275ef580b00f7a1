"""What a long file costs: time for a second of audio and memory above the loaded model, for ten minutes and for an hour.

A WAV of spoken sentences (eSpeak NG, over and over, half a second of silence between them) is transcribed by a server's own
parts, in one process for each length: decoded from disk, planned, heard by starter-asr or the model given. Memory is the
peak of the resident set from just before the file is opened, when the model has heard a second of noise; and what of it is
still there once the model has rested. Processor time is that of all threads, which other work on the machine disturbs less
than the clock. The last line is JSON.

    .venv/bin/python bench/long_file.py
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

RATE = 16_000
SENTENCES = (
    "The train to the coast leaves at nine in the morning.",
    "She put the letters on the table and went out into the garden.",
    "Nobody knew how long the rain would last, so we stayed at home.",
)


def write_speech(path: Path, minutes: float) -> None:
    """The file, written piece by piece."""
    import antiphon

    with antiphon.load("espeak") as voice:
        rate = voice.info.sample_rate
        spoken = [voice.speak(sentence) for sentence in SENTENCES]
    pieces = [np.interp(np.arange(0, len(each), rate / RATE), np.arange(len(each)), each) for each in spoken]
    round_ = np.concatenate([np.concatenate([piece, np.zeros(RATE // 2)]) for piece in pieces])
    block = (round_ * 32_767).astype("<i2").tobytes()
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        left = round(minutes * 60 * RATE)
        while left > 0:
            file.writeframes(block[: 2 * left])
            left -= len(block) // 2


def resident(name: str) -> int:
    """Bytes: VmRSS, or VmHWM, the most since `reset_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def hear(model: str, path: Path, tokens: int, minutes: float) -> dict[str, float]:
    import antiphon
    from antiphon.scheduling.worker import REST_AFTER_S

    noise = np.random.default_rng(0).normal(0, 0.1, RATE).astype(np.float32)
    with antiphon.load(model) as loaded:
        loaded.transcribe(noise, language="en", max_new_tokens=tokens)  # what a first run needs is the model's own
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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="starter-asr")
    parser.add_argument("--minutes", type=float, nargs="+", default=[10, 60])
    parser.add_argument("--tokens", type=int, default=100, help="at most for a window")
    options = parser.parse_args()
    figures: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="antiphon-long-") as work:
        for minutes in options.minutes:
            path = Path(work) / "long.wav"
            write_speech(path, minutes)
            with multiprocessing.get_context("spawn").Pool(1) as pool:  # a process of its own, for its memory
                found = figures[f"{minutes:g} min"] = pool.apply(hear, (options.model, path, options.tokens, minutes))
            print(f"{minutes:g} min:", ", ".join(f"{name} {figure:g}" for name, figure in found.items()), flush=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
