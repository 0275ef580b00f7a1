"""From an IR folder to a session over a pipeline: what is said of it, and the one line for each thing that is wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from antiphon.errors import ConfigError, EngineFailed, RequestError
from antiphon.genai.pipeline import load
from antiphon.genai.toolkit import check_device
from antiphon.models.session import AnySession
from antiphon.types.events import Failed, Window, WindowFinished
from tests.genai.stand_in import StandInToolkit, heard, spoken, write_folder, write_voices
from tests.support.drive_session import make_unit
from tests.support.tiny_whisper import noise


def open_model(folder: Path, toolkit: StandInToolkit, **options: Any) -> AnySession:
    return load(folder, **({"name": "m", "device": "CPU", "reason": "a test"} | options), toolkit=toolkit)  # type: ignore[arg-type]


def whisper(tmp_path: Path, answer: Any = None, **options: Any) -> tuple[AnySession, StandInToolkit]:
    toolkit = StandInToolkit(answer or heard(), devices=("CPU", "GPU.0", "GPU.1", "NPU"))
    return open_model(write_folder(tmp_path, "whisper"), toolkit, **options), toolkit


def test_a_folder_becomes_a_session_that_says_why_it_is_not_native(tmp_path: Path) -> None:
    lines: list[str] = []
    session, toolkit = whisper(tmp_path, device="gpu.1", reason="--target_device GPU.1", report=lines.append)
    info = session.info
    assert (info.name, info.family, info.backend, info.device) == ("m", "whisper", "genai", "GPU.1")
    assert (info.precision, info.weight_format, session.slots) == ("f16", "int8", 1)
    assert (info.reason, info.languages, info.tasks) == (
        "--target_device GPU.1",
        ("en", "es"),
        ("transcribe", "translate"),
    )
    assert toolkit.opened == [("ASRPipeline", "GPU.1", {})]
    assert "by openvino_genai: --target_device GPU.1" in lines[0]
    assert "genai backend on GPU.1, computing in f16, int8 weights, one request at a time" in lines[1]
    assert len(lines) == 2


def test_properties_are_passed_on(tmp_path: Path) -> None:
    session, toolkit = whisper(
        tmp_path, plugin_config={"NUM_STREAMS": "1", "INFERENCE_PRECISION_HINT": "f32"}, cache_dir=tmp_path / "cache"
    )
    properties = {"CACHE_DIR": str(tmp_path / "cache"), "NUM_STREAMS": "1", "INFERENCE_PRECISION_HINT": "f32"}
    assert toolkit.opened == [("ASRPipeline", "CPU", properties)]
    assert session.info.precision == "f32"


def test_a_property_stands_before_the_cache_folder(tmp_path: Path) -> None:
    _, toolkit = whisper(tmp_path, plugin_config={"CACHE_DIR": "there"}, cache_dir=tmp_path / "here")
    assert toolkit.opened[0][2] == {"CACHE_DIR": "there"}


def test_a_whisper_gives_words_if_it_was_opened_for_them(tmp_path: Path) -> None:
    session, toolkit = whisper(tmp_path, word_timestamps=True)
    assert toolkit.opened[0][2] == {"word_timestamps": True}
    assert session.info.no_words == ""
    session, toolkit = whisper(tmp_path)
    assert toolkit.opened[0][2] == {}
    assert "--enable_word_timestamps" in session.info.no_words


def test_other_families_give_no_words(tmp_path: Path) -> None:
    lines: list[str] = []
    toolkit = StandInToolkit()
    folder = write_folder(tmp_path, "qwen3_asr")
    session = load(
        folder, name="m", device="CPU", reason="a test", word_timestamps=True, report=lines.append, toolkit=toolkit
    )
    assert "qwen3_asr tells no times of words" in lines[1]
    assert toolkit.opened[0][2] == {}
    assert session.info.no_words


@pytest.mark.parametrize(
    ("asked", "present"),
    [
        ("cpu", ("CPU",)),
        ("GPU", ("CPU", "GPU")),
        ("GPU.0", ("CPU", "GPU")),
        ("GPU", ("CPU", "GPU.0", "GPU.1")),
        ("GPU.1", ("CPU", "GPU.0", "GPU.1")),
        ("NPU", ("CPU", "NPU")),
        ("AUTO", ("CPU",)),
        ("AUTO:GPU,CPU", ("CPU", "GPU")),
        ("AUTO:-GPU", ("CPU",)),
        ("HETERO:GPU.1,CPU", ("CPU", "GPU.0", "GPU.1")),
        ("MULTI:CPU(2),GPU(4)", ("CPU", "GPU")),
        ("BATCH:GPU(8)", ("CPU", "GPU")),
    ],
)
def test_devices_that_are_there(asked: str, present: tuple[str, ...]) -> None:
    assert check_device(asked, present) == asked.upper()


@pytest.mark.parametrize(
    ("asked", "missing"),
    [
        ("GPU", "GPU"),
        ("GPU.1", "GPU.1"),
        ("AUTO:GPU,CPU", "GPU"),
        ("HETERO:NPU,CPU", "NPU"),
        ("TPU", "TPU"),
        (" ", "such"),
    ],
)
def test_devices_that_are_not_there(asked: str, missing: str) -> None:
    with pytest.raises(
        ConfigError, match=f"^target_device: {asked} is not available, there is no {missing}.* OpenVINO finds CPU"
    ):
        check_device(asked, ("CPU",))


@pytest.mark.parametrize("family", ["whisper", "qwen3_asr", "fun_asr", "speecht5", "kokoro"])
def test_a_missing_file_is_named_with_what_makes_it(tmp_path: Path, family: str) -> None:
    folder = write_folder(tmp_path, family)
    name = "openvino_model.bin" if family == "kokoro" else "openvino_tokenizer.bin"
    (folder / name).unlink()
    remedy = r"`antiphon export \w+2\w+ --source_model" if family in ("whisper", "speecht5") else "`optimum-cli export"
    with pytest.raises(ConfigError, match=rf"{name}: no such file; .*{remedy}"):
        open_model(folder, StandInToolkit())


def test_kokoro_needs_its_lexicons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MISAKI_DATA_DIR", raising=False)
    folder = write_folder(tmp_path, "kokoro")
    write_voices(folder, "kokoro", "af_heart")
    (folder / "data" / "gb_gold.json").unlink()
    with pytest.raises(
        ConfigError, match=r"data/gb_gold\.json: no such file; Kokoro reads English by misaki's lexicons"
    ):
        open_model(folder, StandInToolkit(spoken()))
    monkeypatch.setenv("MISAKI_DATA_DIR", str(tmp_path))
    assert open_model(folder, StandInToolkit(spoken())).info.voices == ("af_heart",)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "bert"}, "model_type 'bert' is not one that openvino_genai serves"),
        ({"model_type": "speecht5", "architectures": ["Other"]}, '"SpeechT5ForTextToSpeech" must be its first'),
    ],
)
def test_a_model_no_pipeline_serves(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    folder = write_folder(tmp_path, "whisper", **config)
    with pytest.raises(ConfigError, match=message):
        open_model(folder, StandInToolkit())


def test_a_graph_that_is_none(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "whisper")
    (folder / "openvino_decoder_model.xml").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(
        ConfigError, match=r"openvino_decoder_model\.xml: not an OpenVINO graph .* export the model again"
    ):
        open_model(folder, StandInToolkit())


def test_what_the_library_says_is_told_in_one_line(tmp_path: Path) -> None:
    failure = RuntimeError("Exception from src/core.cpp:132:\nNotFound: Unsupported property FOO by CPU plugin.\n\n")
    with pytest.raises(ConfigError) as caught:
        open_model(write_folder(tmp_path, "whisper"), StandInToolkit(fails=failure), plugin_config={"FOO": 1})
    assert str(caught.value) == (
        f"{tmp_path}: openvino_genai cannot open it on CPU with --plugin_config FOO: "
        "NotFound: Unsupported property FOO by CPU plugin."
    )


def test_the_library_may_be_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino_genai", None)
    with pytest.raises(ConfigError, match="install it with `pip install openvino-genai`"):
        load(write_folder(tmp_path, "whisper"), name="m", device="CPU", reason="a test")


def test_a_recogniser_takes_no_speaker(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds whisper, which does not speak"):
        whisper(tmp_path, speaker=("ada", tmp_path / "ada.bin"))


def test_one_unit_at_a_time(tmp_path: Path) -> None:
    session, _ = whisper(tmp_path)
    first, second = (make_unit(noise(1), language="en") for _ in range(2))
    assert session.step() == []
    assert session.join([first]) == []
    with pytest.raises(ValueError, match="one slot"):
        session.join([second])
    session.leave(second)
    (finished,) = session.step()
    assert isinstance(finished, WindowFinished)
    assert finished.unit is first
    assert session.step() == []


def test_a_unit_that_left_is_not_asked_for(tmp_path: Path) -> None:
    session, toolkit = whisper(tmp_path)
    unit = make_unit(noise(1), language="en")
    session.join([unit])
    session.leave(unit)
    assert session.step() == []
    assert toolkit.pipelines[0].asked == []


def test_a_failure_ends_its_unit_alone_and_the_pipeline_is_opened_again(tmp_path: Path) -> None:
    session, toolkit = whisper(tmp_path)
    toolkit.pipelines[0].answer = RuntimeError("Exception from src/core.cpp:1:\nthe device is lost\n")
    failed = answer_of(session, make_unit(noise(1), language="en"))
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, EngineFailed)
    assert str(failed.error) == "The engine failed on this request: the device is lost."
    assert isinstance(answer_of(session, make_unit(noise(1), language="en")), WindowFinished)
    assert [len(pipeline.asked) for pipeline in toolkit.pipelines] == [1, 1]
    answer_of(session, make_unit(noise(1), language="en"))
    assert len(toolkit.pipelines) == 2


def test_a_pipeline_that_cannot_be_opened_again_fails_the_next_unit_too(tmp_path: Path) -> None:
    session, toolkit = whisper(tmp_path)
    toolkit.pipelines[0].answer = ValueError("boom")
    answer_of(session, make_unit(noise(1), language="en"))
    toolkit.fails = RuntimeError("no device")
    failed = answer_of(session, make_unit(noise(1), language="en"))
    assert isinstance(failed, Failed)
    assert "openvino_genai cannot open it on CPU: no device" in str(failed.error)
    toolkit.fails = None
    assert isinstance(answer_of(session, make_unit(noise(1), language="en")), WindowFinished)


def test_what_a_model_cannot_do_is_refused_before_it_is_asked(tmp_path: Path) -> None:
    toolkit = StandInToolkit(heard(), languages=())
    session = open_model(write_folder(tmp_path, "whisper"), toolkit)
    assert (session.info.languages, session.info.tasks, session.info.default_language) == ((), ("transcribe",), "en")
    unit = make_unit(noise(1), task="translate")
    (failed,) = session.join([unit])
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, RequestError)
    assert session.step() == []
    assert toolkit.pipelines[0].asked == []


def answer_of(session: AnySession, unit: Window) -> object:
    """The one event that a unit ends with."""
    assert session.join([unit]) == []
    (event,) = session.step()
    return event
