"""Owns the voices: turns every sentence of text.json into 16 kHz speech with espeak-ng.

It must not know about models or windows. Run: python -m training.starter_asr.speech --work DIR"""

from __future__ import annotations

import argparse
import io
import json
import random
import subprocess
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import soundfile
import soxr

RATE = 16000
LONGEST_SECONDS = 9.0
TRIM_LEVEL = 1e-3
TRIM_MARGIN = 400
REPEATS = 2
# The plain voice is the one people will try first, so it is drawn more often than the others.
PLAIN_VOICE = "en-us"
VOICES = (
    [PLAIN_VOICE] * 6
    + [f"en-us+m{number}" for number in range(1, 8)]
    + [f"en-us+f{number}" for number in range(1, 5)]
    + ["en-gb", "en-gb", "en-gb-scotland"]
)


@dataclass(frozen=True)
class Order:
    """One thing to be said, and how."""

    text: str
    voice: str = "en-us"
    speed: int = 165
    pitch: int = 50


def speak(order: Order) -> np.ndarray:
    """One utterance as int16 at 16 kHz, its surrounding silence trimmed off."""
    command = ["espeak-ng", "-v", order.voice, "-s", str(order.speed), "-p", str(order.pitch)]
    run = subprocess.run([*command, "--stdout", order.text], capture_output=True, check=True)
    samples, rate = soundfile.read(io.BytesIO(run.stdout), dtype="float32")
    samples = soxr.resample(samples, rate, RATE)
    loud = np.nonzero(np.abs(samples) > TRIM_LEVEL)[0]
    if len(loud):
        samples = samples[max(0, loud[0] - TRIM_MARGIN) : loud[-1] + TRIM_MARGIN]
    return (samples * 32767).clip(-32768, 32767).astype(np.int16)


def orders_for(text: dict[str, list[str]], seed: int) -> tuple[list[Order], list[Order]]:
    """What to say for training (varied voices) and for the held-out set (the plain voice)."""
    source = random.Random(seed)
    said = text["train"] * REPEATS + text["strings"]
    train = [Order(one, source.choice(VOICES), source.randint(140, 195), source.randint(35, 65)) for one in said]
    for one in text["train"] + text["plain_strings"]:
        train.append(Order(one, PLAIN_VOICE, source.randint(140, 195), source.randint(35, 65)))
    heldout = [Order(one) for one in text["heldout_everyday"] + text["heldout_fortunes"]]
    return train, heldout


def save(folder: Path, name: str, orders: list[Order], clips: list[np.ndarray]) -> float:
    """Write the clips as one long array and an index beside it; return their hours."""
    kept = [(o, c) for o, c in zip(orders, clips, strict=True) if len(c) < LONGEST_SECONDS * RATE]
    np.save(folder / f"{name}.npy", np.concatenate([clip for _, clip in kept]))
    index = {
        "texts": [order.text for order, _ in kept],
        "voices": [order.voice for order, _ in kept],
        "lengths": [len(clip) for _, clip in kept],
    }
    (folder / f"{name}.json").write_text(json.dumps(index), encoding="utf-8")
    return sum(index["lengths"]) / RATE / 3600


def main() -> None:
    """Speak everything and write train.npy, heldout.npy and their indexes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    text = json.loads((options.work / "text.json").read_text(encoding="utf-8"))
    train, heldout = orders_for(text, options.seed)
    with Pool(options.processes) as pool:
        for name, orders in (("heldout", heldout), ("train", train)):
            hours = save(options.work, name, orders, pool.map(speak, orders, chunksize=64))
            print(f"{name}: {len(orders)} clips, {hours:.1f} h", flush=True)


if __name__ == "__main__":
    main()
