"""The built-in starter on speech that was not in its training: the whole path on real audio, without PyTorch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from voice import Voice

import antiphon
from antiphon.local import Model

FOX = "The quick brown fox jumped over the lazy dog."
# Kept out of training by the recipe, which checks it.
HELD_OUT = (Path(__file__).parent.parent / "training" / "starter_asr" / "heldout.txt").read_text().splitlines()[:31]
Samples = NDArray[np.float32]


@pytest.fixture(scope="module")
def voice() -> Voice:
    return Voice()


@pytest.fixture(scope="module")
def starter() -> Iterator[Model]:
    with antiphon.load("starter-asr") as model:
        yield model


def words(text: str) -> list[str]:
    return re.sub(r"[^a-z' ]", "", text.lower()).split()


def word_errors(expected: str, heard: str) -> int:
    """Substitutions, insertions and deletions between two texts (Levenshtein over words)."""
    row = list(range(len(words(heard)) + 1))
    for i, spoken in enumerate(words(expected), 1):
        before, row[0] = row[0], i
        for j, said in enumerate(words(heard), 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (spoken != said))
    return row[-1]


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * 16_000), np.float32)


def test_the_fox(starter: Model, voice: Voice) -> None:
    assert words(starter.transcribe(voice.speak(FOX)).text) == words(FOX)


def test_held_out_sentences(starter: Model, voice: Voice) -> None:
    """At most 10 % of the words of thirty-one sentences it never heard are wrong."""
    heard = [(text, starter.transcribe(voice.speak(text)).text) for text in HELD_OUT]
    errors = sum(word_errors(*pair) for pair in heard)
    total = sum(len(words(text)) for text in HELD_OUT)
    wrong = "\n".join(f"{text} -> {said}" for text, said in heard if words(text) != words(said))
    assert errors <= 0.1 * total, f"{errors} of {total} words wrong:\n{wrong}"


def test_word_errors_counts() -> None:
    assert word_errors("a b c", "a b c") == 0
    assert word_errors("a b c", "a x c d") == 2
    assert word_errors("a b c", "") == 3


def test_long_audio_is_its_windows(starter: Model, voice: Voice) -> None:
    """Cut in pauses, a long file says what its sentences say alone: no word lost or doubled at a cut."""
    sentences = HELD_OUT[:12]
    spoken = [voice.speak(text) for text in sentences]
    long = np.concatenate([part for clip in spoken for part in (clip, silence(0.6))])
    assert len(long) > 40 * 16_000
    transcript = starter.transcribe(long)
    assert transcript.duration == pytest.approx(len(long) / 16_000)
    assert len({segment.seek for segment in transcript.segments}) >= 2
    # Every window's tokens are those of the window by itself.
    bounds = [segment.seek * 160 for segment in transcript.segments] + [len(long)]
    for segment, start, end in zip(transcript.segments, bounds, bounds[1:], strict=False):
        alone = starter.transcribe(long[start:end])
        assert [part.tokens for part in alone.segments] == [segment.tokens]
    total = sum(len(words(text)) for text in sentences)
    assert abs(len(words(transcript.text)) - total) <= 0.1 * total
    assert word_errors(" ".join(sentences), transcript.text) <= 0.2 * total


@pytest.mark.parametrize("level", [0.0, 1e-4])
def test_silence_gives_no_words(starter: Model, level: float) -> None:
    quiet = (np.random.default_rng(0).standard_normal(5 * 16_000) * level).astype(np.float32)
    assert starter.transcribe(quiet).text == ""


def test_many_callers_each_get_their_own(starter: Model, voice: Voice) -> None:
    from concurrent.futures import ThreadPoolExecutor

    clips = [voice.speak(text) for text in HELD_OUT[:6]]
    alone = [starter.transcribe(clip).text for clip in clips]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda clip: starter.transcribe(clip).text, clips)) == alone
