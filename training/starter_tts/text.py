"""Owns what is said: sentences, word strings and single words, and what is held out.

It must not know about audio or models. Run: python -m training.starter_tts.text --work DIR"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from pathlib import Path

from antiphon.synthesis.normalise.numbers import spell_numbers
from training.starter_asr.text import (
    FORTUNES,
    SPANISH_WORDS,
    build,
    build_spanish,
    check_out,
    keep_familiar,
    normalise,
    read_sentences,
    words_of,
)

# The seed of the recogniser's recipe: both models hold out the same sentences.
SEED = 1
# Seldom words teach spelling beyond the vocabulary of the sentences.
RARE_STRINGS = 5000
# Every word of the vocabulary so often in a string of two or three: what attention is first learnt on.
SHORT_ROUNDS = 2
# Numbers as the server spells them, alone or among words.
NUMBER_STRINGS = 600
ENDINGS = ".", ".", ".", ".", "?", "!", ",", ""
OPENINGS = {"?": "¿", "!": "¡"}
JOINTS = ", ", ", ", ", ", "; ", ": ", " - "
JOINT_SHARE = 0.08
# Spanish is read as it is written: less of it is enough. So many sentences, sentences of the grammar, and strings.
SPANISH_SENTENCES = 5000
SPANISH_PAIRS = 5000
SPANISH_STRINGS = 2000
SPANISH_SHORT = 2500


def rare_words(folder: Path) -> list[str]:
    """The words of the fortunes that are too seldom for the vocabulary."""
    sentences = read_sentences(folder)
    familiar = set(keep_familiar(sentences)[1])
    counts = Counter(word for sentence in sentences for word in words_of(sentence))
    return sorted(word for word in counts if word not in familiar and len(word) > 2)


def short_strings(vocabulary: list[str], source: random.Random) -> list[str]:
    """Every word alone, and in strings of two or three."""
    strings = list(vocabulary)
    for _ in range(SHORT_ROUNDS):
        words = source.sample(vocabulary, len(vocabulary))
        while words:
            count = min(len(words), source.randint(2, 3))
            strings.append(" ".join(words.pop() for _ in range(count)))
    return strings


def rare_strings(rare: list[str], vocabulary: list[str], source: random.Random) -> list[str]:
    """A seldom word among one to four familiar ones."""
    strings = []
    for _ in range(RARE_STRINGS):
        chosen = source.choices(vocabulary, k=source.randint(1, 4))
        chosen.insert(source.randint(0, len(chosen)), source.choice(rare))
        strings.append(" ".join(chosen))
    return strings


def number_strings(language: str, vocabulary: list[str], source: random.Random) -> list[str]:
    """Numbers in words, small ones above all."""
    strings = []
    for _ in range(NUMBER_STRINGS):
        number = str(source.randrange(10 ** source.choice((1, 2, 2, 2, 3, 3, 4, 4, 6))))
        if source.random() < 0.15:
            number += {"en": ".", "es": ","}[language] + str(source.randrange(1, 100))
        chosen = source.choices(vocabulary, k=source.choice((0, 0, 1, 2, 3)))
        chosen.insert(source.randint(0, len(chosen)), spell_numbers(number, language))
        strings.append(" ".join(chosen))
    return strings


def punctuate(string: str, source: random.Random, language: str = "en") -> str:
    """A random end and, between words, now and then a mark: pauses are learnt from marks, not from grammar."""
    words = string.rstrip(".").split()
    text = words[0]
    for word in words[1:]:
        text += (source.choice(JOINTS) if source.random() < JOINT_SHARE else " ") + word
    end = source.choice(ENDINGS)
    return (OPENINGS.get(end, "") if language == "es" else "") + text + end


def mixed(language: str, train: list[str], made: list[str], heldout: list[str]) -> dict[str, list[str]]:
    """One language's text; no held-out sentence is in the training part, whatever its spelling."""
    source = random.Random(SEED)
    train = sorted({*train, *(punctuate(one, source, language) for one in made)})
    train = check_out({normalise(one) for one in heldout}, {"train": train})["train"]
    source.shuffle(train)
    return {"train": train, "heldout": heldout}


def compose(folder: Path) -> dict[str, list[str]]:
    """All English text of one run."""
    source = random.Random(SEED)
    basis = build(folder, SEED)
    vocabulary = basis["vocabulary"]
    made = basis["strings"] + basis["plain_strings"] + short_strings(vocabulary, source)
    made += rare_strings(rare_words(folder), vocabulary, source) + number_strings("en", vocabulary, source)
    return mixed("en", basis["train"], made, basis["heldout_everyday"] + basis["heldout_fortunes"])


def compose_spanish(folder: Path, dictionary: Path) -> dict[str, list[str]]:
    """All Spanish text of one run: a part of what the recogniser's recipe has, half the words out of the dictionary."""
    source = random.Random(SEED)
    basis = build_spanish(folder, dictionary, SEED)
    train = source.sample(basis["train"], SPANISH_SENTENCES) + source.sample(basis["pairs"], SPANISH_PAIRS)
    strings = basis["strings"] + basis["plain_strings"]
    words = sorted({word for one in strings for word in words_of(one)})
    made = source.sample(strings, SPANISH_STRINGS)
    made += source.sample(short_strings(words, source), SPANISH_SHORT)
    made += number_strings("es", basis["vocabulary"], source)
    heldout = basis["heldout_everyday"] + basis["heldout_fortunes"] + basis["heldout_pairs"]
    return mixed("es", train, made, heldout)


def main() -> None:
    """Write text.json and text_es.json, and say how much there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--fortunes", type=Path, default=FORTUNES)
    parser.add_argument("--spanish-words", type=Path, default=SPANISH_WORDS)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    spanish = compose_spanish(options.fortunes / "es", options.spanish_words)
    for name, text in (("text", compose(options.fortunes)), ("text_es", spanish)):
        (options.work / f"{name}.json").write_text(json.dumps(text), encoding="utf-8")
        print(name, {part: len(lines) for part, lines in text.items()})


if __name__ == "__main__":
    main()
