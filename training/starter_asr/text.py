"""Owns the sentences: what is trained on, what is held out, and how transcripts are compared.

It must not know about audio or models. Run: python -m training.starter_asr.text --work DIR"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from training.starter_asr import pairs

FORTUNES = Path("/usr/share/games/fortunes")
SPANISH_WORDS = Path("/usr/share/dict/spanish")
HELDOUT_FILE = Path(__file__).with_name("heldout.txt")
SPANISH_HELDOUT_FILE = Path(__file__).with_name("heldout_es.txt")
HELDOUT_FORTUNES = 300
RANDOM_STRINGS = 7000
# As many again for the plain voice alone, which is heard most and so is the first to be known by heart.
PLAIN_STRINGS = 8000
SPANISH_STRINGS = 6000
MINIMUM_COUNT = 3
# Spanish is written as it is spoken: a word need not be seen often.
SPANISH_MINIMUM_COUNT = 1
# The words of the demonstration sentence must be learnt, though the sentence itself is held out.
ANCHOR_WORDS = ("the", "quick", "brown", "fox", "jumped", "over", "lazy", "dog")
ANCHOR_STRINGS_EACH = 40
# Strings with two of these words one after the other, in any order: heard apart only, "fox jumped" was written twice.
ANCHOR_COUPLES = 400
SENTENCE = re.compile(r"[A-Z][A-Za-z ,']{8,75}[.?!]")
SPANISH_SENTENCE = re.compile(r"[¿¡]?[A-ZÁÉÍÓÚÑ][A-Za-zÁÉÍÓÚÑáéíóúüñ ,;:]{8,80}[.?!]")
PLAIN_WORD = re.compile(r"[¿¡]?[^\W\d_]+('[a-z]+)?[,.?!;:]?")
MARK = re.compile(r"[,.?!;:()\"«»¿¡-]+")
SOURCE_NOTE = re.compile(r"\n?\s+--.*", re.DOTALL)


def normalise(text: str) -> str:
    """Lower case; letters, digits and apostrophes only; single spaces."""
    return " ".join(re.findall(r"(?:[^\W_]|')+", text.lower()))


def words_of(sentence: str) -> list[str]:
    """The bare lower-case words of one sentence."""
    return normalise(sentence).split()


def read_fortunes(folder: Path) -> Iterator[str]:
    """The sayings of every fortune file directly in `folder`."""
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix not in (".dat", ".u8"):
            yield from path.read_text(encoding="utf-8", errors="ignore").split("\n%\n")


def plain(words: list[str]) -> bool:
    """Whether a sentence can be made of them: 3 to 14 plain words, none of them shouted."""
    shouted = any(word.isupper() and len(word) > 1 for word in words)
    return 3 <= len(words) <= 14 and not shouted and all(map(PLAIN_WORD.fullmatch, words))


def read_sentences(folder: Path, pattern: re.Pattern[str] = SENTENCE) -> list[str]:
    """Sentences of 3 to 14 plain words out of every fortune file directly in `folder`."""
    found: set[str] = set()
    for fortune in read_fortunes(folder):
        said = SOURCE_NOTE.sub("", fortune) if pattern is SPANISH_SENTENCE else fortune
        found |= {one for one in pattern.findall(re.sub(r"\s+", " ", said)) if plain(one.split())}
    return sorted(found)


def read_clauses(folder: Path) -> list[str]:
    """What stands between any two marks, as sentences: most of what long ones say."""
    found: set[str] = set()
    for fortune in read_fortunes(folder):
        clauses = MARK.split(re.sub(r"\s+", " ", SOURCE_NOTE.sub("", fortune)))
        found |= {string_of(one.split()) for one in clauses if plain(one.split())}
    return sorted(found)


def keep_familiar(sentences: list[str], least: int = MINIMUM_COUNT) -> tuple[list[str], list[str]]:
    """The sentences all of whose words are seen often enough to be learnt, and those words."""
    counts = Counter(word for sentence in sentences for word in words_of(sentence))
    familiar = {word for word, count in counts.items() if count >= least}
    kept = [one for one in sentences if all(word in familiar for word in words_of(one))]
    return kept, sorted(familiar)


def string_of(chosen: list[str]) -> str:
    """Words as a sentence."""
    joined = " ".join(chosen)
    return joined[0].upper() + joined[1:] + "."


def random_strings(
    vocabulary: list[str], count: int, source: random.Random, anchors: tuple[str, ...] = ANCHOR_WORDS
) -> list[str]:
    """Word salad: it stops the decoder from leaning on what sentences usually say."""
    forced = [word for word in anchors for _ in range(ANCHOR_STRINGS_EACH)]
    forced += [""] * (count - len(forced))
    strings = []
    for word in forced:
        chosen = source.choices(vocabulary, k=source.randint(3, 8))
        if word:
            chosen[source.randrange(len(chosen))] = word
        strings.append(string_of(chosen))
    return strings


def couples(vocabulary: list[str], source: random.Random) -> list[str]:
    """Word salad with two anchor words beside each other."""
    strings = []
    for _ in range(ANCHOR_COUPLES):
        chosen = source.choices(vocabulary, k=source.randint(1, 5))
        place = source.randint(0, len(chosen))
        strings.append(string_of(chosen[:place] + source.sample(ANCHOR_WORDS, 2) + chosen[place:]))
    return strings


def read_lines(path: Path) -> list[str]:
    """Lines that are not empty."""
    return [line for line in path.read_text(encoding="utf-8").split("\n") if line]


def check_out(forbidden: set[str], parts: dict[str, list[str]]) -> dict[str, list[str]]:
    """The parts without what is held out, whatever its spelling."""
    kept = {name: [one for one in part if normalise(one) not in forbidden] for name, part in parts.items()}
    leaked = forbidden & {normalise(one) for part in kept.values() for one in part}
    if leaked:
        raise RuntimeError(f"held-out sentences in the training text: {sorted(leaked)[:5]}")
    return kept


def build(folder: Path, seed: int) -> dict[str, list[str]]:
    """All English text of one run; no held-out sentence is in the training part."""
    source = random.Random(seed)
    sentences, vocabulary = keep_familiar(read_sentences(folder))
    source.shuffle(sentences)
    everyday = read_lines(HELDOUT_FILE)
    fortunes = sentences[:HELDOUT_FORTUNES]
    forbidden = {normalise(one) for one in everyday + fortunes}
    vocabulary = sorted(set(vocabulary) | set(ANCHOR_WORDS))
    strings = random_strings(vocabulary, RANDOM_STRINGS, source)
    plain_strings = random_strings(vocabulary, PLAIN_STRINGS, source) + couples(vocabulary, source)
    parts = {"train": sentences[HELDOUT_FORTUNES:], "strings": strings, "plain_strings": plain_strings}
    return {
        **check_out(forbidden, parts),
        "heldout_fortunes": fortunes,
        "heldout_everyday": everyday,
        "vocabulary": vocabulary,
    }


def build_spanish(folder: Path, dictionary: Path, seed: int) -> dict[str, list[str]]:
    """All Spanish text of one run; half the words of its strings come from the dictionary.

    `pairs` are sentences of the grammar, and `meanings` what each of them means."""
    source = random.Random(seed)
    sentences, vocabulary = keep_familiar(read_sentences(folder, SPANISH_SENTENCE), SPANISH_MINIMUM_COUNT)
    source.shuffle(sentences)
    everyday = read_lines(SPANISH_HELDOUT_FILE)
    fortunes = sentences[:HELDOUT_FORTUNES]
    learnt, unseen = pairs.build(seed)
    forbidden = {normalise(one) for one in everyday + fortunes + [spanish for spanish, _ in unseen]}
    learnt = [pair for pair in learnt if normalise(pair[0]) not in forbidden]
    rare = [word for word in read_lines(dictionary) if word.islower() and 3 <= len(word) <= 12]
    both = source.choices(vocabulary, k=20000) + source.choices(rare, k=20000)
    kept_out = " | ".join(map(normalise, [*everyday, *fortunes]))
    clauses = [one for one in read_clauses(folder) if normalise(one) not in kept_out]
    parts = {
        "train": sorted({*sentences[HELDOUT_FORTUNES:], *clauses}),
        "strings": random_strings(both, SPANISH_STRINGS, source, ()),
        "plain_strings": random_strings(both, SPANISH_STRINGS, source, ()),
        "pairs": [spanish for spanish, _ in learnt],
    }
    return {
        **check_out(forbidden, parts),
        "meanings": [english for _, english in learnt],
        "heldout_fortunes": fortunes,
        "heldout_everyday": everyday,
        "heldout_pairs": [spanish for spanish, _ in unseen],
        "heldout_meanings": [english for _, english in unseen],
        "vocabulary": vocabulary,
    }


def main() -> None:
    """Write text.json and text_es.json, and say how much there is and which hand-written words are unseen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--fortunes", type=Path, default=FORTUNES)
    parser.add_argument("--spanish-words", type=Path, default=SPANISH_WORDS)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    built = {
        "text": build(options.fortunes, options.seed),
        "text_es": build_spanish(options.fortunes / "es", options.spanish_words, options.seed),
    }
    for name, text in built.items():
        (options.work / f"{name}.json").write_text(json.dumps(text), encoding="utf-8")
        known = {word for part in ("train", "strings", "plain_strings") for one in text[part] for word in words_of(one)}
        unseen = {word for one in text["heldout_everyday"] for word in words_of(one)} - known
        print(name, {part: len(lines) for part, lines in text.items()}, "unseen everyday words:", sorted(unseen))


if __name__ == "__main__":
    main()
