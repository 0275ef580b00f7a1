"""`antiphon transcribe` and `antiphon translate` with a fake model."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer

from antiphon.__main__ import main
from antiphon.cli import transcribe as command
from antiphon.errors import ConfigError, InvalidAudio, InvalidParameter
from antiphon.loader import LoadOptions
from antiphon.testing.fake import FakeSession
from antiphon.types.events import Window
from antiphon.types.options import TranscribeOptions, VadOptions
from tests.support.sounds import make_audio

transcribe, translate = (partial(run, model="fake") for run in (command.transcribe, command.translate))


@pytest.fixture
def options_used() -> list[TranscribeOptions]:
    """The options of each window the model received."""
    return []


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch, options_used: list[TranscribeOptions]) -> list[dict[str, Any]]:
    """Loading makes a fake session and reports one line; the arguments of each call are recorded."""
    calls: list[dict[str, Any]] = []

    def record(unit: Window) -> None:
        options_used.append(unit.options)

    def load_sessions(model: str, options: LoadOptions) -> tuple[FakeSession, ...]:
        calls.append({"model": model, "options": options})
        options.report("fake: chosen for you")
        return (FakeSession("fake", script=record),)

    monkeypatch.setattr(command, "load_sessions", load_sessions)
    return calls


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = [tmp_path / "one.wav", tmp_path / "two.mp3"]
    paths[0].write_bytes(make_audio(1.0))
    paths[1].write_bytes(make_audio(2.0, "mp3", "libmp3lame", rate=48_000))
    return [str(path) for path in paths]


def test_one_file_prints_its_text(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    transcribe(files[:1])
    assert capsys.readouterr().out == "audio of 1.00 s\n"


def test_several_files_print_each_name_first(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    translate(files)
    assert capsys.readouterr().out == f"# {files[0]}\naudio of 1.00 s\n# {files[1]}\naudio of 2.00 s\n"


def test_subtitles(files: list[str], options_used: list[TranscribeOptions], capsys: pytest.CaptureFixture[str]) -> None:
    transcribe(files[:1], form="srt")
    assert capsys.readouterr().out == "1\n00:00:00,000 --> 00:00:01,000\naudio of 1.00 s\n"
    assert options_used[0].timestamps


def test_word_timestamps_print_one_word_per_line(files: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    transcribe(files[:1], words=True)
    assert capsys.readouterr().out == "0.00\t0.25\taudio\n0.25\t0.50\tof\n0.50\t0.75\t1.00\n0.75\t1.00\ts\n"


def test_word_timestamps_with_subtitles_are_refused(files: list[str], loaded: list[dict[str, Any]]) -> None:
    with pytest.raises(ConfigError, match=r"--words: srt has no word times; leave out --format\."):
        transcribe(files[:1], form="srt", words=True)
    assert not loaded


def test_subtitles_of_several_files_are_refused(files: list[str], loaded: list[dict[str, Any]]) -> None:
    with pytest.raises(ConfigError, match="--format vtt takes a single file"):
        transcribe(files, form="vtt")
    assert not loaded


def test_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(make_audio(1.5))))
    transcribe(["-"])
    assert capsys.readouterr().out == "audio of 1.50 s\n"


def test_loading_flags_reach_the_loader(files: list[str], loaded: list[dict[str, Any]]) -> None:
    transcribe(files[:1], model="folder", precision="f32", weight_format="int8", device="AUTO")
    [call] = loaded
    options = LoadOptions(
        precision="f32",
        weight_format="int8",
        device="AUTO",
        report=command.report,
        progress=call["options"].progress,
    )
    assert call == {"model": "folder", "options": options}


def test_without_a_model_whisper_base_transcribes(files: list[str], loaded: list[dict[str, Any]]) -> None:
    command.transcribe(files[:1])
    command.translate(files[:1])
    assert [call["model"] for call in loaded] == ["whisper-base", "whisper-base"]


@pytest.mark.parametrize("task", ["transcribe", "translate"])
def test_options_reach_the_model(
    monkeypatch: pytest.MonkeyPatch, files: list[str], options_used: list[TranscribeOptions], task: str
) -> None:
    flags = ["--model", "fake", "--prompt", "Antiphon, canon", "--temperature", "0.25", "--language", "Spanish"]
    flags += ["--condition-on-previous-text", "--vad", "energy"]
    monkeypatch.setattr(sys, "argv", ["antiphon", task, files[0], *flags])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    [options] = options_used
    assert (options.task, options.language) == (task, "es")
    assert (options.prompt, options.temperature) == ("Antiphon, canon", 0.25)
    assert (options.condition_on_previous_text, options.vad) == (True, VadOptions("energy"))


@pytest.mark.parametrize(("run", "task"), [(transcribe, "transcribe"), (translate, "translate")])
def test_options_have_their_defaults_without_flags(
    files: list[str], options_used: list[TranscribeOptions], run: Callable[..., None], task: str
) -> None:
    run(files[:1])
    [options] = options_used
    assert options == TranscribeOptions(task)  # type: ignore[arg-type]


def test_loading_is_reported_on_a_terminal_only(
    files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    transcribe(files[:1])
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    transcribe(files[:1])
    output = capsys.readouterr()
    assert (output.out, output.err) == ("audio of 1.00 s\n", "fake: chosen for you\n")


def test_unsupported_option_is_reported_before_decoding(files: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(command, "decode", calls.append)
    with pytest.raises(InvalidParameter, match="klingon"):
        transcribe(files[:1], language="klingon")
    with pytest.raises(InvalidParameter, match="temperature"):
        transcribe(files, temperature=2.0)
    assert not calls


def test_invalid_audio_file_is_named_and_the_others_are_transcribed(
    tmp_path: Path, files: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"junk")
    with pytest.raises(InvalidAudio, match=r"bad\.wav: The file is not audio"):
        transcribe([str(bad)])
    with pytest.raises(typer.Exit) as ended:
        transcribe([files[0], str(bad), files[0]])
    output = capsys.readouterr()
    assert ended.value.exit_code == 2
    assert output.out.count("audio of 1.00 s") == 2  # the file after it is transcribed
    assert output.err.startswith(f"antiphon: {bad}: The file is not audio")


def test_missing_file_is_reported_before_loading(files: list[str], loaded: list[dict[str, Any]]) -> None:
    with pytest.raises(InvalidAudio, match=r"gone\.wav"):
        transcribe([files[0], "gone.wav"])
    assert not loaded


def test_progress_bar_for_a_long_file_on_a_terminal_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    long = tmp_path / "long.wav"
    long.write_bytes(make_audio(130.0, rate=8_000))
    transcribe([str(long)])
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    transcribe([str(long)])
    assert "long.wav" in capsys.readouterr().err
