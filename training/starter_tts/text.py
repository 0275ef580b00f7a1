"""Owns what is said: sentences, word strings and single words, and what is held out.

It must not know about audio or models. Run: python -m training.starter_tts.text --work DIR"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from pathlib import Path

from training.starter_asr.text import FORTUNES, build, keep_familiar, normalise, read_sentences, words_of

# The seed of the recogniser's recipe: both models hold out the same sentences.
SEED = 1
# Seldom words teach spelling beyond the vocabulary of the sentences.
RARE_STRINGS = 5000
# Every word of the vocabulary so often in a string of two or three: what attention is first learnt on.
SHORT_ROUNDS = 2
ENDINGS = ".", ".", ".", ".", "?", "!", ",", ""
JOINTS = ", ", ", ", ", ", "; ", ": ", " - "
JOINT_SHARE = 0.08


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


def punctuate(string: str, source: random.Random) -> str:
    """A random end and, between words, now and then a mark: pauses are learnt from marks, not from grammar."""
    words = string.rstrip(".").split()
    text = words[0]
    for word in words[1:]:
        text += (source.choice(JOINTS) if source.random() < JOINT_SHARE else " ") + word
    return text + source.choice(ENDINGS)


def compose(folder: Path) -> dict[str, list[str]]:
    """All text of one run; no held-out sentence is in the training part, whatever its spelling."""
    source = random.Random(SEED)
    basis = build(folder, SEED)
    vocabulary = basis["vocabulary"]
    salad = basis["strings"] + basis["plain_strings"]
    made = salad + short_strings(vocabulary, source) + rare_strings(rare_words(folder), vocabulary, source)
    train = basis["train"] + [punctuate(one, source) for one in made]
    heldout = basis["heldout_everyday"] + basis["heldout_fortunes"]
    forbidden = {normalise(one) for one in heldout}
    train = sorted({one for one in train if normalise(one) not in forbidden})
    source.shuffle(train)
    return {"train": train, "heldout": heldout}


def main() -> None:
    """Write text.json and say how much there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--fortunes", type=Path, default=FORTUNES)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    text = compose(options.fortunes)
    (options.work / "text.json").write_text(json.dumps(text), encoding="utf-8")
    print({name: len(part) for name, part in text.items()})


if __name__ == "__main__":
    main()
