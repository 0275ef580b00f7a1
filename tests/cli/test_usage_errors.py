"""Errors of the command line: one line that names the flag as typed, or the environment variable, and exit code 2."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from antiphon.__main__ import main
from antiphon.cli.usage_errors import describe
from antiphon.errors import AntiphonError, ConfigError, EngineFailed, InvalidParameter
from antiphon.settings import Settings
from tests.support.starters import STARTER_ASR, STARTER_TTS

# Words of pydantic, typer and Python that must not appear in an error.
FOREIGN_WORDS = ("Value error", "Input should", "unable to parse", "Invalid value", "''", "Traceback", "..")


def error_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that fails with exit code 2 and return its line on stderr."""
    monkeypatch.setattr(sys, "argv", ["antiphon", *arguments])
    monkeypatch.setenv("ANTIPHON_REST_BIND_ADDRESS", "127.0.0.1")  # elsewhere the line with the API key comes first
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.startswith("antiphon: ")
    assert err.count("\n") == 1
    return err.removeprefix("antiphon: ").strip()


def wrong_values() -> list[tuple[str, ...]]:
    """An invalid value for each setting that is not free text."""
    any_text = (str, str | None, Path | None)
    names = [name for name, field in Settings.model_fields.items() if field.annotation not in any_text]
    return [
        (f"--{name}=q",) for name in names if not name.endswith("_config")
    ]  # two take a path in older releases of OVMS


@pytest.mark.parametrize(
    "arguments",
    [
        *wrong_values(),
        ("--rest_port", "65536"),
        ("--slots", "0"),
        ("--slots", "1025"),
        ("--slots", "1.5"),
        ("--num-streams", "0"),
        ("--max_audio_seconds", "0"),
        ("--request_timeout", "-1"),
        ("--request-timeout", "nan"),
        ("--plugin_config", "q"),
        ("transcribe", "x", "--vad", "q"),
        ("transcribe", "x", "--precision", "q"),
        ("transcribe", "x", "--weight_format", "q"),
        ("transcribe", "x", "--weight-format", "q"),
        ("transcribe", "x", "--format", "q"),
        ("transcribe", "x", "--temperature", "q"),
        ("translate", "x", "--temperature=q"),
        ("speak", "x", "--speed", "q"),
        ("speak", "x", "--seed", "q"),
        ("speak", "x", "--precision", "q"),
        ("export", "speech2text", "--source_model", "x", "--quant-mode", "q"),
        ("export", "speech2text", "--source_model", "x", "--quant_mode", "q"),
        ("export", "speech2text", "--source_model", "x", "--weight-format", "int4"),
        ("export", "speech2text", "--source_model", "x", "--num_streams", "-1"),
        ("export", "text2speech", "--source_model", "x", "--model_type", "q"),
        ("bench", "--clients", "0"),
        ("bench", "--rate", "-1"),
        ("bench", "--requests", "q"),
        ("bench", "--seconds", "-1"),
        ("bench", "--timeout", "0"),
        ("bench", "--seed", "-1"),
        ("bench", "--slots", "0"),
        ("bench", "--audio_context", "q"),
        ("bench", "--weight-format", "q"),
        ("pull", "x", "--task", "q"),
    ],
    ids=" ".join,
)
def test_invalid_value_names_the_flag_as_typed_and_the_valid_values(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    line = error_of(monkeypatch, capsys, *arguments)
    flag, _, value = "=".join(arguments).rpartition("--")[2].partition("=")
    assert re.match(rf"--{flag}: it must be .*, not '?{value}(\.0)?'?\.", line)
    assert not [words for words in FOREIGN_WORDS if words in line]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ("--vad=loud", "--vad: it must be one of auto, always, energy, none, not 'loud'. See antiphon serve --help."),
        ("--slots 0", "--slots: it must be greater than or equal to 1, not 0."),
        (
            "--audio-context half",
            "--audio-context: it must be one of full, auto, not 'half'. See antiphon serve --help.",
        ),
        ("--rest_workers 1", "--rest_workers: count should be from 2 to 10000, not 1."),
        ("--model_path /no/such", "--model_path: /no/such: no such folder, and not in the catalogue"),
        ("--model-path=/no/such", "--model-path: /no/such: no such folder, and not in the catalogue"),
        ("transcribe {file} --model /no/such", "--model: /no/such: no such folder, and not in the catalogue"),
        ("transcribe x --model espeak", "There is no file x."),
        ("transcribe {file}", "whisper-base is not in "),
        ("translate {file}", "whisper-base is not in "),
        ("bench transcribe", "whisper-base is not in "),
        ("transcribe {file} --model base", "whisper-base is not in "),
        ("transcribe {file} --model espeak", "--model: The model 'espeak' cannot transcribe; it can: speak."),
        (
            "transcribe {file} --device XPU --model {asr}",
            "--device: XPU is not available, there is no XPU here; OpenVINO finds ",
        ),
        (
            "transcribe {file} --target-device=XPU --model {asr}",
            "--target-device: XPU is not available, there is no XPU here; ",
        ),
        ("speak x -o {out} --speed 9", "--speed: speed must be from 0.25 to 4, not 9."),
        ("speak x -o {out} --model {tts} --vocoder /no/such", "--vocoder: /no/such: no such folder; "),
        ("export text2speech --source-model /no/such", "--source-model: /no/such: no such folder."),
        ("export sing --source-model x", "TASK: it must be one of speech2text, text2speech, not 'sing'. See "),
        ("export", "Missing argument 'TASK'. Choose from: speech2text, text2speech. See antiphon export --help."),
        ("export speech2text --source_model x --quant_mode q", "--quant_mode: it must be int8, not 'q'. See "),
        (
            "bench dance",
            "[transcribe|speak|wer]: it must be one of transcribe, speak, wer, not 'dance'. See antiphon bench --help.",
        ),
        ("--rest_port", "Option '--rest_port' requires an argument. See antiphon --help."),
        ("--no_such_flag 1", "No such option: --no_such_flag. See antiphon serve --help."),
    ],
)
def test_whole_error_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: str, line: str
) -> None:
    monkeypatch.setenv("ANTIPHON_REST_PORT", "0")
    filled = arguments.format(file=__file__, out=tmp_path / "out.wav", asr=STARTER_ASR, tts=STARTER_TTS)
    assert error_of(monkeypatch, capsys, *filled.split()).startswith(line)


