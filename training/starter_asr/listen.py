"""Owns the figures of the model card that are measured through Antiphon itself, on the held-out sentences.

It must not know how the model was trained. Run: .venv/bin/python -m training.starter_asr.listen"""

from __future__ import annotations

import argparse

import numpy as np
import soxr

import antiphon
from antiphon.local import Model
from antiphon.types import SAMPLE_RATE, Samples
from tests.test_starter import HELD_OUT, word_errors, words
from tests.voice import Voice

PAUSE = np.zeros(round(0.6 * SAMPLE_RATE), np.float32)


def together(voice: Voice, texts: list[str]) -> Samples:
    """Sentences in one recording, a pause after each."""
    return np.concatenate([part for text in texts for part in (voice.speak(text), PAUSE)])


def error_rate(model: Model, said: list[tuple[str, Samples]]) -> str:
    """Wrong words of all, as the card writes it."""
    errors = sum(word_errors(text, model.transcribe(samples).text) for text, samples in said)
    total = sum(len(words(text)) for text, _ in said)
    return f"{100 * errors / total:.1f} % ({errors} of {total})"


def main() -> None:
    """Print one line a figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="starter-asr", help="a folder, before it becomes the built-in one")
    voice, listening = Voice(), parser.parse_args().model
    with antiphon.load(listening, precision="f32") as model, antiphon.load("espeak") as speaker:
        print("plain voice:", error_rate(model, [(text, voice.speak(text)) for text in HELD_OUT]))
        default = [
            (text, soxr.resample(speaker.speak(text), speaker.info.sample_rate, SAMPLE_RATE)) for text in HELD_OUT
        ]
        print("default voice of antiphon speak:", error_rate(model, default))
        for count in (2, 3, 6):
            groups = [HELD_OUT[start : start + count] for start in range(0, 30, count)]
            said = [(" ".join(group), together(voice, group)) for group in groups]
            print(f"{count} sentences in one recording:", error_rate(model, said))


if __name__ == "__main__":
    main()
