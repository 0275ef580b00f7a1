"""Word error rate as on the open ASR leaderboard: texts normalised as in Whisper's paper, then word edits (jiwer)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from antiphon.benchmark.clips import Clip
from antiphon.benchmark.figures import summarise
from antiphon.benchmark.load_generator import OK, Limit, run_closed_loop
from antiphon.benchmark.optional import import_extra
from antiphon.benchmark.target import Target
from antiphon.errors import ConfigError
from antiphon.languages import SPACELESS


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Edits over all texts, and the number of reference words; both count characters for a language without spaces."""

    errors: int
    words: int

    @property
    def rate(self) -> float:
        """Edits over words; it can exceed 1."""
        return self.errors / self.words if self.words else 0.0


@dataclass(frozen=True, slots=True)
class LanguageErrors:
    """The word errors of all clips of a language; `language` is a code, empty if it was detected. `rtfx` is their speed."""

    language: str
    clips: int
    counted: WordErrors
    rtfx: float

    @property
    def measure(self) -> str:
        return "CER" if self.language in SPACELESS else "WER"


def count_word_errors(references: Sequence[str], hypotheses: Sequence[str], language: str = "en") -> WordErrors:
    """Compare each hypothesis with its reference. References without words are skipped.

    English is normalised by the rules of Radford et al. 2022, appendix C (spelling, numbers, contractions), other languages
    by the basic rules (case, punctuation), which also set the characters of languages without spaces apart.
    Raises ConfigError if the `bench` extra is not installed.
    """
    if language in ("", "en"):
        normalise = import_extra("whisper_normalizer.english").EnglishTextNormalizer()
    else:
        normalise = import_extra("whisper_normalizer.basic").BasicTextNormalizer(split_letters=language in SPACELESS)
    normalised = [
        (normalise(reference).strip(), normalise(hypothesis).strip())
        for reference, hypothesis in zip(references, hypotheses, strict=True)
    ]
    pairs = [(reference, hypothesis) for reference, hypothesis in normalised if reference]
    if not pairs:
        return WordErrors(0, 0)
    jiwer = import_extra("jiwer")
    counted = jiwer.process_words([reference for reference, _ in pairs], [hypothesis for _, hypothesis in pairs])
    right = counted.hits
    wrong = counted.substitutions + counted.deletions
    return WordErrors(wrong + counted.insertions, right + wrong)


async def measure_word_errors(
    target: Target, clips: Sequence[Clip], clients: int, language: str = ""
) -> list[LanguageErrors]:
    """Transcribe every clip once, one language after the other; `language` is that of clips which have none.

    Raises ConfigError for a clip that is not transcribed: a rate over the others would not be comparable.
    """
    by_language: dict[str, list[Clip]] = {}
    for clip in clips:
        by_language.setdefault(clip.language or language, []).append(clip)
    for code in by_language:
        await target.transcribe(by_language[code][0])  # not measured: it raises for a language that the model lacks
    return [await _measure(target, by_language[code], clients, code) for code in sorted(by_language)]


async def _measure(target: Target, clips: Sequence[Clip], clients: int, language: str) -> LanguageErrors:
    done = await run_closed_loop(lambda number: target.transcribe(clips[number]), clients, Limit(len(clips)))
    responses = {measurement.number: measurement.response for measurement in done}
    for number, response in sorted(responses.items()):
        if response.status != OK:
            reason = response.text.rstrip(".")
            raise ConfigError(f"{clips[number].name}: the request failed ({response.status}): {reason}.")
    references = [clip.reference or "" for clip in clips]
    counted = count_word_errors(references, [responses[number].text for number in range(len(clips))], language)
    return LanguageErrors(language, len(clips), counted, summarise(done).rtfx)
