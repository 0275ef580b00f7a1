"""Owns the figure of the model card: what starter-asr, through Antiphon, hears of what the model says.

It must not know how the model was trained. Run: .venv/bin/python -m training.starter_tts.listen"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import soxr

import antiphon
from antiphon.local import Model
from antiphon.types import SAMPLE_RATE, Samples
from tests.test_starter import HELD_OUT, word_errors, words

STARTER = Path(__file__).parents[2] / "src" / "antiphon" / "starter" / "tts"
PAUSE = np.zeros(round(0.2 * SAMPLE_RATE), np.float32)


def spoken(speaker: Model, text: str) -> Samples:
    """`text` at the recogniser's rate, a little silence around it."""
    samples = soxr.resample(speaker.speak(text), speaker.info.sample_rate, SAMPLE_RATE)
    return np.concatenate([PAUSE, samples, PAUSE])


def round_trip(name: str, speaker: Model, listener: Model, texts: list[str], *, show: bool) -> None:
    """Print the wrong words of all, and the seconds of sound."""
    errors = seconds = 0.0
    for text in texts:
        sound = spoken(speaker, text)
        heard = listener.transcribe(sound).text
        wrong = word_errors(text, heard)
        errors += wrong
        seconds += len(sound) / SAMPLE_RATE
        if show:
            print(f"  {wrong} {len(sound) / SAMPLE_RATE:.1f} s {text!r} -> {heard!r}")
    total = sum(len(words(text)) for text in texts)
    print(f"{name}: {100 * errors / total:.1f} % ({errors:.0f} of {total} words wrong), {seconds:.0f} s", flush=True)


def main() -> None:
    """One line for the model, one for the voice it imitates."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(STARTER))
    parser.add_argument("--count", type=int, default=len(HELD_OUT), help="sentences")
    parser.add_argument("--show", action="store_true", help="print every sentence")
    parser.add_argument("--alone", action="store_true", help="without the espeak family")
    options = parser.parse_args()
    texts = HELD_OUT[: options.count]
    with antiphon.load("starter-asr", precision="f32") as listener:
        with antiphon.load(options.model, precision="f32") as speaker:
            round_trip("starter-tts", speaker, listener, texts, show=options.show)
        if not options.alone:
            with antiphon.load("espeak") as speaker:
                round_trip("espeak", speaker, listener, texts, show=options.show)


if __name__ == "__main__":
    main()
