"""Owns the figures of the model card: what the model makes, through Antiphon itself, of what was held out of training.

It must not know how the model was trained. Run: .venv/bin/python -m training.starter_asr.listen"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import soxr

import antiphon
from antiphon.errors import ConfigError
from antiphon.local import Model
from antiphon.types.audio import SAMPLE_RATE, Samples
from training.starter_asr.augment import not_speech
from training.starter_asr.heldout import HELD_OUT, HELD_OUT_SPANISH, held_out_pairs, word_errors, words
from training.voice import Voice

PAUSE = np.zeros(round(0.6 * SAMPLE_RATE), np.float32)
# Voices that are in no training clip.
UNHEARD = {"en": ("en-us+m8", "en-us+f5", "en-gb+m3"), "es": ("es+m8", "es+f5", "es-419+m7")}
PAIRS = 150
NOISES = 100
NOISE_SEED = 20
TRIM_LEVEL = 1e-3
LESSER = {"int8": {"precision": "f32", "weight_format": "int8"}, "bf16": {"precision": "bf16"}}

TokenTimings = list[tuple[str, Samples]]
Row = tuple[str, str]


class Once:
    """A voice that says each sentence once: eSpeak NG never says one twice alike, and rows shall differ by the model alone."""

    def __init__(self) -> None:
        self._voice = Voice()
        self._said: dict[tuple[str, str], Samples] = {}

    def speak(self, text: str, *, voice: str = "en-us") -> Samples:
        """`text` as 16 kHz float32 samples, the same ones every time."""
        if (text, voice) not in self._said:
            self._said[text, voice] = self._voice.speak(text, voice=voice)
        return self._said[text, voice]


def together(voice: Once, texts: list[str]) -> tuple[Samples, list[float]]:
    """Sentences in one recording, a pause after each, and when (s) each begins and ends."""
    pieces: list[Samples] = []
    times: list[float] = []
    place = 0
    for text in texts:
        clip = voice.speak(text)
        loud = np.nonzero(np.abs(clip) > TRIM_LEVEL)[0]
        times += [(place + int(loud[0])) / SAMPLE_RATE, (place + int(loud[-1])) / SAMPLE_RATE]
        pieces += [clip, PAUSE]
        place += len(clip) + len(PAUSE)
    return np.concatenate(pieces), times


def per_cent(part: int, whole: int) -> str:
    """A share, as the card writes it."""
    return f"{100 * part / whole:.1f} %"


def error_rate(model: Model, said: TokenTimings) -> str:
    """Wrong words of all."""
    errors = sum(word_errors(text, model.transcribe(samples).text) for text, samples in said)
    return per_cent(errors, sum(len(words(text)) for text, _ in said))


def spoken(voice: Once, texts: list[str], *names: str) -> TokenTimings:
    """Every text, in the named voices by turns."""
    return [(text, voice.speak(text, voice=names[place % len(names)])) for place, text in enumerate(texts)]


def by_default(texts: list[str]) -> TokenTimings:
    """Every text as `antiphon speak` says it."""
    with antiphon.load("espeak") as speaker:
        rate = speaker.info.sample_rate
        return [(text, soxr.resample(speaker.speak(text), rate, SAMPLE_RATE)) for text in texts]


def times_apart(model: Model, voice: Once) -> str:
    """How far the nearest segment boundary is from where one of two sentences begins or ends."""
    apart: list[float] = []
    for start in range(0, len(HELD_OUT) - 1, 2):
        samples, times = together(voice, HELD_OUT[start : start + 2])
        segments = model.transcribe(samples, timestamps=True).segments
        found = [moment for segment in segments for moment in (segment.start, segment.end)]
        apart += [min((abs(one - moment) for moment in found), default=30.0) for one in times]
    middle, most = 1000 * np.quantile(apart, (0.5, 0.9))
    return f"median {middle:.0f} ms, nine in ten within {most:.0f} ms"


def of_words(model: Model, voice: Once) -> Iterator[Row]:
    """Words wrong, of one sentence at a time and of several."""
    yield "held-out sentences, plain voice, 31", error_rate(model, spoken(voice, HELD_OUT, "en-us"))
    yield "the same as `antiphon speak` says them, at its own speed", error_rate(model, by_default(HELD_OUT))
    yield "the same in three voices it never heard", error_rate(model, spoken(voice, HELD_OUT, *UNHEARD["en"]))
    for count, name in ((2, "two"), (3, "three"), (6, "six")):
        groups = [HELD_OUT[start : start + count] for start in range(0, 30, count)]
        recordings = [(" ".join(group), together(voice, group)[0]) for group in groups]
        yield f"{name} of them in one recording, 0.6 s apart", error_rate(model, recordings)
    yield "held-out Spanish sentences, plain voice, 30", error_rate(model, spoken(voice, HELD_OUT_SPANISH, "es"))
    latin = spoken(voice, HELD_OUT_SPANISH, "es-419")
    yield "the Spanish ones in the plain voice of Latin America", error_rate(model, latin)
    yield (
        "the Spanish ones in three voices it never heard",
        error_rate(model, spoken(voice, HELD_OUT_SPANISH, *UNHEARD["es"])),
    )
    grammar = spoken(voice, [spanish for spanish, _ in held_out_pairs()[:PAIRS]], "es")
    yield f"held-out Spanish sentences of the grammar, {PAIRS}", error_rate(model, grammar)


def of_languages(model: Model, voice: Once) -> Iterator[Row]:
    """Languages told, and translations word for word."""
    pairs = held_out_pairs()[:PAIRS]
    spanish = spoken(voice, HELD_OUT_SPANISH + [one for one, _ in pairs], "es")
    told = [("en", samples) for _, samples in spoken(voice, HELD_OUT, "en-us")]
    told += [("es", samples) for _, samples in spanish]
    right = sum(model.transcribe(samples).language == language for language, samples in told)
    yield f"the language told, {len(told)} held-out sentences of both", per_cent(right, len(told))
    heard = [(english, model.translate(voice.speak(one, voice="es")).text) for one, english in pairs]
    exact = sum(words(text) == words(english) for english, text in heard)
    yield f"held-out sentences of the grammar translated exactly, {PAIRS}", per_cent(exact, PAIRS)


def of_times(model: Model, voice: Once) -> Iterator[Row]:
    """When it is said, and that nothing is said."""
    yield "where segments begin and end, two sentences in one recording", times_apart(model, voice)
    noise = np.random.default_rng(NOISE_SEED)
    sounds = [not_speech(round(noise.uniform(2, 30) * SAMPLE_RATE), noise) for _ in range(NOISES)]
    empty = sum(not model.transcribe(samples).text.strip() for samples in sounds)
    yield f"silence, noise, hum, tones, clicks and music without text, {NOISES}", per_cent(empty, NOISES)


def of_precisions(name: str, voice: Once) -> Iterator[Row]:
    """Words wrong in less than f32, where the processor has it."""
    for lesser, options in LESSER.items():
        try:
            model = antiphon.load(name, **options)
        except ConfigError as error:
            yield f"held-out sentences in {lesser}", str(error)
            continue
        with model:
            yield f"English held-out sentences in {lesser}", error_rate(model, spoken(voice, HELD_OUT, "en-us"))
            spanish = spoken(voice, HELD_OUT_SPANISH, "es")
            yield f"Spanish held-out sentences in {lesser}", error_rate(model, spanish)


def show(model: Model, voice: Once) -> Iterator[str]:
    """What went wrong in the plain voices, and the first sentence of each kind as it is."""
    for name, texts in (("en-us", HELD_OUT), ("es", HELD_OUT_SPANISH)):
        for text in texts:
            heard = model.transcribe(voice.speak(text, voice=name)).text
            if text == texts[0] or words(heard) != words(text):
                yield f"{text} -> {heard}"
    for spanish, english in held_out_pairs()[:PAIRS]:
        heard = model.translate(voice.speak(spanish, voice="es")).text
        if spanish.startswith("Madrid") or words(heard) != words(english):
            yield f"{spanish} -> {heard} ({english})"


def table(name: str) -> Iterator[Row]:
    """All rows of the card."""
    voice = Once()
    with antiphon.load(name, precision="f32") as model:
        for rows in (of_words, of_languages, of_times):
            yield from rows(model, voice)
    yield from of_precisions(name, voice)


def main() -> None:
    """Print the table of the card, and what went wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="starter-asr", help="a folder, before it becomes the built-in one")
    parser.add_argument("--show", action="store_true", help="print what went wrong, and no table")
    options = parser.parse_args()
    if options.show:
        with antiphon.load(options.model, precision="f32") as model:
            for line in show(model, Once()):
                print(line, flush=True)
        return
    for what, figure in table(options.model):
        print(f"| {what} | {figure} |", flush=True)


if __name__ == "__main__":
    main()
