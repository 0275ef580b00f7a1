"""Load an IR folder with a GenAI pipeline: model info, and a one-line error for everything that is wrong."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from antiphon.errors import ConfigError, EngineFailed, RequestError
from antiphon.genai.pipeline import load
from antiphon.genai.runtime import check_device
from antiphon.models.folder import inspect
from antiphon.models.session import AnySession
from antiphon.types.events import Failed, Window, WindowFinished
from tests.genai.stand_in import StandInRuntime, asr_answer, tts_answer, write_folder, write_voices
from tests.support.drive_session import make_unit
from tests.support.tiny_whisper import noise


def open_model(folder: Path, runtime: StandInRuntime, **options: Any) -> AnySession:
    return load(inspect(folder), **({"name": "m", "device": "CPU", "reason": "a test"} | options), runtime=runtime)  # type: ignore[arg-type]


def whisper(tmp_path: Path, answer: Any = None, **options: Any) -> tuple[AnySession, StandInRuntime]:
    runtime = StandInRuntime(answer or asr_answer(), devices=("CPU", "GPU.0", "GPU.1", "NPU"))
    return open_model(write_folder(tmp_path, "whisper"), runtime, **options), runtime


def test_session_info_has_the_reason_for_the_genai_backend(tmp_path: Path) -> None:
    lines: list[str] = []
    session, runtime = whisper(tmp_path, device="gpu.1", reason="--target_device GPU.1", report=lines.append)
    info = session.info
    assert (info.name, info.family, info.backend, info.device) == ("m", "whisper", "genai", "GPU.1")
    assert (info.precision, info.weight_format, session.slots) == ("f16", "int8", 1)
    assert (info.reason, info.languages, info.tasks) == (
        "--target_device GPU.1",
        ("en", "es"),
        ("transcribe", "translate"),
    )
    assert runtime.opened == [("ASRPipeline", "GPU.1", {})]
    assert "by openvino_genai: --target_device GPU.1" in lines[0]
    assert "genai backend on GPU.1, computing in f16, int8 weights, one request at a time" in lines[1]
    assert len(lines) == 2


def test_plugin_config_is_passed_to_the_pipeline(tmp_path: Path) -> None:
    session, runtime = whisper(
        tmp_path, plugin_config={"NUM_STREAMS": "1", "INFERENCE_PRECISION_HINT": "f32"}, cache_dir=tmp_path / "cache"
    )
    properties = {"CACHE_DIR": str(tmp_path / "cache"), "NUM_STREAMS": "1", "INFERENCE_PRECISION_HINT": "f32"}
    assert runtime.opened == [("ASRPipeline", "CPU", properties)]
    assert session.info.precision == "f32"


def test_cache_dir_in_plugin_config_has_priority(tmp_path: Path) -> None:
    _, runtime = whisper(tmp_path, plugin_config={"CACHE_DIR": "there"}, cache_dir=tmp_path / "here")
    assert runtime.opened[0][2] == {"CACHE_DIR": "there"}


def test_whisper_gives_word_timestamps_if_opened_with_them(tmp_path: Path) -> None:
    session, runtime = whisper(tmp_path, word_timestamps=True)
    assert runtime.opened[0][2] == {"word_timestamps": True}
    assert session.info.no_word_times_reason == ""
    session, runtime = whisper(tmp_path)
    assert runtime.opened[0][2] == {}
    assert session.info.no_word_times_reason.endswith(" with enable_word_timestamps")


def test_other_families_give_no_word_timestamps(tmp_path: Path) -> None:
    lines: list[str] = []
    runtime = StandInRuntime()
    folder = write_folder(tmp_path, "qwen3_asr")
    session = load(
        inspect(folder),
        name="m",
        device="CPU",
        reason="a test",
        word_timestamps=True,
        report=lines.append,
        runtime=runtime,
    )
    assert "qwen3_asr does not give word timestamps" in lines[1]
    assert runtime.opened[0][2] == {}
    assert session.info.no_word_times_reason


@pytest.mark.parametrize(
    ("device", "present"),
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
def test_available_devices_are_accepted(device: str, present: tuple[str, ...]) -> None:
    assert check_device(device, present) == device.upper()


@pytest.mark.parametrize(
    ("device", "missing"),
    [
        ("GPU", "GPU"),
        ("GPU.1", "GPU.1"),
        ("AUTO:GPU,CPU", "GPU"),
        ("HETERO:NPU,CPU", "NPU"),
        ("TPU", "TPU"),
        (" ", "such"),
    ],
)
def test_unavailable_device_is_an_error_that_names_it(device: str, missing: str) -> None:
    message = rf"^target_device: {device} is not available, there is no {missing}.* OpenVINO finds CPU"
    with pytest.raises(ConfigError, match=message):
        check_device(device, ("CPU",))


@pytest.mark.parametrize("family", ["whisper", "qwen3_asr", "fun_asr", "speecht5", "kokoro"])
def test_missing_file_is_an_error_with_the_command_that_writes_it(tmp_path: Path, family: str) -> None:
    folder = write_folder(tmp_path, family)
    name = "openvino_model.bin" if family == "kokoro" else "openvino_tokenizer.bin"
    (folder / name).unlink()
    remedy = r"`antiphon export \w+2\w+ --source_model" if family in ("whisper", "speecht5") else "`optimum-cli export"
    with pytest.raises(ConfigError, match=rf"{name}: no such file; .*{remedy}"):
        open_model(folder, StandInRuntime())


def test_kokoro_needs_its_lexicons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MISAKI_DATA_DIR", raising=False)
    folder = write_folder(tmp_path, "kokoro")
    write_voices(folder, "kokoro", "af_heart")
    (folder / "data" / "gb_gold.json").unlink()
    with pytest.raises(
        ConfigError, match=r"data/gb_gold\.json: no such file; Kokoro reads English with misaki's lexicons"
    ):
        open_model(folder, StandInRuntime(tts_answer()))
    monkeypatch.setenv("MISAKI_DATA_DIR", str(tmp_path))
    assert open_model(folder, StandInRuntime(tts_answer())).info.voices == ("af_heart",)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "bert"}, "model_type 'bert' is not served"),
        ({"model_type": "speecht5"}, '"SpeechT5ForTextToSpeech" must be its first'),
        ({"architectures": ["Other", "SpeechT5ForTextToSpeech"]}, '"SpeechT5ForTextToSpeech" must be its first'),
        (
            {"model_type": "speecht5", "architectures": ["Other"]},
            r"'speecht5' with architectures \['Other'\] is not served",
        ),
    ],
)
def test_config_that_no_pipeline_serves_is_an_error(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    folder = write_folder(tmp_path, "whisper", **config)
    with pytest.raises(ConfigError, match=message):
        open_model(folder, StandInRuntime())


def test_graph_that_is_not_xml_is_an_error(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, "whisper")
    (folder / "openvino_decoder_model.xml").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(
        ConfigError, match=r"openvino_decoder_model\.xml: not an OpenVINO graph .* export the model again"
    ):
        open_model(folder, StandInRuntime())


def test_library_error_is_one_line(tmp_path: Path) -> None:
    failure = RuntimeError("Exception from src/core.cpp:132:\nNotFound: Unsupported property FOO by CPU plugin.\n\n")
    with pytest.raises(ConfigError) as caught:
        open_model(write_folder(tmp_path, "whisper"), StandInRuntime(fails=failure), plugin_config={"FOO": 1})
    assert str(caught.value) == (
        f"{tmp_path}: openvino_genai cannot open it on CPU with plugin_config FOO: "
        "NotFound: Unsupported property FOO by CPU plugin."
    )


def test_missing_openvino_genai_is_an_error_with_the_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino_genai", None)
    with pytest.raises(ConfigError, match="install it with `pip install openvino-genai`"):
        load(inspect(write_folder(tmp_path, "whisper")), name="m", device="CPU", reason="a test")


def test_only_one_unit_is_in_flight(tmp_path: Path) -> None:
    session, _ = whisper(tmp_path)
    first, second = (make_unit(noise(1), language="en") for _ in range(2))
    assert session.step() == []
    assert session.join([first]) == []
    with pytest.raises(ValueError, match="only one slot"):
        session.join([second])
    session.leave(second)
    (finished,) = session.step()
    assert isinstance(finished, WindowFinished)
    assert finished.unit is first
    assert session.step() == []


def test_unit_that_left_is_not_transcribed(tmp_path: Path) -> None:
    session, runtime = whisper(tmp_path)
    unit = make_unit(noise(1), language="en")
    session.join([unit])
    session.leave(unit)
    assert session.step() == []
    assert runtime.pipelines[0].calls == []


def test_failure_ends_its_unit_and_reopens_the_pipeline(tmp_path: Path) -> None:
    session, runtime = whisper(tmp_path)
    runtime.pipelines[0].answer = RuntimeError("Exception from src/core.cpp:1:\nthe device is lost\n")
    failed = answer_of(session, make_unit(noise(1), language="en"))
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, EngineFailed)
    assert str(failed.error) == "The engine failed on this request: the device is lost."
    assert isinstance(answer_of(session, make_unit(noise(1), language="en")), WindowFinished)
    assert [len(pipeline.calls) for pipeline in runtime.pipelines] == [1, 1]
    answer_of(session, make_unit(noise(1), language="en"))
    assert len(runtime.pipelines) == 2


def test_pipeline_that_cannot_be_reopened_fails_the_next_unit(tmp_path: Path) -> None:
    session, runtime = whisper(tmp_path)
    runtime.pipelines[0].answer = ValueError("boom")
    answer_of(session, make_unit(noise(1), language="en"))
    runtime.fails = RuntimeError("no device")
    failed = answer_of(session, make_unit(noise(1), language="en"))
    assert isinstance(failed, Failed)
    assert "openvino_genai cannot open it on CPU: no device" in str(failed.error)
    runtime.fails = None
    assert isinstance(answer_of(session, make_unit(noise(1), language="en")), WindowFinished)


def test_unsupported_task_is_refused_before_the_pipeline_runs(tmp_path: Path) -> None:
    runtime = StandInRuntime(asr_answer(), languages=())
    session = open_model(write_folder(tmp_path, "whisper"), runtime)
    assert (session.info.languages, session.info.tasks, session.info.default_language) == ((), ("transcribe",), "en")
    unit = make_unit(noise(1), task="translate")
    (failed,) = session.join([unit])
    assert isinstance(failed, Failed)
    assert isinstance(failed.error, RequestError)
    assert session.step() == []
    assert runtime.pipelines[0].calls == []


def answer_of(session: AnySession, unit: Window) -> object:
    """The one event that a unit ends with."""
    assert session.join([unit]) == []
    (event,) = session.step()
    return event
