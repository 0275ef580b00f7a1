"""Owns the figures of the model card: what starter-asr, through Antiphon, hears of what the model says.

It must not know how the model was trained. Run: .venv/bin/python -m training.starter_tts.listen"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

import antiphon
from antiphon.local import Model
from antiphon.types.audio import SAMPLE_RATE, Samples
from training.starter_asr.heldout import HELD_OUT, HELD_OUT_SPANISH, held_out_pairs, word_errors, words

STARTER = Path(__file__).parents[2] / "src" / "antiphon" / "starter" / "tts"
PAUSE = np.zeros(round(0.2 * SAMPLE_RATE), np.float32)
PAIRS = 60


@dataclass(frozen=True)
class Voice:
    """Who speaks, and in which voice."""

    model: Model
    name: str

    def say(self, text: str) -> Samples:
        """`text` at the recogniser's rate, a little silence around it."""
        made = self.model.speak(text, voice=self.name)
        samples = soxr.resample(made, self.model.info.sample_rate, SAMPLE_RATE)
        return np.concatenate([PAUSE, samples, PAUSE])


@dataclass(frozen=True)
class Listener:
    """Who hears, and whether every sentence is printed."""

    model: Model
    show: bool

    def wrong(self, voice: Voice, texts: list[str]) -> str:
        """Words wrong of all, the language not told."""
        errors, seconds = 0, 0.0
        for text in texts:
            sound = voice.say(text)
            heard = self.model.transcribe(sound).text
            wrong = word_errors(text, heard)
            errors, seconds = errors + wrong, seconds + len(sound) / SAMPLE_RATE
            if self.show:
                print(f"  {wrong} {len(sound) / SAMPLE_RATE:.1f} s {text!r} -> {heard!r}")
        total = sum(len(words(text)) for text in texts)
        if self.show:
            print(f"  {errors} of {total} words, {seconds:.0f} s")
        return f"{100 * errors / total:.1f} %"

    def translated(self, voice: Voice, pairs: list[tuple[str, str]]) -> str:
        """How many Spanish sentences come out as the English ones they mean."""
        exact = 0
        for spanish, english in pairs:
            heard = self.model.translate(voice.say(spanish)).text
            exact += words(heard) == words(english)
            if self.show or spanish == pairs[0][0]:
                print(f"  {spanish} -> {heard}", flush=True)
        return f"{100 * exact / len(pairs):.1f} %"


def breathless(texts: list[str]) -> list[str]:
    """Four sentences in one of about 12 s: behind a short one, because a text's first sentence is cut early."""
    groups = [texts[start : start + 4] for start in range(0, len(texts) - 3, 4)]
    return ["I know. " + ", ".join(one.rstrip(".?") for one in group) + "." for group in groups]


def table(listener: Listener, source: Model, model: Model, *, imitated: bool) -> Iterator[tuple[str, str]]:
    """The rows of the card, those of what it imitates only if asked for."""
    pairs = held_out_pairs()[:PAIRS]
    grammar = [spanish for spanish, _ in pairs]
    english, spanish = (Voice(model, name) for name in ("english", "spanish"))
    us, es = (Voice(source, name) for name in ("en-us", "es"))
    rows = [
        ("held-out sentences spoken by starter-tts, 31", HELD_OUT, english, us),
        ("held-out Spanish sentences spoken by starter-tts, 30", HELD_OUT_SPANISH, spanish, es),
        (f"held-out Spanish sentences of the grammar spoken by starter-tts, {PAIRS}", grammar, spanish, es),
        ("four held-out sentences in one of about 12 s, 7", breathless(HELD_OUT), english, us),
    ]
    for name, texts, voice, other in rows:
        yield name, listener.wrong(voice, texts)
        if imitated:
            yield "the same by the `espeak` family, which it imitates", listener.wrong(other, texts)
    yield f"those of the grammar translated exactly, {PAIRS}", listener.translated(spanish, pairs)
    if imitated:
        yield "the same by the `espeak` family, which it imitates", listener.translated(es, pairs)


def main() -> None:
    """Print the table of the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=str(STARTER))
    parser.add_argument("--listener", default="starter-asr", help="a name or a folder")
    parser.add_argument("--show", action="store_true", help="print every sentence")
    parser.add_argument("--alone", action="store_true", help="without the espeak family")
    options = parser.parse_args()
    with (
        antiphon.load(options.listener, precision="f32") as hearing,
        antiphon.load(options.model, precision="f32") as model,
        antiphon.load("espeak") as source,
    ):
        for what, figure in table(Listener(hearing, options.show), source, model, imitated=not options.alone):
            print(f"| {what} | {figure} |", flush=True)


if __name__ == "__main__":
    main()