@pytest.mark.parametrize(
    ("variable", "value", "arguments", "line"),
    [
        ("ANTIPHON_SLOTS", "many", "serve", "ANTIPHON_SLOTS: it must be a valid integer, not 'many'."),
        ("antiphon_slots", "0", "", "antiphon_slots: it must be greater than or equal to 1, not '0'."),
        (
            "ANTIPHON_VAD",
            "loud",
            "models",
            "ANTIPHON_VAD: it must be 'auto', 'always', 'energy' or 'none', not 'loud'.",
        ),
        ("ANTIPHON_SLOTS", "4", "serve --slots 0", "--slots: it must be greater than or equal to 1, not 0."),
        (
            "ANTIPHON_MODEL_PATH",
            "/no/such",
            "serve",
            "ANTIPHON_MODEL_PATH: /no/such: no such folder, and not in the catalogue",
        ),
        (
            "ANTIPHON_MODEL_PATH",
            "x",
            "transcribe {file} --model /no/such",
            "--model: /no/such: no such folder, and not in the catalogue",
        ),
        (
            "OVMS_MODEL_REPOSITORY_PATH",
            "/no",
            "serve --list_models",
            "OVMS_MODEL_REPOSITORY_PATH: /no: no such folder; ",
        ),
    ],
)
def test_value_of_an_environment_variable_names_the_variable(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variable: str,
    value: str,
    arguments: str,
    line: str,
) -> None:
    monkeypatch.setenv("ANTIPHON_REST_PORT", "0")
    monkeypatch.setenv(variable, value)
    filled = arguments.format(file=__file__).split() or ["--log_level", "INFO"]
    assert error_of(monkeypatch, capsys, *filled).startswith(line)


@pytest.mark.parametrize(
    ("error", "arguments", "line"),
    [
        (ConfigError("is wrong.", setting="slots"), ["serve"], "--slots: is wrong."),
        (ConfigError("is wrong.", setting="rest_port"), ["serve", "--rest-port=1"], "--rest-port: is wrong."),
        (ConfigError("is wrong.", setting="slots"), ["bench", "--", "--slots"], "--slots: is wrong."),
        (ConfigError("is wrong.", setting="output"), ["speak", "x", "-o", "y"], "-o: is wrong."),
        (
            ConfigError("is wrong.", setting="model_path"),
            ["export", "--source-model", "y"],
            "--source-model: is wrong.",
        ),
        (ConfigError("/a/file: is wrong."), ["serve", "--model_path", "/a/file"], "/a/file: is wrong."),
        (InvalidParameter("Is wrong.", param="voice"), ["speak", "x", "--voice", "y"], "--voice: Is wrong."),
        (InvalidParameter("Is wrong.", param="input"), ["speak", "x"], "Is wrong."),
        (EngineFailed("--slots failed."), ["serve", "--slots", "1"], "--slots failed."),
    ],
)
def test_describe_puts_the_flag_before_the_message(error: AntiphonError, arguments: list[str], line: str) -> None:
    assert describe(error, arguments) == line
