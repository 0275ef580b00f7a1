"""`antiphon bench wer`: a table of word errors by language."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import typer

from antiphon.benchmark.clips import Clip, ClipSet
from antiphon.benchmark.optional import import_extra
from antiphon.benchmark.target import Target
from antiphon.benchmark.word_errors import LanguageErrors, measure_word_errors
from antiphon.errors import ConfigError


def check_wer(audio: list[Path] | None, **refused: object) -> None:
    """Raise ConfigError without recordings, without the libraries, or with an option that only a load test takes."""
    for setting, value in refused.items():
        if value:
            raise ConfigError("not for wer, which transcribes every recording once.", setting=setting)
    if not audio:
        raise ConfigError("wer needs recordings with their texts: name files or folders.", setting="audio")
    for module in ("jiwer", "whisper_normalizer"):
        import_extra(module)


def measure_wer(
    target: Target, clips: ClipSet, clients: int, language: str, parameters: Mapping[str, object], where: str
) -> None:
    """Transcribe the clips that have a reference text, print the table, and all of it as a line of JSON."""
    known = [clip for clip in clips.clips if clip.reference]
    if not known:
        raise ConfigError("no recording has a text; name.txt holds the text of name.wav.", setting="audio")
    typer.echo(f"{where}; {len(known)} of {len(clips.clips)} recordings have a text")
    rows = asyncio.run(_measure(target, known, clients, language))
    typer.echo(f"{'language':<10}{'clips':>6}{'words':>8}{'errors':>8}{'rate':>12}{'RTFx':>8}")
    for row in rows:
        counted = row.counted
        rate = f"{counted.rate:.1%} {row.measure}"
        name = row.language or "detected"
        typer.echo(f"{name:<10}{row.clips:>6}{counted.words:>8}{counted.errors:>8}{rate:>12}{row.rtfx:>8.1f}")
    languages = {
        row.language: {
            "clips": row.clips,
            "words": row.counted.words,
            "errors": row.counted.errors,
            row.measure.lower(): row.counted.rate,
            "rtfx": row.rtfx,
        }
        for row in rows
    }
    typer.echo(json.dumps({"job": "wer", **parameters, "clients": clients, "languages": round_floats(languages)}))


async def _measure(target: Target, clips: Sequence[Clip], clients: int, language: str) -> list[LanguageErrors]:
    try:
        return await measure_word_errors(target, clips, clients, language)
    finally:
        await target.close()


def round_floats(value: Any) -> Any:
    """Round floats to four decimals, the precision of the clock."""
    if isinstance(value, dict):
        return {key: round_floats(item) for key, item in value.items()}
    return round(value, 4) if isinstance(value, float) else value
