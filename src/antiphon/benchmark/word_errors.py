"""Word error rate as the open ASR leaderboard counts it: texts normalised as Whisper's paper does, then word edits.

It knows texts; it must not know audio. The libraries that do it are an extra.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from antiphon.benchmark.optional import bring


@dataclass(frozen=True, slots=True)
class WordErrors:
    """`rate` is wrong words by words of reference (`words`), over all texts together; it can exceed 1."""

    rate: float
    words: int


def count_word_errors(references: Sequence[str], heard: Sequence[str], language: str = "en") -> WordErrors:
    """Of as many texts as there are references, one for one; ones without a word left are not counted.

    English is normalised by the rules of Radford et al. 2022, appendix C (spelling, numbers, contractions), any other
    language by their basic ones (case, punctuation). ConfigError if the extra is not installed.
    """
    if language in ("", "en"):
        normalise = bring("whisper_normalizer.english").EnglishTextNormalizer()
    else:
        normalise = bring("whisper_normalizer.basic").BasicTextNormalizer()
    pairs = [(normalise(said), normalise(text)) for said, text in zip(references, heard, strict=True)]
    pairs = [(said.strip(), text.strip()) for said, text in pairs if said.strip()]
    if not pairs:
        return WordErrors(0.0, 0)
    counted = bring("jiwer").process_words([said for said, _ in pairs], [text for _, text in pairs])
    words = counted.hits + counted.substitutions + counted.deletions
    return WordErrors(float(counted.wer), int(words))
