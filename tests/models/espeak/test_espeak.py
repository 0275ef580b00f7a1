"""eSpeak NG as a session, with the real library, which is a wheel."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from antiphon.errors import ConfigError, EngineFailed
from antiphon.models.session import AnySession
from antiphon.types.audio import Samples
from antiphon.types.events import AudioChunk, Failed, Sentence, SentenceFinished
from antiphon.types.options import SpeakOptions
from tests.support.drive_session import speak
from tests.support.sessions import load_session


@pytest.fixture
def session() -> AnySession:
    return load_session("espeak")


def sentence(text: str, voice: str = "en-us") -> Sentence:
    return Sentence(0, text, voice, 0, SpeakOptions())


def say(session: AnySession, unit: Sentence) -> Samples:
    assert session.join([unit]) == []
    *chunks, end = speak(session, [unit])
    assert end == SentenceFinished(unit)
    assert all(isinstance(event, AudioChunk) and event.unit is unit for event in chunks)
    return np.concatenate([np.zeros(0, np.float32), *(event.samples for event in chunks)])


def dominant(samples: Samples, session: AnySession) -> float:
    """The voice's pitch in Hz: the lag, from 70 to 350 Hz, at which it resembles itself most."""
    spectrum = np.abs(np.fft.rfft(samples, 2 * len(samples))) ** 2
    resemblance = np.fft.irfft(spectrum)
    rate = session.info.sample_rate
    lags = np.arange(rate // 350, rate // 70)
    return float(rate / lags[resemblance[lags].argmax()])


def test_espeak_session_info(session: AnySession) -> None:
    info = session.info
    assert (info.name, info.family, info.tasks) == ("espeak", "espeak", ("speak",))
    assert len(info.languages) > 100
    assert info.voices[0] == "en-us"
    assert {"es", "en-gb", "fr-fr", "en-us+m3", "en-us+f2"} <= set(info.voices)
    assert len(info.voices) == len(set(info.voices))
    assert len(info.openai_voices) == 13
    assert set(info.openai_voices) <= set(info.voices)


def test_espeak_audio_length_follows_the_text(session: AnySession) -> None:
    samples = say(session, sentence("The quick brown fox."))
    assert samples.dtype == np.float32
    assert 0.8 < len(samples) / session.info.sample_rate < 2.5
    assert 0.1 < np.abs(samples).max() <= 1.0
    longer = say(session, sentence("The quick brown fox jumped over the lazy dog and ran away."))
    assert len(longer) > 2 * len(samples)


def test_voices_differ_and_a_voice_repeats_itself(session: AnySession) -> None:
    plain, again = (say(session, sentence("Hello there.")) for _ in range(2))
    assert abs(len(plain) - len(again)) < 0.01 * len(plain)  # the synthesiser's oscillators run on between sentences
    pitches = [
        dominant(say(session, sentence("Hello there, how are you today?", voice)), session)
        for voice in ("en-us", "en-us+f5")
    ]
    assert pitches[1] > 1.3 * pitches[0]
    assert abs(len(say(session, sentence("Hello there.", "fr-fr"))) - len(plain)) > 0.02 * len(plain)


def test_every_listed_voice_has_audio(session: AnySession) -> None:
    mute = [voice for voice in session.info.voices if not len(say(session, sentence("1 2 3", voice)))]
    assert mute == []


@pytest.mark.parametrize("text", ["...", "🎉", "   ", "a\0b"])
def test_text_without_words_ends(session: AnySession, text: str) -> None:
    assert np.isfinite(say(session, sentence(text))).all()


def test_sentences_are_first_in_first_out_and_leave_removes_one(session: AnySession) -> None:
    first, second, third = units = [sentence(text) for text in ("one", "two", "three")]
    session.join(units)
    session.leave(second)
    session.leave(second)
    assert [event.unit for event in speak(session, [first, third]) if isinstance(event, SentenceFinished)] == [
        first,
        third,
    ]
    assert session.step() == []


def test_unknown_voice_fails_its_own_sentence(session: AnySession) -> None:
    unknown, known = units = [sentence("hello", "unknown"), sentence("hello")]
    session.join(units)
    failed, *rest = speak(session, units)
    assert isinstance(failed, Failed)
    assert failed.unit is unknown
    assert isinstance(failed.error, EngineFailed)
    assert rest[-1] == SentenceFinished(known)


def test_missing_espeak_wheel_is_an_error_with_the_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ConfigError, match=r"pip install 'antiphon\[espeak\]'"):
        load_session("espeak")


def test_library_is_from_the_wheel(session: AnySession) -> None:
    assert Path(session.info.path).is_file()
