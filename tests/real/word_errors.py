"""Word errors by language and engine, as a table."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from antiphon.benchmark.word_errors import LanguageErrors, WordErrors, count_word_errors
from antiphon.types.audio import SAMPLE_RATE
from tests.real.recordings import Recording

Transcribe = Callable[[Recording], str]


class Table:
    """What each engine made of the recordings in each language; the engines that have run are its columns."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, LanguageErrors]] = {}

    def measure(self, engine: str, transcribe: Transcribe, recordings: Sequence[Recording]) -> dict[str, WordErrors]:
        """The errors of an engine by language; the recordings are transcribed only once."""
        for language in sorted({recording.language for recording in recordings}):
            row = self._rows.setdefault(language, {})
            if engine not in row:
                row[engine] = _measure(transcribe, [part for part in recordings if part.language == language])
        return {language: row[engine].counted for language, row in self._rows.items() if engine in row}

    def lines(self) -> list[str]:
        engines = list(dict.fromkeys(engine for row in self._rows.values() for engine in row))
        if not engines:
            return []
        cells = [["language", "words", *engines]]
        for language, row in sorted(self._rows.items()):
            first = next(iter(row.values()))
            rates = [f"{row[name].counted.rate:.1%} ({row[name].rtfx:.1f}x)" if name in row else "" for name in engines]
            cells.append([f"{language} {first.measure}", str(first.counted.words), *rates])
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        title = "Word errors, and seconds of audio per second with one request at a time:"
        return ["", title, *("  ".join(map(str.ljust, line, widths)) for line in cells)]


def _measure(transcribe: Transcribe, recordings: Sequence[Recording]) -> LanguageErrors:
    language = recordings[0].language
    seconds = sum(len(recording.samples) for recording in recordings) / SAMPLE_RATE
    began = time.perf_counter()
    texts = [transcribe(recording) for recording in recordings]
    rtfx = seconds / (time.perf_counter() - began)
    references = [_nearest(recording, text) for recording, text in zip(recordings, texts, strict=True)]
    return LanguageErrors(language, len(recordings), count_word_errors(references, texts, language), rtfx)


def _nearest(recording: Recording, transcript: str) -> str:
    """The spelling of what is said that is nearest to a transcript."""
    return min(recording.texts, key=lambda text: count_word_errors([text], [transcript], recording.language).rate)
