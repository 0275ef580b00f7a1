"""Sentences that the starter models were not trained on, and the number of wrong words in a transcript."""

from __future__ import annotations

import re
from pathlib import Path

import jiwer

SENTENCES = Path(__file__).parents[1] / "fixtures" / "sentences"
HELD_OUT = (SENTENCES / "english.txt").read_text(encoding="utf-8").splitlines()
HELD_OUT_SPANISH = (SENTENCES / "spanish.txt").read_text(encoding="utf-8").splitlines()


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return re.sub(r"[^\w' ]", "", text.lower()).split()


def word_errors(expected: str, transcript: str) -> int:
    """Substitutions, insertions and deletions (Levenshtein distance over words)."""
    found = jiwer.process_words(" ".join(words(expected)), " ".join(words(transcript)))
    return found.substitutions + found.insertions + found.deletions


def held_out_pairs() -> list[tuple[str, str]]:
    """Held-out Spanish sentences with their English; `DEMONSTRATION` is the first."""
    lines = (SENTENCES / "spanish-english.tsv").read_text(encoding="utf-8").splitlines()
    return [(spanish, english) for spanish, english in (line.split("\t") for line in lines)]


DEMONSTRATION = held_out_pairs()[0]
