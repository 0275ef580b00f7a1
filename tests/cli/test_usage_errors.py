"""What is wrong with a command line: each flag with a wrong value is told on one line, in the words it was typed in."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from antiphon.__main__ import main
from antiphon.settings import Settings
from tests.support.starters import STARTER_ASR, STARTER_TTS

# What pydantic, typer or this project must not say to somebody at a terminal.
STRANGE = ("Value error", "Input should", "unable to parse", "Invalid value", "''", "Traceback", "..")


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The line that ends a command."""
    monkeypatch.setattr(sys, "argv", ["antiphon", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.startswith("antiphon: ")
    assert err.count("\n") == 1
    return err.removeprefix("antiphon: ").strip()


def wrong_values() -> list[tuple[str, ...]]:
    """A value that each setting cannot have, of those that cannot have every one."""
    any_text = (str, str | None, Path | None)
    names = [name for name, field in Settings.model_fields.items() if field.annotation not in any_text]
    return [(f"--{name}=q",) for name in names if not name.endswith("_config")]  # two are given a path in older OVMSs


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
def test_a_wrong_value_is_told_with_its_flag_and_what_is_right(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    line = told(monkeypatch, capsys, *arguments)
    flag, _, value = "=".join(arguments).rpartition("--")[2].partition("=")
    assert re.match(rf"--{flag} is '?{value}(\.0)?'?: it must be ", line)
    assert not [words for words in STRANGE if words in line]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--vad=loud", "--vad is 'loud': it must be one of auto, always, energy, none. See antiphon serve --help."),
        ("--slots 0", "--slots is 0: it must be greater than or equal to 1."),
        ("--audio-context half", "--audio-context is 'half': it must be one of full, auto. See antiphon serve --help."),
        ("--model_path /no/such", "--model_path /no/such: no such folder, and not a built-in model"),
        ("--model-path=/no/such", "--model-path /no/such: no such folder, and not a built-in model"),
        ("transcribe x --model espeak", "There is no file x."),
        ("transcribe {file}", "No model is named: name a model with --model."),
        ("translate {file}", "No model is named: name a model with --model."),
        ("bench transcribe", "No model is named: give --model_path, or a server with --url."),
        ("transcribe {file} --model espeak", "--model: The model 'espeak' cannot transcribe; it can: speak."),
        ("transcribe {file} --device XPU --model {asr}", "--device XPU: there is no XPU here; OpenVINO finds "),
        (
            "transcribe {file} --target-device=XPU --model {asr}",
            "--target-device XPU: there is no XPU here; OpenVINO finds ",
        ),
        ("speak x -o {out} --speed 9", "--speed must be from 0.25 to 4, not 9."),
        ("speak x -o {out} --model {tts} --vocoder /no/such", "--vocoder /no/such: no such folder; "),
        ("export text2speech --source-model /no/such", "--source-model /no/such: no such folder."),
        ("export sing --source-model x", "TASK is 'sing': it must be one of speech2text, text2speech. See "),
        ("export", "Missing argument 'TASK'. Choose from: speech2text, text2speech. See antiphon export --help."),
        ("export speech2text --source_model x --quant_mode q", "--quant_mode is 'q': it must be int8. See "),
        (
            "bench dance",
            "[transcribe|speak] is 'dance': it must be one of transcribe, speak. See antiphon bench --help.",
        ),
    ],
)
def test_the_whole_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: str, said: str
) -> None:
    monkeypatch.setenv("ANTIPHON_REST_PORT", "0")
    filled = arguments.format(file=__file__, out=tmp_path / "out.wav", asr=STARTER_ASR, tts=STARTER_TTS)
    assert told(monkeypatch, capsys, *filled.split()).startswith(said)
