"""What a sentence asks of the synthesis pipeline: voices, Kokoro's languages, and sound as it comes back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon.errors import ConfigError, InvalidParameter
from antiphon.genai.pipeline import load
from antiphon.genai.tts import KOKORO_LANGUAGES, kokoro_language
from antiphon.models.folder import inspect
from antiphon.synthesis.voices import OPENAI_VOICES, choose_voice
from antiphon.types.events import AudioChunk, Event, Failed, Sentence, SentenceFinished
from antiphon.types.options import SpeakOptions
from tests.genai.stand_in import StandInRuntime, tts_answer, write_folder, write_voices
from tests.support.service import serving, speak

Opened = tuple[Any, StandInRuntime]


def open_voice(folder: Path, answer: Any, **options: Any) -> Opened:
    runtime = StandInRuntime(answer)
    return load(inspect(folder), name="m", device="CPU", reason="a test", runtime=runtime, **options), runtime


def say(opened: Opened, voice: str, text: str = "Hello.", language: str | None = None) -> list[Event]:
    unit = Sentence(0, text, voice, 0, SpeakOptions(voice, language))
    return list(opened[0].join([unit]) or opened[0].step())


def test_genai_speecht5_has_a_default_voice_without_files(tmp_path: Path) -> None:
    opened = open_voice(write_folder(tmp_path, "speecht5"), tts_answer([0.25, -1.0]))
    info = opened[0].info
    assert (info.family, info.tasks, info.voices, info.openai_voices) == (
        "speecht5",
        ("speak",),
        ("default",),
        ("default",),
    )
    assert (info.sample_rate, info.reads_digits, info.languages) == (16_000, False, ())
    chunk, end = say(opened, "default")
    assert isinstance(chunk, AudioChunk)
    assert chunk.samples.tolist() == [0.25, -1.0]
    assert isinstance(end, SentenceFinished)
    pipeline = opened[1].pipelines[0]
    assert opened[1].opened == [("Text2SpeechPipeline", "CPU", {})]
    assert pipeline.calls == [("a", {}), ("Hello.", {})]  # the first to learn the rate


def test_longest_sentence_of_genai_speecht5_is_from_its_config(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "speecht5")
    assert open_voice(folder, tts_answer())[0].info.longest_sentence is None
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"max_text_positions": 128}))
    assert open_voice(folder, tts_answer())[0].info.longest_sentence == 120


def test_genai_speecht5_voices_are_from_files_and_the_setting(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "speecht5")
    write_voices(folder, "speecht5", "bob", "ada")
    assert open_voice(folder, tts_answer())[0].info.voices == ("ada", "bob")
    (tmp_path / "mine.bin").write_bytes(np.ones(512, "<f4").tobytes())
    opened = open_voice(folder, tts_answer(), speaker=("me", tmp_path / "mine.bin"))
    assert opened[0].info.voices == ("me", "ada", "bob")
    say(opened, "bob")
    text, tensor, named = opened[1].pipelines[0].calls[-1]
    assert (text, named, tensor.shape) == ("Hello.", {}, (1, 512))
    assert np.linalg.norm(tensor) == pytest.approx(1)


def test_samples_are_copied_from_the_pipeline(tmp_path: Path) -> None:
    answer = tts_answer([0.25, -1.0])
    opened = open_voice(write_folder(tmp_path, "speecht5"), answer)
    chunk, _ = say(opened, "default")
    answer.speeches[0].data[:] = 0
    assert chunk.samples.tolist() == [0.25, -1.0]  # type: ignore[union-attr]


def test_empty_audio_is_no_chunk(tmp_path: Path) -> None:
    (end,) = say(open_voice(write_folder(tmp_path, "speecht5"), tts_answer([])), "default")
    assert isinstance(end, SentenceFinished)


def test_unknown_voice_is_refused_by_name(tmp_path: Path) -> None:
    (failed,) = say(open_voice(write_folder(tmp_path, "speecht5"), tts_answer()), "ada")
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, InvalidParameter)
    assert str(failed.error) == "The model has no voice 'ada'; it has default."


def test_kokoro_voices_have_their_languages(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "kokoro")
    write_voices(folder, "kokoro", "bm_fable", "af_heart", "ef_dora", "af_nova")
    opened = open_voice(folder, tts_answer(rate=24_000))
    info = opened[0].info
    assert (info.family, info.sample_rate, info.reads_digits) == ("kokoro", 24_000, True)
    assert info.voices == ("af_heart", "af_nova", "bm_fable", "ef_dora")
    assert info.default_language == "en-us"
    say(opened, "ef_dora", "Hola.")
    say(opened, "ef_dora", "Hello.", language="en-GB")
    calls = opened[1].pipelines[0].calls
    assert [(each[0], each[2]) for each in calls] == [
        ("a", {"language": "en-us", "speed": 1.0}),
        ("Hola.", {"language": "es", "speed": 1.0}),
        ("Hello.", {"language": "en-gb", "speed": 1.0}),
    ]
    assert calls[1][1].shape == (510, 1, 256)
    assert float(calls[1][1].max()) == 3.0  # the third of the files written, in their order


def test_openai_voice_names_are_kokoros_own_if_it_has_them(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "kokoro")
    write_voices(folder, "kokoro", "af_heart", "af_nova", "bm_fable", "am_onyx")
    info = open_voice(folder, tts_answer(rate=24_000))[0].info
    chosen = {name: choose_voice(info, name) for name in OPENAI_VOICES}
    assert (chosen["nova"], chosen["fable"], chosen["onyx"]) == ("af_nova", "bm_fable", "am_onyx")
    assert (chosen["marin"], chosen["alloy"]) == ("af_heart", "af_heart")


def test_kokoro_with_missing_or_invalid_voices_is_an_error(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "kokoro")
    with pytest.raises(ConfigError, match="voices: no voice; copy Kokoro's voices there"):
        open_voice(folder, tts_answer())
    (folder / "voices").mkdir()
    (folder / "voices" / "short.bin").write_bytes(bytes(1024))
    with pytest.raises(
        ConfigError, match=r"short\.bin: 1024 bytes, but a voice of this model is 130560 float32 values"
    ):
        open_voice(folder, tts_answer())
    np.full((510, 1, 256), np.nan, "<f4").tofile(folder / "voices" / "short.bin")
    with pytest.raises(ConfigError, match=r"short\.bin: values that are not finite"):
        open_voice(folder, tts_answer())
    with pytest.raises(ConfigError, match=r"nowhere\.bin: the voice cannot be read"):
        open_voice(folder, tts_answer(), speaker=("me", tmp_path / "nowhere.bin"))


def test_pipeline_that_cannot_speak_is_an_error_at_load(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="opens it on CPU, but cannot speak: no lexicon"):
        open_voice(write_folder(tmp_path, "speecht5"), RuntimeError("Check failed at x.cpp:1:\nno lexicon"))


def test_every_kokoro_voice_prefix_has_a_language() -> None:
    assert [kokoro_language(f"{letter}f_name") for letter in "abefhip"] == [*KOKORO_LANGUAGES.values()]
    assert kokoro_language("jf_alpha") == kokoro_language("me") == "en-us"


@pytest.mark.parametrize(
    ("requested", "read"),
    [
        ("en", "en-us"),
        ("en_GB", "en-gb"),
        ("ES", "es"),
        ("es-MX", "es"),
        ("French", "fr-fr"),
        ("pt", "pt-br"),
        ("hi", "hi"),
    ],
)
def test_requested_language_overrides_that_of_the_kokoro_voice(requested: str, read: str) -> None:
    assert kokoro_language("if_sara", requested) == read


def test_unsupported_kokoro_language_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "kokoro")
    write_voices(folder, "kokoro", "af_heart")
    (failed,) = say(open_voice(folder, tts_answer()), "af_heart", language="de")
    assert isinstance(failed, Failed)
    assert "language 'de' is not one that Kokoro reads; valid: en-us, en-gb, es" in str(failed.error)


def test_sentences_are_in_order_through_the_service(tmp_path: Path) -> None:
    def level(text: str) -> Any:
        return tts_answer([len(text) / 100] * 10)

    opened = open_voice(write_folder(tmp_path, "speecht5"), level)
    with serving(opened[0]) as service:
        samples = speak(service, "First one. The second is longer. Third.", SpeakOptions())
    texts = [calls[0] for calls in opened[1].pipelines[0].calls[1:]]
    assert " ".join(texts) == "First one. The second is longer. Third."
    levels = samples[np.flatnonzero(samples)]  # the pauses between sentences are silence
    assert levels == pytest.approx(np.repeat([len(text) / 100 for text in texts], 10))
