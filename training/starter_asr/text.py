"""Owns the sentences: what is trained on, what is held out, and how transcripts are compared.

It must not know about audio or models. Run: python -m training.starter_asr.text --work DIR"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter
from pathlib import Path

FORTUNES = Path("/usr/share/games/fortunes")
HELDOUT_FILE = Path(__file__).with_name("heldout.txt")
HELDOUT_FORTUNES = 300
RANDOM_STRINGS = 7000
# As many again for the plain voice alone, which is heard most and so is the first to be known by heart.
PLAIN_STRINGS = 8000
MINIMUM_COUNT = 3
# The words of the demonstration sentence must be learnt, though the sentence itself is held out.
ANCHOR_WORDS = ("the", "quick", "brown", "fox", "jumped", "over", "lazy", "dog")
ANCHOR_STRINGS_EACH = 40
SENTENCE = re.compile(r"[A-Z][A-Za-z ,']{8,75}[.?!]")
PLAIN_WORD = re.compile(r"[A-Za-z]+('[a-z]+)?[,.?!]?")


def normalise(text: str) -> str:
    """Lower case; letters, digits and apostrophes only; single spaces."""
    return " ".join(re.findall(r"[a-z0-9']+", text.lower()))


def words_of(sentence: str) -> list[str]:
    """The bare lower-case words of one sentence."""
    return normalise(sentence).split()


def read_sentences(folder: Path) -> list[str]:
    """Sentences of 3 to 14 plain words out of every fortune file directly in `folder`."""
    found: set[str] = set()
    for path in sorted(folder.iterdir()):
        if not path.is_file() or path.suffix in (".dat", ".u8"):
            continue
        for fortune in path.read_text(encoding="utf-8", errors="ignore").split("\n%\n"):
            for sentence in SENTENCE.findall(re.sub(r"\s+", " ", fortune)):
                words = sentence.split()
                shouted = any(word.isupper() and len(word) > 1 for word in words)
                if 3 <= len(words) <= 14 and not shouted and all(map(PLAIN_WORD.fullmatch, words)):
                    found.add(sentence)
    return sorted(found)


def keep_familiar(sentences: list[str]) -> tuple[list[str], list[str]]:
    """The sentences all of whose words are seen often enough to be learnt, and those words."""
    counts = Counter(word for sentence in sentences for word in words_of(sentence))
    familiar = {word for word, count in counts.items() if count >= MINIMUM_COUNT}
    kept = [one for one in sentences if all(word in familiar for word in words_of(one))]
    return kept, sorted(familiar)


def random_strings(vocabulary: list[str], count: int, source: random.Random) -> list[str]:
    """Word salad: it stops the decoder from leaning on what sentences usually say."""
    forced = [word for word in ANCHOR_WORDS for _ in range(ANCHOR_STRINGS_EACH)]
    forced += [""] * (count - len(forced))
    strings = []
    for word in forced:
        chosen = source.choices(vocabulary, k=source.randint(3, 8))
        if word:
            chosen[source.randrange(len(chosen))] = word
        joined = " ".join(chosen)
        strings.append(joined[0].upper() + joined[1:] + ".")
    return strings


def build(folder: Path, seed: int) -> dict[str, list[str]]:
    """All text of one run; no held-out sentence is in the training part, whatever its spelling."""
    source = random.Random(seed)
    sentences, vocabulary = keep_familiar(read_sentences(folder))
    source.shuffle(sentences)
    everyday = HELDOUT_FILE.read_text(encoding="utf-8").split("\n")
    everyday = [line for line in everyday if line]
    fortunes = sentences[:HELDOUT_FORTUNES]
    forbidden = {normalise(one) for one in everyday + fortunes}
    vocabulary = sorted(set(vocabulary) | set(ANCHOR_WORDS))
    train = [one for one in sentences[HELDOUT_FORTUNES:] if normalise(one) not in forbidden]
    strings = random_strings(vocabulary, RANDOM_STRINGS, source)
    plain_strings = random_strings(vocabulary, PLAIN_STRINGS, source)
    strings, plain_strings = (
        [one for one in part if normalise(one) not in forbidden] for part in (strings, plain_strings)
    )
    leaked = forbidden & {normalise(one) for one in train + strings + plain_strings}
    if leaked:
        raise RuntimeError(f"held-out sentences in the training text: {sorted(leaked)[:5]}")
    return {
        "train": train,
        "strings": strings,
        "plain_strings": plain_strings,
        "heldout_fortunes": fortunes,
        "heldout_everyday": everyday,
        "vocabulary": vocabulary,
    }


def main() -> None:
    """Write text.json and say how much there is and how the hand-written sentences are covered."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--fortunes", type=Path, default=FORTUNES)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    text = build(options.fortunes, options.seed)
    (options.work / "text.json").write_text(json.dumps(text), encoding="utf-8")
    known = set(text["vocabulary"])
    unseen = {word for one in text["heldout_everyday"] for word in words_of(one)} - known
    print({name: len(part) for name, part in text.items()}, "unseen everyday words:", sorted(unseen))


if __name__ == "__main__":
    main()
