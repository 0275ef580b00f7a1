"""Word error rate as on the open ASR leaderboard: texts normalised as in Whisper's paper, then word edits (jiwer)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from antiphon.benchmark.optional import import_extra


@dataclass(frozen=True, slots=True)
class WordErrors:
    """`rate` is edits over the number of reference words (`words`), over all texts; it can exceed 1."""

    rate: float
    words: int


def count_word_errors(references: Sequence[str], hypotheses: Sequence[str], language: str = "en") -> WordErrors:
    """Compare each hypothesis with its reference. References without words are skipped.

    English is normalised by the rules of Radford et al. 2022, appendix C (spelling, numbers, contractions), other languages
    by the basic rules (case, punctuation). Raises ConfigError if the `bench` extra is not installed.
    """
    if language in ("", "en"):
        normalise = import_extra("whisper_normalizer.english").EnglishTextNormalizer()
    else:
        normalise = import_extra("whisper_normalizer.basic").BasicTextNormalizer()
    normalised = [
        (normalise(reference).strip(), normalise(hypothesis).strip())
        for reference, hypothesis in zip(references, hypotheses, strict=True)
    ]
    pairs = [(reference, hypothesis) for reference, hypothesis in normalised if reference]
    if not pairs:
        return WordErrors(0.0, 0)
    jiwer = import_extra("jiwer")
    counted = jiwer.process_words([reference for reference, _ in pairs], [hypothesis for _, hypothesis in pairs])
    words = counted.hits + counted.substitutions + counted.deletions
    return WordErrors(float(counted.wer), int(words))
