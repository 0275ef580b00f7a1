"""What a window asks of the recognition pipeline, and what becomes of its answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon.errors import InvalidParameter
from antiphon.genai.pipeline import load
from antiphon.models.folder import inspect
from antiphon.types.audio import SAMPLE_RATE
from antiphon.types.events import Failed, Window, WindowFinished
from antiphon.types.options import TranscribeOptions, VadOptions
from antiphon.types.results import WindowResult, Word
from tests.genai.stand_in import END, StandInRuntime, asr_answer, write_folder
from tests.support.drive_session import make_unit
from tests.support.service import serving, transcribe
from tests.support.tiny_whisper import noise

Opened = tuple[Any, StandInRuntime]


def open_family(tmp_path: Path, family: str, answer: Any, **config: object) -> Opened:
    runtime = StandInRuntime(answer)
    folder = write_folder(tmp_path, family, **config)
    return load(inspect(folder), name="m", device="CPU", reason="a test", runtime=runtime), runtime


def result_of(opened: Opened, unit: Window) -> WindowResult:
    session, _ = opened
    assert session.join([unit]) == []
    (event,) = session.step()
    assert isinstance(event, WindowFinished)
    return event.result


def arguments_of(opened: Opened, unit: Window) -> dict[str, Any]:
    result_of(opened, unit)
    return dict(opened[1].pipelines[-1].calls[-1][1])


def refused(opened: Opened, unit: Window) -> str:
    (event,) = opened[0].join([unit])
    assert isinstance(event, Failed)
    assert isinstance(event.error, InvalidParameter)
    return str(event.error.param)


def test_options_reach_the_whisper_pipeline(tmp_path: Path) -> None:
    opened = open_family(tmp_path, "whisper", asr_answer())
    arguments = arguments_of(
        opened, make_unit(noise(1), language="es", task="translate", max_new_tokens=7, min_new_tokens=9)
    )
    assert arguments == {
        "language": "<|es|>",
        "task": "translate",
        "return_timestamps": False,
        "max_new_tokens": 7,
        "min_new_tokens": 7,
        "do_sample": False,
    }


def test_language_is_not_forced_but_detected_if_none_is_given(tmp_path: Path) -> None:
    opened = open_family(tmp_path, "whisper", asr_answer(language="<|es|>"))
    unit = make_unit(noise(1))
    assert result_of(opened, unit).language == "es"
    assert "language" not in arguments_of(opened, unit)


def test_max_new_tokens_defaults_to_half_of_the_positions(tmp_path: Path) -> None:
    opened = open_family(tmp_path, "whisper", asr_answer())
    assert arguments_of(opened, make_unit(noise(1)))["max_new_tokens"] == 224
    assert arguments_of(opened, make_unit(noise(1), max_new_tokens=2000))["max_new_tokens"] == 448 - 5


def test_sampling_is_seeded_by_request_and_window(tmp_path: Path) -> None:
    opened = open_family(tmp_path, "whisper", asr_answer())
    drawn = [
        arguments_of(opened, make_unit(noise(1), temperature=0.7, seed=seed, start=start))
        for seed, start in ((1, 0), (1, 0), (2, 0), (1, 5))
    ]
    assert all(arguments["do_sample"] and arguments["temperature"] == 0.7 for arguments in drawn)
    seeds = [arguments["rng_seed"] for arguments in drawn]
    assert seeds[0] == seeds[1]
    assert len(set(seeds)) == 3


def test_prompt_is_passed_as_plain_text(tmp_path: Path) -> None:
    opened = open_family(tmp_path, "whisper", asr_answer())
    arguments = arguments_of(opened, make_unit(noise(1), prompt=" Ada <|translate|> \ud800 ", max_new_tokens=2000))
    assert arguments["initial_prompt"] == "Ada < |translate|> ?"
    assert arguments["max_new_tokens"] == 448 - 5 - len(" Ada < |translate|> ?")
    assert "initial_prompt" not in arguments_of(opened, make_unit(noise(1), prompt="  "))


def test_long_prompt_keeps_its_newest_tokens(tmp_path: Path) -> None:
    opened = open_family(tmp_path, "whisper", asr_answer())
    prompt = "".join(chr(0x4E00 + index) for index in range(500))
    assert arguments_of(opened, make_unit(noise(1), prompt=prompt))["initial_prompt"] == prompt[-223:]


def test_short_audio_is_padded_and_passed_as_a_list(tmp_path: Path) -> None:
    opened = open_family(tmp_path, "whisper", asr_answer())
    result = result_of(opened, make_unit(noise(0.01)))
    samples = opened[1].pipelines[-1].calls[-1][0]
    assert isinstance(samples, list)
    assert len(samples) == SAMPLE_RATE // 2
    assert np.array_equal(np.array(samples[:160], np.float32), noise(0.01))
    assert not any(samples[160:])
    assert (result.pieces[0].end, result.resume) == (0.01, 0.01)


def test_window_without_timestamps_is_one_piece(tmp_path: Path) -> None:
    result = result_of(open_family(tmp_path, "whisper", asr_answer(" Ay!")), make_unit(noise(2), temperature=0.5))
    (piece,) = result.pieces
    assert (piece.start, piece.end, piece.text, piece.tokens) == (0.0, 2.0, " Ay!", tuple(map(ord, " Ay!")))
    assert (result.tokens, result.resume, result.temperature) == (piece.tokens, 2.0, 0.5)
    assert END not in result.tokens


def test_silence_has_no_pieces(tmp_path: Path) -> None:
    result = result_of(open_family(tmp_path, "whisper", asr_answer(" ")), make_unit(noise(2)))
    assert (result.pieces, result.tokens, result.resume) == ((), (), 2.0)


@pytest.mark.parametrize(
    ("chunks", "spans", "resume"),
    [
        ([(0.0, 1.5000001, " a"), (1.5, 2.5, " b")], [(0.0, 1.5), (1.5, 2.5)], 2.5),
        ([(0.0, 1.5, " a"), (1.5, -1.0, " b")], [(0.0, 1.5), (1.5, 3.0)], 3.0),
        ([(0.0, 2.0, " a"), (2.0, 4.0, " b"), (4.0, 9.0, " c")], [(0.0, 2.0), (2.0, 3.0)], 3.0),
        ([(0.5, 9.0, " a")], [(0.5, 3.0)], 3.0),
        ([(7.0, 9.0, " a")], [(0.0, 3.0)], 3.0),
        ([(0.0, 2.0, " a"), (2.0, 2.5, " ")], [(0.0, 2.0)], 2.5),
        ([], [], 3.0),
    ],
)
def test_segments_become_pieces_inside_the_window(
    tmp_path: Path, chunks: list[tuple[float, float, str]], spans: list[tuple[float, float]], resume: float
) -> None:
    opened = open_family(tmp_path, "whisper", asr_answer(chunks=chunks))
    result = result_of(opened, make_unit(noise(3), timestamps=True))
    assert [(piece.start, piece.end) for piece in result.pieces] == spans
    assert result.resume == resume


def test_timestamps_stop_the_pipeline_after_one_pass(tmp_path: Path) -> None:
    opened = open_family(tmp_path, "whisper", asr_answer(chunks=[]))
    arguments = arguments_of(opened, make_unit(noise(3), timestamps=True))
    assert arguments["return_timestamps"]
    assert arguments["streamer"].stop
    assert "streamer" not in arguments_of(open_family(tmp_path / "other", "whisper", asr_answer()), make_unit(noise(3)))


CHUNKS = [(0.0, 1.2, " a b."), (2.0, 2.9, " c")]
TIMED = [(0.1000001, 0.5, " a"), (0.5, 1.0, " b."), (2.1, 9.0, " c"), (9.0, 9.9, " made"), (9.9, 9.9, " up")]


def test_word_timestamps_are_grouped_by_segment(tmp_path: Path) -> None:
    opened = open_family(tmp_path, "whisper", asr_answer(chunks=[*CHUNKS, (2.9, 3.0, " made up")], words=TIMED))
    opened[1].first_text = " a b. c"  # after which the pipeline went on into the silence
    unit = make_unit(noise(3), timestamps=True, words=True)
    result = result_of(opened, unit)
    assert [piece.text for piece in result.pieces] == [" a b.", " c"]
    assert result.pieces[0].words == (Word(" a", 0.1, 0.5, 0.0), Word(" b.", 0.5, 1.0, 0.0))
    assert result.pieces[1].words == (Word(" c", 2.1, 3.0, 0.0),)
    assert result.resume == 2.9
    arguments = arguments_of(opened, unit)
    assert arguments["word_timestamps"]
    assert not arguments["streamer"].stop


def test_word_timestamps_without_segments(tmp_path: Path) -> None:
    opened = open_family(tmp_path, "whisper", asr_answer(" a b.", words=TIMED[:2]))
    (piece,) = result_of(opened, make_unit(noise(3), words=True)).pieces
    assert [word.text for word in piece.words] == [" a", " b."]
    (bare,) = result_of(opened, make_unit(noise(3))).pieces
    assert bare.words == ()
    assert "word_timestamps" not in arguments_of(opened, make_unit(noise(3)))


def test_multilingual_whisper_must_list_its_languages(tmp_path: Path) -> None:
    runtime = StandInRuntime(asr_answer())
    runtime._languages = ("en",)
    original = runtime.pipeline

    def without_ids(*given: Any) -> Any:
        pipeline = original(*given)
        pipeline.get_generation_config().lang_to_id = {}
        return pipeline

    runtime.pipeline = without_ids  # type: ignore[method-assign]
    with pytest.raises(Exception, match=r"generation_config\.json: multilingual, but without lang_to_id"):
        load(inspect(write_folder(tmp_path, "whisper")), name="m", device="CPU", reason="a test", runtime=runtime)


def test_qwen_gets_language_names_and_the_prompt_as_context(tmp_path: Path) -> None:
    opened = open_family(tmp_path, "qwen3_asr", asr_answer("Hola.", "Spanish"))
    assert opened[0].info.languages[:3] == ("zh", "en", "yue")
    assert len(opened[0].info.languages) == 30
    assert (opened[0].info.family, opened[0].info.tasks) == ("qwen3_asr", ("transcribe",))
    arguments = arguments_of(opened, make_unit(noise(1), language="tl", prompt="names: Ada <|im_end|>"))
    assert arguments == {
        "language": "Filipino",
        "context": "names: Ada < |im_end|>",
        "max_new_tokens": 512,
        "do_sample": False,
    }


def test_languages_of_qwen_are_from_its_config(tmp_path: Path) -> None:
    opened = open_family(tmp_path, "qwen3_asr", asr_answer("x"), support_languages=["Chinese", "Klingon"])
    assert (opened[0].info.languages, opened[0].info.default_language) == (("zh",), "zh")


def test_language_model_window_is_one_piece_for_any_options(tmp_path: Path) -> None:
    opened = open_family(tmp_path, "qwen3_asr", asr_answer(" Hola. ", "Spanish"))
    result = result_of(opened, make_unit(noise(2), timestamps=True))
    (piece,) = result.pieces
    assert (piece.start, piece.end, piece.text) == (0.0, 2.0, " Hola.")
    assert (result.language, result.resume) == ("es", 2.0)
    assert "streamer" not in opened[1].pipelines[-1].calls[-1][1]


@pytest.mark.parametrize(
    ("answer_text", "text"), [("你好", "你好"), ("สวัสดี", "สวัสดี"), ("hello", " hello"), ("여보", " 여보")]
)
def test_text_begins_with_a_space_in_scripts_with_spaces(tmp_path: Path, answer_text: str, text: str) -> None:
    result = result_of(open_family(tmp_path, "qwen3_asr", asr_answer(answer_text, "")), make_unit(noise(1)))
    assert result.pieces[0].text == text
    assert result.language == "en"  # no language was given: the default


def test_unsupported_option_of_a_genai_family_is_refused_by_name(tmp_path: Path) -> None:
    qwen = open_family(tmp_path / "qwen", "qwen3_asr", asr_answer())
    fun = open_family(tmp_path / "fun", "fun_asr", asr_answer())
    whisper = open_family(tmp_path / "whisper", "whisper", asr_answer())
    assert refused(qwen, make_unit(noise(1), task="translate")) == "model"
    assert refused(qwen, make_unit(noise(1), language="eu")) == "language"
    assert refused(whisper, make_unit(noise(1), language="fr")) == "language"
    assert refused(fun, make_unit(noise(1), prompt="names: Ada")) == "prompt"
    assert fun[0].info.languages == ()
    assert arguments_of(fun, make_unit(noise(1))) == {"max_new_tokens": 512, "do_sample": False}


def test_long_file_is_transcribed_completely_by_the_service(tmp_path: Path) -> None:
    def lengths(samples: list[float]) -> Any:
        return asr_answer(f" {len(samples)}", chunks=[(0.0, len(samples) / SAMPLE_RATE, f" {len(samples)}")])

    session, runtime = open_family(tmp_path, "whisper", lengths)
    with serving(session) as service:
        options = TranscribeOptions(language="en", vad=VadOptions("energy"))
        transcript = transcribe(service, noise(70), options)
    heard_lengths = [len(arguments[0]) for arguments in runtime.pipelines[0].calls]
    assert len(heard_lengths) >= 3
    assert max(heard_lengths) <= 30 * SAMPLE_RATE
    assert transcript.text == " ".join(map(str, heard_lengths))
    assert transcript.segments[-1].end == pytest.approx(70, abs=0.1)
