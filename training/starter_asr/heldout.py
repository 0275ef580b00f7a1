"""Owns the sentences that the model's figures are measured on, and how what was heard is compared with them.

It must not know how the sentences are kept out of training (text.py), or about audio and models."""

from __future__ import annotations

import re

from training.starter_asr import pairs
from training.starter_asr.text import HELDOUT_FILE, SPANISH_HELDOUT_FILE

HELD_OUT = HELDOUT_FILE.read_text(encoding="utf-8").splitlines()[:31]
HELD_OUT_SPANISH = SPANISH_HELDOUT_FILE.read_text(encoding="utf-8").splitlines()


def words(text: str) -> list[str]:
    """The words of a text in lower case, without marks."""
    return re.sub(r"[^\w' ]", "", text.lower()).split()


def word_errors(expected: str, heard: str) -> int:
    """Substitutions, insertions and deletions between two texts (Levenshtein over words)."""
    row = list(range(len(words(heard)) + 1))
    for i, spoken in enumerate(words(expected), 1):
        before, row[0] = row[0], i
        for j, said in enumerate(words(heard), 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (spoken != said))
    return row[-1]


def held_out_pairs() -> list[tuple[str, str]]:
    """Spanish sentences of the grammar that the model was not trained on, and their English; Madrid first."""
    return pairs.build()[1]
