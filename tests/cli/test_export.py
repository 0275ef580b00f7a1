"""`antiphon export`: the flags of export_model.py, the repository it writes, and its errors."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

import antiphon.cli.export as command
import tests.support.tiny_speecht5 as tiny_speecht5
from antiphon.__main__ import main
from antiphon.repository.config_json import list_models, read_repository
from antiphon.repository.graph_pbtxt import read_graph
from tests.support.exporting import write_speecht5, write_whisper


class Shell:
    """Runs the command in this process, in its own folder."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._patch, self._caught = monkeypatch, capsys
        self.out = self.err = ""

    def __call__(self, *arguments: str) -> object:
        self._patch.setattr(sys, "argv", ["antiphon", "export", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        self.out, self.err = self._caught.readouterr()
        return ended.value.code


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(monkeypatch, capsys)


def test_commands_of_the_ovms_demo_make_a_repository(shell: Shell) -> None:
    """The commands of the OVMS demo, with the name of the program replaced."""
    write_whisper(Path("checkpoints/openai/whisper-tiny"))
    write_speecht5(Path("checkpoints/speecht5_tts"))
    voice = tiny_speecht5.write_voice(Path("speaker/speaker1.bin"), tiny_speecht5.SHAPE.speaker)
    asr = "--source_model checkpoints/openai/whisper-tiny --weight-format fp16 --model_name openai/whisper-tiny"
    speaking = (
        "--source_model checkpoints/speecht5_tts --weight-format fp16 --model_name microsoft/speecht5_tts "
        "--vocoder checkpoints/speecht5_tts/vocoder --speaker_name speaker1 --speaker_path speaker/speaker1.bin"
    )
    common = "--config_file_path models/config.json --model_repository_path models --overwrite_models"
    assert shell("speech2text", *f"{asr} {common} --enable_word_timestamps".split()) == 0, shell.err
    assert shell("text2speech", *f"{speaking} {common}".split()) == 0, shell.err
    assert list_models(Path("models")) == ("microsoft/speecht5_tts", "openai/whisper-tiny")
    entries = {entry.name: entry for entry in read_repository(Path("models/config.json"))}
    assert set(entries) == {"microsoft/speecht5_tts", "openai/whisper-tiny"}
    written = read_graph(Path("models/openai/whisper-tiny/graph.pbtxt"))
    assert (written.task, written.enable_word_timestamps, written.target_device) == ("speech2text", True, "CPU")
    assert written.plugin_config == {"NUM_STREAMS": "1"}
    spoken = read_graph(Path("models/microsoft/speecht5_tts/graph.pbtxt"))
    assert spoken.voices == (("speaker1", "voices/speaker1.bin"),)
    assert (entries["microsoft/speecht5_tts"].folder / "voices" / "speaker1.bin").read_bytes() == voice.read_bytes()


def test_flags_with_hyphens_reach_the_graph(shell: Shell) -> None:
    write_whisper(Path("whisper"))
    flags = "--source-model whisper --model-repository-path . --model-name here --target-device GPU.1 --num-streams 2"
    assert shell("speech2text", *f"{flags} --ov-cache-dir /tmp/cache --config-file-path config.json".split()) == 0
    graph = read_graph(Path("here/graph.pbtxt"))
    assert graph.target_device == "GPU.1"
    assert graph.plugin_config == {"NUM_STREAMS": "2", "CACHE_DIR": "/tmp/cache"}
    assert not graph.enable_word_timestamps


def test_second_export_keeps_the_weights_and_changes_the_graph(shell: Shell) -> None:
    write_whisper(Path("whisper"))
    flags = [
        "--source_model",
        "whisper",
        "--model_repository_path",
        "models",
        "--config_file_path",
        "models/config.json",
    ]
    assert shell("speech2text", *flags) == 0
    weights = Path("models/whisper/openvino_encoder_model.bin").stat().st_mtime_ns
    config = Path("models/config.json").read_text()
    assert shell("speech2text", *flags, "--enable_word_timestamps") == 0
    assert "there already" in shell.out
    assert Path("models/whisper/openvino_encoder_model.bin").stat().st_mtime_ns == weights
    assert Path("models/config.json").read_text() == config
    assert read_graph(Path("models/whisper/graph.pbtxt")).enable_word_timestamps


def test_name_in_config_moves_to_the_new_folder(shell: Shell) -> None:
    write_whisper(Path("whisper"))
    flags = ["--source_model", "whisper", "--model_name", "asr", "--config_file_path", "config.json"]
    assert shell("speech2text", *flags, "--model_repository_path", "old") == 0
    assert shell("speech2text", *flags, "--model_repository_path", "new") == 0
    (entry,) = read_repository(Path("config.json"))
    assert entry.folder == Path("new/asr").resolve()


def test_hub_source_is_pulled_to_a_temporary_folder(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    write_speecht5(Path("hub/microsoft/speecht5_tts"))
    pulls = []

    def pull(source: str, repository: Path, *, vocoder: str | None, into: Path, **_: object) -> Path:
        pulls.append((source, vocoder))
        shutil.copytree(Path("hub") / source, into)
        return into

    monkeypatch.setattr(command, "pull", pull)
    flags = [
        "--source_model",
        "microsoft/speecht5_tts",
        "--vocoder",
        "some/hifigan",
        "--model_repository_path",
        "models",
    ]
    assert shell("text2speech", *flags) == 0, shell.err
    assert pulls == [("microsoft/speecht5_tts", "some/hifigan")]
    assert [path.name for path in Path("models/microsoft").iterdir()] == ["speecht5_tts"]
    assert Path("models/microsoft/speecht5_tts/openvino_vocoder.xml").is_file()
    assert shell("text2speech", *flags) == 0, shell.err
    assert len(pulls) == 1  # what is there already needs no source


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("speech2text --source_model whisper --vocoder hifigan", "--vocoder: it is for text2speech"),
        ("speech2text --source_model whisper --model_type speecht5", "--model_type: it is for text2speech"),
        (
            "text2speech --source_model whisper --enable_word_timestamps",
            "--enable_word_timestamps: it is for speech2text",
        ),
        ("text2speech --source_model whisper", "a whisper model is for speech2text"),
        ("text2speech --source_model whisper --quant-mode int8", "--quant-mode: it is for speech2text"),
        ("speech2text --source_model whisper --calibration talks", "--calibration: it is for quant_mode int8"),
        ("text2speech --source_model x --model_type kokoro", "--model_type: kokoro is not exported"),
        ("text2speech --source_model espeak", "--source_model: espeak has no weights to export"),
        ("speech2text --source_model elsewhere", "elsewhere: holds no model; looked for config.json"),
        ("speech2text --source_model /no/such", "--source_model: /no/such: no such folder."),
        ("text2speech --source_model whisper --vocoder /no/such", "--vocoder: /no/such: no such folder."),
        (
            "text2speech --source_model x --speaker_name me",
            "--speaker_path: it is missing, and belongs together with speaker_name",
        ),
    ],
)
def test_invalid_combination_is_a_one_line_error(shell: Shell, arguments: str, complaint: str) -> None:
    write_whisper(Path("whisper"))
    Path("elsewhere").mkdir()
    assert shell(*arguments.split()) == 2
    assert shell.err.startswith("antiphon: ")
    assert complaint in shell.err
    assert shell.err.count("\n") == 1
    assert not Path("models").exists()


@pytest.mark.parametrize(
    "arguments", ["", "sing --source_model x", "speech2text", "speech2text --source_model x --weight-format int4"]
)
def test_wrong_usage_ends_with_2(shell: Shell, arguments: str) -> None:
    assert shell(*arguments.split()) == 2
    assert "Traceback" not in shell.err


def test_flag_without_effect_is_reported(shell: Shell) -> None:
    write_whisper(Path("whisper"))
    assert shell("speech2text", "--source_model", "whisper", "--extra_quantization_params", "--awq") == 0
    assert "has no effect" in shell.err
    assert json.loads(Path("config.json").read_text())["model_config_list"][0]["config"]["name"] == "whisper"


def test_quantising_without_nncf_names_the_extra_to_install(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whisper(Path("whisper"))
    monkeypatch.setitem(sys.modules, "nncf", None)
    assert shell("speech2text", "--source_model", "whisper", "--quant_mode", "int8") == 2
    assert shell.err == "antiphon: --quant_mode: int8 needs NNCF: pip install 'antiphon[quantize]'.\n"
    assert not Path("models").exists()


@pytest.mark.parametrize("name", ["../elsewhere", "/elsewhere", "a/../../b"])
def test_export_stays_inside_its_repository(shell: Shell, name: str) -> None:
    write_whisper(Path("checkpoint"))
    assert shell("speech2text", "--source_model", "checkpoint", "--model_name", name) == 2
    assert shell.err.startswith(f"antiphon: --model_name: {name} is outside of model_repository_path")
    assert not Path("../elsewhere").exists()


def test_missing_folder_is_not_looked_up_on_the_hub(shell: Shell) -> None:
    assert shell("speech2text", "--source_model", "./nowhere") == 2
    assert shell.err == "antiphon: --source_model: ./nowhere: no such folder.\n"
