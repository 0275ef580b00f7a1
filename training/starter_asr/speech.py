"""Owns the voices: turns every sentence of text.json and text_es.json into 16 kHz speech with espeak-ng.

It must not know about models or windows. Run: PYTHONPATH=src python -m training.starter_asr.speech --work DIR"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import soxr

from antiphon.models.espeak.synthesiser import Synthesiser

RATE = 16000
LONGEST_SECONDS = 9.0
TRIM_LEVEL = 1e-3
TRIM_MARGIN = 400
REPEATS = 2
# The plain voice of a language is the one people will try first, so it is drawn more often than the others.
PLAIN_VOICES = {"en": "en-us", "es": "es"}
VOICES = {
    "en": ["en-us"] * 6
    + [f"en-us+m{number}" for number in range(1, 8)]
    + [f"en-us+f{number}" for number in range(1, 5)]
    + ["en-gb", "en-gb", "en-gb-scotland"],
    "es": ["es"] * 4
    + ["es-419"] * 4
    + [f"es+m{number}" for number in range(1, 8)]
    + [f"es+f{number}" for number in range(1, 5)]
    + [f"es-419+{name}" for name in ("m1", "m3", "m5", "f1", "f3")],
}


@dataclass(frozen=True)
class Order:
    """One thing to be said, and how."""

    text: str
    voice: str = "en-us"
    speed: int = 165
    pitch: int = 50
    language: str = "en"
    # English of a Spanish sentence of the grammar.
    meaning: str | None = None


_synthesisers: list[Synthesiser] = []


def speak(order: Order) -> np.ndarray:
    """One utterance as int16 at 16 kHz, its surrounding silence trimmed off."""
    if not _synthesisers:
        _synthesisers.append(Synthesiser())
    made = _synthesisers[0].speak(order.text, order.voice, words_a_minute=order.speed, pitch=order.pitch)
    samples = soxr.resample(made, _synthesisers[0].rate, RATE)
    loud = np.nonzero(np.abs(samples) > TRIM_LEVEL)[0]
    if len(loud):
        samples = samples[max(0, loud[0] - TRIM_MARGIN) : loud[-1] + TRIM_MARGIN]
    return (samples * 32767).clip(-32768, 32767).astype(np.int16)


def orders_for(
    language: str, text: dict[str, list[str]], repeats: int, source: random.Random
) -> tuple[list[Order], list[Order]]:
    """What to say for training (varied voices, and all once more in the plain one) and for the held-out set (plain)."""
    plain, voices = PLAIN_VOICES[language], VOICES[language]
    pairs = list(zip(text.get("pairs", []), text.get("meanings", []), strict=True))
    varied = [(one, None) for one in text["train"] * repeats + text["strings"]] + pairs
    again = [(one, None) for one in text["train"] + text["plain_strings"]] + pairs
    train = [
        Order(one, voice or plain, source.randint(140, 195), source.randint(35, 65), language, meaning)
        for one, voice, meaning in [(one, source.choice(voices), meaning) for one, meaning in varied]
        + [(one, None, meaning) for one, meaning in again]
    ]
    unseen = list(zip(text.get("heldout_pairs", []), text.get("heldout_meanings", []), strict=True))
    heldout = [(one, None) for one in text["heldout_everyday"] + text["heldout_fortunes"]] + unseen
    return train, [Order(one, plain, language=language, meaning=meaning) for one, meaning in heldout]


def save(folder: Path, name: str, orders: list[Order], clips: list[np.ndarray]) -> float:
    """Write the clips as one long array and an index beside it; return their hours."""
    kept = [(o, c) for o, c in zip(orders, clips, strict=True) if len(c) < LONGEST_SECONDS * RATE]
    np.save(folder / f"{name}.npy", np.concatenate([clip for _, clip in kept]))
    index = {
        "texts": [order.text for order, _ in kept],
        "voices": [order.voice for order, _ in kept],
        "languages": [order.language for order, _ in kept],
        "meanings": [order.meaning for order, _ in kept],
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
    source = random.Random(options.seed)
    train: list[Order] = []
    heldout: list[Order] = []
    for language, name, repeats in (("en", "text", REPEATS), ("es", "text_es", 1)):
        text = json.loads((options.work / f"{name}.json").read_text(encoding="utf-8"))
        said, unseen = orders_for(language, text, repeats, source)
        train, heldout = train + said, heldout + unseen
    with Pool(options.processes) as pool:
        for name, orders in (("heldout", heldout), ("train", train)):
            hours = save(options.work, name, orders, pool.map(speak, orders, chunksize=64))
            print(f"{name}: {len(orders)} clips, {hours:.1f} h", flush=True)


if __name__ == "__main__":
    main()
