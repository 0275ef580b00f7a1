"""The Python API on the fake model."""

from __future__ import annotations

import gc
import io
import subprocess
import sys
import threading
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import antiphon
from antiphon.errors import InvalidAudio, InvalidParameter, Unavailable
from antiphon.local import Model
from antiphon.testing.fake import FakeSession, FakeVoice
from antiphon.types.options import VadOptions


def wav(seconds: float) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(16_000)
        tone = np.sin(np.arange(round(seconds * 16_000)) * 0.3) * 8_000
        out.writeframes(tone.astype("<i2").tobytes())
    return file.getvalue()


def tone(seconds: float) -> NDArray[np.float32]:
    return np.asarray(np.sin(np.arange(round(seconds * 16_000)) * 0.3), np.float32)


def test_files_bytes_and_arrays(tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(wav(2.0))
    with Model(FakeSession()) as model:
        assert model.transcribe(path).text == "audio of 2.00 s"
        assert model.transcribe(str(path)).text == "audio of 2.00 s"
        assert model.transcribe(wav(3.0)).text == "audio of 3.00 s"
        assert model.transcribe(tone(4.0)).text == "audio of 4.00 s"
        assert model.transcribe(tone(8.0)[::2], language="Spanish").language == "es"
        assert model.translate(tone(1.0)).task == "translate"
        assert model.info.name == "fake"
    with pytest.raises(Unavailable):
        model.transcribe(tone(1.0))


def test_word_timestamps_if_requested() -> None:
    with Model(FakeSession()) as model:
        transcript = model.transcribe(tone(2.0), words=True)
        assert [word.text for word in transcript.words] == [" audio", " of", " 2.00", " s"]
        assert transcript.words == transcript.segments[0].words
        assert model.translate(tone(2.0), words=True).words[-1].end == 2.0
        assert model.transcribe(tone(2.0), timestamps=True).words == ()


def test_vad_and_condition_on_previous_text() -> None:
    options_seen = []
    with Model(FakeSession(script=lambda unit: options_seen.append(unit.options))) as model:
        long = np.concatenate([tone(25.0), np.zeros(16_000, np.float32), tone(25.0)])
        assert len(model.transcribe(long, vad="energy").segments) == 2
        assert model.transcribe(long, vad=VadOptions("none"), condition_on_previous_text=True).segments
        assert [options.condition_on_previous_text for options in options_seen] == [False, False, True, True]
        with pytest.raises(InvalidParameter, match="auto, always, energy, none"):
            model.translate(tone(1.0), vad="silero")


def test_speak_returns_samples_and_refuses_other_tasks() -> None:
    with Model(FakeVoice()) as model:
        samples = model.speak("Ten chars.", voice="loud")
        assert (samples.dtype, len(samples)) == (np.float32, round(0.1 * model.info.sample_rate))
        assert set(samples.tolist()) == {0.5}
        with pytest.raises(InvalidParameter, match="empty"):
            model.speak(" ")
        with pytest.raises(InvalidParameter, match="cannot transcribe; it can: speak"):
            model.transcribe(tone(1.0))


@pytest.mark.parametrize(
    ("audio", "fix"),
    [
        (np.zeros((2, 16_000), np.float32), "one channel"),
        (np.zeros(16_000, np.int16), "32768"),
        (np.zeros(16_000, np.float64), "float32"),
        (np.full(16_000, np.nan, np.float32), "finite"),
        (np.zeros(0, np.float32), "no samples"),
        (b"", "empty"),
        ("no/such/file.wav", "no/such/file.wav"),
    ],
)
def test_invalid_audio_is_refused_with_the_fix(audio: Any, fix: str) -> None:
    with Model(FakeSession()) as model, pytest.raises(InvalidAudio, match=fix):
        model.transcribe(audio)


def test_dropped_model_ends_its_thread() -> None:
    def threads() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name == "antiphon-fake"}

    before = threads()
    model = Model(FakeSession())
    model.transcribe(tone(1.0))
    (worker,) = threads() - before
    del model
    gc.collect()
    worker.join(10)
    assert not worker.is_alive()


def test_options_are_checked_before_the_file_is_opened() -> None:
    with Model(FakeSession()) as model:
        with pytest.raises(InvalidParameter, match="temperature"):
            model.transcribe("no/such/file.wav", temperature=2.0)
        with pytest.raises(InvalidParameter, match="valid: en, es"):
            model.translate("no/such/file.wav", language="xx")


@pytest.mark.parametrize("speed", [0.5, 1.25, 4.0])
def test_speed_changes_the_duration_of_speech(speed: float) -> None:
    with Model(FakeVoice()) as model:
        samples = model.speak("This is a sentence of fifty characters, and it is.", speed=speed)
        assert len(samples) / model.info.sample_rate == pytest.approx(0.5 / speed, abs=1e-3)
        with pytest.raises(InvalidParameter, match=r"speed must be from 0\.25 to 4, not 5\."):
            model.speak("Hello.", speed=5.0)


def test_calls_from_many_threads_batch_together() -> None:
    session = FakeSession(slots=8)
    lengths = [20.5 + 0.25 * number for number in range(24)]  # three steps each, so that others can join
    with Model(session) as model, ThreadPoolExecutor(12) as pool:
        texts = list(pool.map(lambda length: model.transcribe(tone(length)).text, lengths))
    assert texts == [f"audio of {length:.2f} s" for length in lengths]
    assert max(session.batches) > 1


def test_public_names() -> None:
    assert sorted(antiphon.__all__) == antiphon.__all__
    assert antiphon.Model is Model
    for name in antiphon.__all__:
        assert getattr(antiphon, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = antiphon.nonsense


def test_importing_is_light() -> None:
    program = (
        "import sys, antiphon; "
        "print(antiphon.__version__, *sorted({'numpy', 'av', 'openvino', 'fastapi'} & sys.modules.keys()))"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split() == [antiphon.__version__]
