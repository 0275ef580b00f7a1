"""Word timestamps of starter-asr against the times of the synthesiser."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray

from antiphon.local import Model
from antiphon.server.app import create_app
from antiphon.settings import Settings
from antiphon.types.results import Transcript
from tests.support.espeak_voice import Voice
from tests.support.held_out import HELD_OUT
from tests.support.service import new_service
from tests.support.sessions import load_session
from tests.support.sounds import encode
from tests.support.starters import STARTER_ASR


def bare(word: str) -> str:
    return re.sub(r"[^a-z']", "", word.lower())


def assert_orderly(transcript: Transcript) -> None:
    """Properties of any transcript with word timestamps."""
    for segment in transcript.segments:
        assert "".join(word.text for word in segment.words) == segment.text
        times = [time for word in segment.words for time in (word.start, word.end)]
        assert times == sorted(times)
        assert all(word.start < word.end for word in segment.words)
        assert segment.start == times[0]
        assert segment.end == times[-1]
        assert all(0.0 < word.probability <= 1.0 for word in segment.words)
    ends = [time for segment in transcript.segments for time in (segment.start, segment.end)]
    assert ends == sorted(ends)
    assert all(0.0 <= time <= transcript.duration for time in ends)
    assert transcript.words == tuple(word for segment in transcript.segments for word in segment.words)


def errors_of(text: str, transcript: Transcript, times: dict[int, float]) -> list[float]:
    """The error of each word's start and end, in seconds; empty if the transcript has other words.

    A word ends where the next one begins, unless there is punctuation, and so a pause, between them.
    """
    expected = [(match.group(), times.get(match.start())) for match in re.finditer(r"\S+", text)]
    transcribed = [word for word in transcript.words if bare(word.text)]
    if [bare(word) for word, _ in expected] != [bare(word.text) for word in transcribed]:
        return []
    errors = [abs(word.start - time) for word, (_, time) in zip(transcribed, expected, strict=True) if time is not None]
    for word, ((spelt, _), (_, following)) in zip(transcribed, pairwise(expected), strict=False):
        if spelt[-1].isalpha() and following is not None:
            errors.append(abs(word.end - following))
    return errors


@pytest.mark.parametrize("timestamps", [False, True], ids=["plain", "timed"])
def test_word_timestamps_match_the_synthesiser(starter: Model, voice: Voice, timestamps: bool) -> None:
    errors = errors_after(starter, voice, 0.0, HELD_OUT[: 10 if timestamps else 31], timestamps=timestamps)
    assert len(errors) > (80 if timestamps else 250)
    assert np.median(errors) < 0.08, np.median(errors)
    assert np.percentile(errors, 95) < 0.25, np.percentile(errors, 95)


def test_first_word_timestamp_is_not_early_after_silence(starter: Model, voice: Voice) -> None:
    """Attention begins at the window's first moment, and the reference's rules leave it two usual words of silence."""
    errors = errors_after(starter, voice, 1.3, HELD_OUT[:16], timestamps=False)
    assert len(errors) > 100
    assert np.median(errors) < 0.08, np.median(errors)
    assert np.percentile(errors, 95) < 0.25, np.percentile(errors, 95)


def errors_after(starter: Model, voice: Voice, lead: float, sentences: list[str], *, timestamps: bool) -> list[float]:
    """Of all the words of `sentences`, each after `lead` seconds of silence."""
    errors: list[float] = []
    for text in sentences:
        samples = np.concatenate([np.zeros(round(lead * 16_000), np.float32), voice.speak(text)])
        transcript = starter.transcribe(samples, language="en", timestamps=timestamps, words=True)
        assert_orderly(transcript)
        errors += errors_of(text, transcript, {place: lead + at for place, at in voice.word_times(text).items()})
    return errors


def several(voice: Voice) -> NDArray[np.float32]:
    """Half a minute and more of sentences, with pauses of half a second between them."""
    pause = np.zeros(8_000, np.float32)
    return np.concatenate([part for text in HELD_OUT[:12] for part in (voice.speak(text), pause)])


def test_word_timestamps_change_nothing_else(starter: Model, voice: Voice) -> None:
    samples = several(voice)
    for timestamps in (False, True):
        plain = starter.transcribe(samples, language="en", timestamps=timestamps)
        worded = starter.transcribe(samples, language="en", timestamps=timestamps, words=True)
        assert_orderly(worded)
        assert worded.text == plain.text
        assert [each.tokens for each in worded.segments] == [each.tokens for each in plain.segments]
        assert [each.seek for each in worded.segments] == [each.seek for each in plain.segments]
        assert plain.words == ()


@pytest.mark.parametrize("level", [0.0, 1e-4])
def test_silence_has_no_word_timestamps(starter: Model, level: float) -> None:
    quiet = (np.random.default_rng(0).standard_normal(5 * 16_000) * level).astype(np.float32)
    assert starter.transcribe(quiet, words=True).words == ()


def test_response_formats_over_http_have_the_same_text(voice: Voice) -> None:
    app = create_app(new_service(load_session(str(STARTER_ASR), precision="f32")), Settings())
    app.state.server.open()
    recording = encode(np.concatenate([voice.speak(text) for text in HELD_OUT[:2]])[None], 16_000)
    answers = []
    with TestClient(app) as client:
        for granularities in ([], ["segment"], ["word"], ["segment", "word"]):
            form = {"response_format": "verbose_json", "language": "en", "timestamp_granularities[]": granularities}
            answer = client.post("/v1/audio/transcriptions", data=form, files={"file": ("a.wav", recording)}).json()
            assert ("words" in answer, "segments" in answer) == (
                "word" in granularities,
                "word" not in granularities or "segment" in granularities,
            )
            answers.append(answer)
    assert len({answer["text"] for answer in answers}) == 1
    assert answers[2]["words"] == answers[3]["words"]
    assert [bare(word["word"]) for word in answers[2]["words"]] == [bare(word) for word in answers[0]["text"].split()]
