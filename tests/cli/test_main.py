"""The command line as a user runs it: fast help, and errors on one line with exit code 2."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from antiphon import __version__
from antiphon.__main__ import main
from antiphon.settings import Settings
from tests.support.starters import STARTER_ASR

SOURCE = Path(__file__).parents[2] / "src"
HEAVY = ("openvino", "fastapi", "uvicorn", "starlette", "numpy", "pydantic", "av", "soxr", "rich", "antiphon.settings")


@dataclass(frozen=True)
class Result:
    code: object
    out: str
    err: str


RunCommand = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> RunCommand:
    """Run the command in this process, with these arguments and environment variables."""

    def here(*arguments: str, **environment: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["antiphon", *arguments])
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main()
        return Result(ended.value.code, *capsys.readouterr())

    return here


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["--version"], []], ids=" ".join)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    script = (
        "import sys\n"
        "from antiphon.__main__ import main\n"
        f"sys.argv = ['antiphon', *{arguments!r}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"found = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "assert not found, found\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr


def test_help_lists_the_commands(run: RunCommand) -> None:
    result = run("--help")
    assert result.code == 0
    for name in ("serve", "transcribe", "translate", "models", "pull", "export"):
        assert name in result.out


def test_version(run: RunCommand) -> None:
    assert run("--version").out == f"antiphon {__version__}\n"


def test_flags_of_serve_are_the_settings(run: RunCommand) -> None:
    text = " ".join(run("serve", "--help").out.split())
    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')} " in text
        assert f"ANTIPHON_{name.upper()}" in text
        assert str(field.description) in text


@pytest.mark.parametrize(
    ("arguments", "environment", "message"),
    [
        (["serve", "--model_path", "/no/such/folder"], {}, "/no/such/folder"),
        (["serve", "--model-path", "/no/such/folder"], {}, "/no/such/folder"),
        (["serve", "--rest_port", "70000"], {}, "--rest_port"),
        (["serve", "--api-key-file", "/no/such/key"], {}, "/no/such/key"),
        (["serve", "--rest_bind_address", "999.1.1.1"], {}, "999.1.1.1"),
        (["--model_path", "/no/such/folder"], {}, "/no/such/folder"),
        (["--rest_port", "70000"], {}, "--rest_port"),
        (["serve", "--config_path", "/no/such/config.json"], {}, "/no/such/config.json: Config file not found"),
        (["models", "--config_path", "/no/such/config.json"], {}, "/no/such/config.json: Config file not found"),
        (["serve", "--log_path", "/no/such/folder/log"], {}, "--log_path: cannot write /no/such/folder/log"),
        (["serve"], {"ANTIPHON_REST_PROT": "1"}, "ANTIPHON_REST_PORT"),
        (["serve"], {"ANTIPHON_SLOTS": "many"}, "ANTIPHON_SLOTS"),
        (["serve", "--api_key_file", ""], {}, "--api_key_file: it is empty: name a path, or leave it out."),
        (["serve", "--cache_dir", ""], {}, "--cache_dir: it is empty"),
        (["serve", "--model_path", str(SOURCE)], {}, f"{SOURCE}: holds no model; looked for config.json"),
        (["transcribe", "/no/such/file.wav"], {}, "/no/such/file.wav"),
        (["transcribe", str(SOURCE)], {}, f"{SOURCE} is a folder: name the files in it, such as {SOURCE}/*.wav"),
        (
            ["transcribe", __file__, "--device", "XPU", "--model", str(STARTER_ASR)],
            {},
            "antiphon: --device: XPU is not available, there is no XPU here; OpenVINO finds ",
        ),
        (["transcribe", __file__, "--model", "espeak"], {}, "The model 'espeak' cannot transcribe; it can: speak."),
        (["translate", __file__, "--model", "/no/such/model"], {}, "/no/such/model"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_user_errors_are_one_line_with_exit_code_2(
    run: RunCommand, arguments: list[str], environment: dict[str, str], message: str
) -> None:
    port = {} if "--rest_port" in arguments else {"ANTIPHON_REST_PORT": "0"}
    result = run(*arguments, **port, **environment)
    assert result.code == 2
    assert result.err.startswith("antiphon: ")
    assert message in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "No such command 'nonsense'. See antiphon --help."),
        (["serve", "--nonsense", "1"], "No such option: --nonsense. See antiphon serve --help."),
        (["--nonsense"], "No such option: --nonsense. See antiphon serve --help."),
        (["transcribe"], "Missing argument 'FILE'. See antiphon transcribe --help."),
        (["serve", "--slots", "x"], "--slots"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_usage_errors_are_one_line_with_exit_code_2(run: RunCommand, arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.code == 2
    assert result.err.startswith("antiphon: ")
    assert message in result.err
    assert result.err.count("\n") == 1


def test_unavailable_device_ends_the_server(run: RunCommand) -> None:
    result = run("serve", "--model_path", str(STARTER_ASR), "--target_device", "XPU", ANTIPHON_REST_PORT="0")
    assert result.code == 2
    assert "Ready at" not in result.out
    assert result.err.splitlines()[-1].startswith(
        "antiphon: --target_device: XPU is not available, there is no XPU here"
    )


def test_unknown_flag_is_refused_with_the_nearest(run: RunCommand) -> None:
    result = run("--rest_prot", "8000")
    assert result.code == 2
    assert "--rest-port" in result.err


def test_flags_without_a_command_are_those_of_serve(run: RunCommand) -> None:
    assert run("--rest_port", "8000", "--help").out == run("serve", "--help").out
