"""The genai backend over optimum's export of a SpeechT5, and a graph in Kokoro's shape: the samples that the library gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino_genai
import pytest

from antiphon.errors import ConfigError
from antiphon.genai.pipeline import load
from antiphon.models.folder import inspect
from antiphon.types.audio import Samples
from antiphon.types.events import AudioChunk, Failed, Sentence, SentenceFinished
from antiphon.types.options import SpeakOptions
from tests.oracle.ir_folders import SOUND, export_speecht5, write_kokoro
from tests.support.service import serving, speak
from tests.support.sessions import EXACT_F32

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def speecht5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("genai")
    return export_speecht5(root / "checkpoint", root / "exported")


@pytest.fixture
def kokoro(tmp_path: Path) -> Path:
    return write_kokoro(tmp_path / "kokoro")


def say(session: Any, text: str, voice: str, language: str | None = None) -> Samples:
    unit = Sentence(0, text, voice, 0, SpeakOptions(voice, language))
    assert session.join([unit]) == []
    chunk, end = session.step()
    assert isinstance(chunk, AudioChunk)
    assert isinstance(end, SentenceFinished)
    return chunk.samples


def samples_of(answer: Any) -> Samples:
    return np.array(answer.speeches[0].data, np.float32).reshape(-1)


def test_genai_speecht5_samples_match_the_pipeline(speecht5: Path, tmp_path: Path) -> None:
    values = np.random.default_rng(1).standard_normal(512).astype("<f4")
    values.tofile(tmp_path / "ada.bin")
    pipeline = openvino_genai.Text2SpeechPipeline(speecht5, "CPU")
    plain = load(inspect(speecht5), name="m", device="CPU", reason="a test")
    assert (plain.info.voices, plain.info.sample_rate, plain.info.family) == (("default",), 16_000, "speecht5")
    for text in ("Hello there.", "A much longer sentence, with more letters in it!", "a"):
        assert np.array_equal(say(plain, text, "default"), samples_of(pipeline.generate(text)))
    ada = load(
        inspect(speecht5),
        name="m",
        device="CPU",
        reason="a test",
        plugin_config=EXACT_F32,
        speaker=("ada", tmp_path / "ada.bin"),
    )
    assert ada.info.voices == ("ada",)
    # The model brings a speaker to unit length itself.
    exact = openvino_genai.Text2SpeechPipeline(speecht5, "CPU", **EXACT_F32)
    expected = samples_of(exact.generate("Hello there.", ov.Tensor(values.reshape(1, 512))))
    assert say(ada, "Hello there.", "ada") == pytest.approx(expected, abs=1e-4)


def test_sentence_too_long_fails_alone(speecht5: Path) -> None:
    session = load(inspect(speecht5), name="m", device="CPU", reason="a test")
    expected = say(session, "Hello there.", "default")
    session.join([Sentence(0, "a" * 900, "default", 0, SpeakOptions())])
    (failed,) = session.step()
    assert isinstance(failed, Failed)
    assert "\n" not in str(failed.error)
    assert np.array_equal(say(session, "Hello there.", "default"), expected)


def test_sentences_are_in_order_through_the_service(speecht5: Path) -> None:
    session = load(inspect(speecht5), name="m", device="CPU", reason="a test")
    sentences = ["The first one is here.", "The second one is a little longer than that.", "Then a third one."]
    expected = [say(session, sentence, "default") for sentence in sentences]
    with serving(session) as service:
        samples = speak(service, " ".join(sentences), SpeakOptions())
    assert len(samples) >= sum(map(len, expected))
    found = 0
    for each in expected:
        places = np.flatnonzero(samples[found:] == each[0]) + found
        place = next(at for at in places if np.array_equal(samples[at : at + len(each)], each))
        found = int(place) + len(each)


def test_genai_kokoro_samples_match_the_pipeline(kokoro: Path) -> None:
    session = load(inspect(kokoro), name="m", device="CPU", reason="a test")
    info = session.info
    assert (info.family, info.voices, info.sample_rate) == ("kokoro", ("af_heart", "bm_fable"), 24_000)
    assert info.weight_format == "fp32"
    pipeline = openvino_genai.Text2SpeechPipeline(kokoro, "CPU")
    for voice, language in (("af_heart", "en-us"), ("bm_fable", "en-gb")):
        styles = np.fromfile(kokoro / "voices" / f"{voice}.bin", "<f4").reshape(510, 1, 256)
        expected = samples_of(pipeline.generate("Hello world", ov.Tensor(styles), language=language))
        sound = say(session, "Hello world", voice)
        assert np.array_equal(sound, expected)
        assert len(sound) % SOUND == 0
        assert np.abs(sound).max() > 0.5
    assert not np.array_equal(say(session, "Hello world", "af_heart"), say(session, "Hello world", "bm_fable"))


def test_kokoro_through_the_service(kokoro: Path) -> None:
    with serving(load(inspect(kokoro), name="m", device="CPU", reason="a test")) as service:
        once = speak(service, "Hello world.", SpeakOptions())
        twice = speak(service, "Hello world. Hello world.", SpeakOptions(voice="fable"))
    assert np.abs(once).max() > 0.5
    assert len(twice) >= 2 * len(once) - SOUND


def test_invalid_kokoro_graph_is_a_one_line_error(kokoro: Path) -> None:
    (kokoro / "openvino_model.bin").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"openvino_genai cannot open it on CPU|cannot speak") as caught:
        load(inspect(kokoro), name="m", device="CPU", reason="a test")
    assert "\n" not in str(caught.value)
