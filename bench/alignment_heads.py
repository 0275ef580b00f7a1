"""Which heads of a Whisper checkpoint tell best when words are said: chosen one by one against a synthesiser's word times.

Run: python -m bench.alignment_heads FOLDER TEXTS (English, a sentence a line). Prints sets of heads and their errors in
milliseconds (median, 95 %, greatest) for single sentences, sentences after silence, and pairs with a pause between.
The set with the smallest sum is the one to name in generation_config.json.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from antiphon.loader import load_session
from antiphon.models.whisper.alignment import normalised, smoothed, warp
from antiphon.models.whisper.alignment_heads import Head
from antiphon.models.whisper.config import TIMESTAMP_SECONDS, read_config
from antiphon.models.whisper.session import WhisperSession
from antiphon.models.whisper.tokens import Tokenizer, read_tokenizer
from antiphon.models.whisper.word_times import TokenTimings, settle, split_words, time_words
from antiphon.types.audio import SAMPLE_RATE, Samples
from antiphon.types.results import Piece
from training.voice import Voice

MOST = 6  # heads


@dataclass(frozen=True)
class Clip:
    """What is said, and for each word whether the next one follows at once and when it begins, where that is known."""

    samples: Samples
    text: str
    words: list[tuple[str, float | None]]


def make_clip(voice: Voice, texts: Sequence[str], lead: float, gap: float) -> Clip:
    """`texts` spoken after `lead` seconds of silence, with `gap` behind each."""
    sound, words, now = [_silence(lead)], list[tuple[str, float | None]](), lead
    for text in texts:
        spoken, times = voice.speak(text), voice.word_times(text)
        for match in re.finditer(r"\S+", text):
            at = times.get(match.start())
            words.append((match.group(), None if at is None else now + at))
        sound += [spoken, _silence(gap)]
        now = sum(map(len, sound)) / SAMPLE_RATE
    return Clip(np.concatenate(sound), "".join(f" {text}" for text in texts), words)


def _silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


class Measured:
    """Every head's attention to a clip, from which any set of them gives times."""

    def __init__(self, session: WhisperSession, tokenizer: Tokenizer, end: int, clip: Clip) -> None:
        self._clip = clip
        self._seconds = len(clip.samples) / SAMPLE_RATE
        tokens = tokenizer.encode(clip.text)
        self._words = split_words(tokens, tokenizer.decode, spaces=True)
        prefix, _ = tokenizer.prefix("en" if session.info.languages else None, "transcribe", None, timestamps=False)
        first = len(prefix) - 1
        session.runner.encode(clip.samples, 0)
        looks = session.runner.align(0, [*prefix, *tokens, end], first, tokens)
        places = round(self._seconds / TIMESTAMP_SECONDS)
        self._maps = [smoothed(normalised(head[:, :places]))[first:-1] for head in looks.attention]

    def errors(self, heads: Sequence[int]) -> list[float]:
        """Of each word's start, and of its end where another word follows at once, in seconds."""
        rows, places = warp(-np.mean([self._maps[head] for head in heads], axis=0))
        begins = places[np.concatenate([[True], np.diff(rows) > 0])] * TIMESTAMP_SECONDS
        piece = Piece(0.0, self._seconds, self._clip.text, ())
        timings = time_words([self._words], TokenTimings(begins.tolist(), [1.0] * len(begins)))
        (settled,) = settle([piece], timings, self._seconds)
        pairs = list(zip(settled.words, self._clip.words, strict=True))
        found = [abs(word.start - at) for word, (_, at) in pairs if at is not None]
        for (word, (spelt, _)), (_, (_, following)) in pairwise(pairs):
            if spelt[-1].isalpha() and following is not None:
                found.append(abs(word.end - following))
        return found


def open_with_every_head(folder: Path) -> tuple[WhisperSession, list[Head]]:
    """The checkpoint, as if its generation config named all heads."""
    config = read_config(folder)
    heads = list(product(range(config.decoder_layers), range(config.decoder_heads)))
    with tempfile.TemporaryDirectory() as copy:
        for path in folder.iterdir():
            (Path(copy) / path.name).symlink_to(path.resolve())
        generation = Path(copy) / "generation_config.json"
        content = json.loads(generation.read_text()) | {"alignment_heads": heads}
        generation.unlink()
        generation.write_text(json.dumps(content))
        session = load_session(copy, precision="f32", slots=1, word_timestamps=True)
    assert isinstance(session, WhisperSession)
    return session, heads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("texts", type=Path)
    options = parser.parse_args()
    session, heads = open_with_every_head(options.folder)
    config, voice = read_config(options.folder), Voice()
    tokenizer = read_tokenizer(options.folder, config)
    texts = [line for line in options.texts.read_text(encoding="utf-8").splitlines() if line][:31]
    clips = {
        "alone": [make_clip(voice, [text], 0.0, 0.0) for text in texts],
        "late": [make_clip(voice, [text], 1.3, 0.0) for text in texts],
        "pairs": [make_clip(voice, pair, 0.3, 1.0) for pair in pairwise(texts)],
    }
    end = config.tokens.end
    measured = {kind: [Measured(session, tokenizer, end, clip) for clip in made] for kind, made in clips.items()}

    def errors(chosen: Sequence[int]) -> dict[str, NDArray[np.float64]]:
        return {kind: np.concatenate([each.errors(chosen) for each in made]) for kind, made in measured.items()}

    def cost(chosen: Sequence[int]) -> float:
        return sum(float(found.mean() + np.percentile(found, 95)) for found in errors(chosen).values())

    def show(chosen: Sequence[int]) -> None:
        told = {
            kind: "/".join(f"{1000 * value:.0f}" for value in (*np.percentile(found, (50, 95)), found.max()))
            for kind, found in errors(chosen).items()
        }
        print(f"{cost(chosen):.3f}", [list(heads[index]) for index in chosen], told, flush=True)

    best: list[int] = []
    for _ in range(min(MOST, len(heads))):
        best.append(
            min((index for index in range(len(heads)) if index not in best), key=lambda one: cost([*best, one]))
        )
        show(best)


if __name__ == "__main__":
    main()
