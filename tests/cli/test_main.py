"""The command as a user runs it: instant help, and one line and exit code 2 for what a user can mend."""

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

SOURCE = Path(__file__).parents[2] / "src"
HEAVY = ("openvino", "fastapi", "uvicorn", "starlette", "numpy", "pydantic", "av", "soxr", "rich", "antiphon.settings")


@dataclass(frozen=True)
class Result:
    code: object
    out: str
    err: str


Span = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Span:
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


def test_help_lists_the_commands(run: Span) -> None:
    result = run("--help")
    assert result.code == 0
    for name in ("serve", "transcribe", "translate", "models", "pull", "export"):
        assert name in result.out


def test_version(run: Span) -> None:
    assert run("--version").out == f"antiphon {__version__}\n"


def test_the_flags_of_serve_are_the_settings(run: Span) -> None:
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
        (["serve", "--log_path", "/no/such/folder/log"], {}, "--log_path /no/such/folder/log"),
        (["serve"], {"ANTIPHON_REST_PROT": "1"}, "ANTIPHON_REST_PORT"),
        (["serve"], {"ANTIPHON_SLOTS": "many"}, "ANTIPHON_SLOTS"),
        (["serve", "--api_key_file", ""], {}, "--api_key_file is empty: name a path, or leave it out."),
        (["serve", "--cache_dir", ""], {}, "--cache_dir is empty"),
        (["serve", "--model_path", str(SOURCE)], {}, f"{SOURCE}: holds no model; looked for config.json"),
        (["transcribe", "/no/such/file.wav"], {}, "/no/such/file.wav"),
        (["transcribe", str(SOURCE)], {}, f"{SOURCE} is a folder: name the files in it, such as {SOURCE}/*.wav"),
        (
            ["transcribe", __file__, "--device", "XPU"],
            {},
            "antiphon: --device XPU: there is no XPU here; OpenVINO finds ",
        ),
        (["transcribe", __file__, "--model", "espeak"], {}, "The model 'espeak' cannot transcribe; it can: speak."),
        (["translate", __file__, "--model", "/no/such/model"], {}, "/no/such/model"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_a_user_can_mend_is_one_line(
    run: Span, arguments: list[str], environment: dict[str, str], message: str
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
def test_wrong_usage_is_one_line_too(run: Span, arguments: list[str], message: str) -> None:
    result = run(*arguments)
    assert result.code == 2
    assert result.err.startswith("antiphon: ")
    assert message in result.err
    assert result.err.count("\n") == 1


def test_a_flag_that_no_built_in_model_can_do_with_ends_the_server(run: Span) -> None:
    result = run("serve", "--target_device", "XPU", ANTIPHON_REST_PORT="0")
    assert result.code == 2
    assert "Ready at" not in result.out
    assert result.err.splitlines()[-1].startswith("antiphon: --target_device XPU: there is no XPU here")


def test_an_unknown_flag_is_refused_with_the_nearest(run: Span) -> None:
    result = run("--rest_prot", "8000")
    assert result.code == 2
    assert "--rest-port" in result.err


def test_flags_alone_are_those_of_serve(run: Span) -> None:
    assert run("--rest_port", "8000", "--help").out == run("serve", "--help").out
