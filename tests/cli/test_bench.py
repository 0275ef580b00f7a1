"""`antiphon bench` against a real server with a fake model, and in this process: what is printed, and its last line."""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from antiphon.__main__ import main
from antiphon.loader import LoadOptions
from antiphon.testing.fake import FAKE_VOICE_INFO, FakeSession, FakeVoice
from tests.server.conftest import served
from tests.support.sounds import make_audio
from tests.support.starters import STARTER_ASR


@dataclass(frozen=True)
class Result:
    code: object
    out: str
    err: str

    @property
    def figures(self) -> dict[str, Any]:
        found = json.loads(self.out.splitlines()[-1])
        assert isinstance(found, dict)
        return found


class Bench:
    """Runs the command in this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Result:
        self._monkeypatch.setattr(sys, "argv", ["antiphon", "bench", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return Result(ended.value.code, *self._capsys.readouterr())


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Bench:
    return Bench(monkeypatch, capsys)


@pytest.fixture
def clips(tmp_path: Path) -> str:
    """A folder of two recordings; the fake hears "audio of 1.00 s" in the one whose words are known."""
    (tmp_path / "one.wav").write_bytes(make_audio(1.0))
    (tmp_path / "one.txt").write_text("The audio of 1.00 s!")
    (tmp_path / "two.mp3").write_bytes(make_audio(2.0, "mp3", "libmp3lame", rate=48_000))
    return str(tmp_path)


def test_clients_and_a_server(bench: Bench, clips: str) -> None:
    session = FakeSession(slots=8)
    with served(session, max_waiting=100, loaded=True) as server:
        result = bench("--url", server.url, "--audio", clips, "--clients", "4", "--requests", "12")
    assert (result.code or 0, result.err) == (0, "")
    figures = result.figures
    assert (figures["clients"], figures["requests"], figures["statuses"]) == (4, 12, {"200": 12})
    assert figures["audio_seconds"] == pytest.approx(18.0, abs=0.1)
    assert figures["rtfx"] == pytest.approx(figures["audio_seconds"] / figures["seconds"], rel=0.01)
    latency = figures["latency"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"] <= latency["worst"]
    # The article was said and not heard, six times.
    assert (figures["words"], figures["wer"]) == (24, 0.25)
    assert sum(session.batches) == 13  # one is not counted


def test_the_figures_are_for_people_too(bench: Bench, clips: str) -> None:
    with served(FakeSession(), max_waiting=100, loaded=True) as server:
        lines = bench("--url", server.url, "--audio", clips, "--requests", "2").out.splitlines()
    assert lines[0] == f"whisper-1 at {server.url}, 1 client; 2 clips of 1.0 to 2.0 s: files"
    assert re.fullmatch(r"requests    2 in \d+\.\d s: 2 answered, 0 refused \(429\)", lines[1])
    assert [line[:12].strip() for line in lines[2:-1]] == ["throughput", "latency", "words wrong"]


def test_refusals_are_counted_apart(bench: Bench, clips: str) -> None:
    """More arrive than can be done. (How quick a refusal is says nothing here, with client and server in one process.)"""
    slow = FakeSession(slots=1, before_step=lambda: time.sleep(0.05))
    with served(slow, max_waiting=2, loaded=True) as server:
        result = bench("--url", server.url, "--audio", clips, "--rate", "100", "--requests", "30")
    figures = result.figures
    assert figures["refused"] == figures["statuses"]["429"] > 0
    assert figures["answered"] == figures["statuses"]["200"] > 0
    assert figures["answered"] + figures["refused"] == 30
    assert figures["failed"] == 0
    assert figures["refusal"]["p50"] > 0
    assert "\nrefusal     p50 " in result.out
    assert (figures["clients"], figures["rate"]) == (0, 100.0)
    assert f"{figures['refused']} refused (429)" in result.out


def test_speaking(bench: Bench, tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.write_text("x" * 100 + "\n\n" + "y" * 100 + "\n")
    with served(FakeVoice(before_step=lambda: time.sleep(0.1)), max_waiting=10, loaded=True) as server:
        result = bench("speak", "--url", server.url, "--texts", str(texts), "--requests", "3")
    figures = result.figures
    assert (figures["job"], figures["model"], figures["audio_seconds"]) == ("speak", "tts-1", 3.0)
    assert 0.1 <= figures["first_audio"]["p50"] < figures["latency"]["p50"] - 0.05
    assert "wer" not in figures
    assert "\nfirst audio p50 " in result.out


def test_in_this_process(bench: Bench, tmp_path: Path) -> None:
    chart = tmp_path / "chart.svg"
    flags = ("--lengths", "3,2-3", "--seconds", "0.5", "--clients", "2", "--chart", str(chart))
    result = bench("--model_path", str(STARTER_ASR), *flags, "--language", "en", "--precision", "f32")
    assert (result.code or 0, result.err) == (0, "")
    figures = result.figures
    assert (figures["model"], figures["url"]) == (str(STARTER_ASR), "")
    assert figures["answered"] == figures["requests"] >= 2
    assert figures["words"] > 0
    assert 0 <= figures["wer"] < 0.5
    assert "spoken by eSpeak NG" in figures["asked"]
    assert chart.read_text().startswith("<?xml")


@pytest.mark.parametrize("rate", [(), ("--rate", "5")], ids=["clients", "rate"])
def test_speaking_in_this_process(bench: Bench, monkeypatch: pytest.MonkeyPatch, rate: tuple[str, ...]) -> None:
    voice = FakeVoice(info=FAKE_VOICE_INFO, before_step=lambda: time.sleep(0.05))
    monkeypatch.setattr("antiphon.cli.bench.load_sessions", lambda *_: (voice,))
    figures = bench("speak", "--requests", "2", "--voice", "loud", *rate).figures
    assert figures["answered"] == 2
    assert figures["first_audio"]["p50"] < figures["latency"]["p50"]
    assert {sentence.voice for sentence in voice.joined} == {"loud"}


def test_the_audio_context_reaches_the_model(bench: Bench, monkeypatch: pytest.MonkeyPatch, clips: str) -> None:
    asked: list[object] = []

    def load(_name: str, options: LoadOptions) -> tuple[FakeSession, ...]:
        asked.append(options.audio_context)
        return (FakeSession(),)

    monkeypatch.setattr("antiphon.cli.bench.load_sessions", load)
    for flags in ((), ("--audio_context", "auto")):
        assert not bench("--model_path", "x", "--audio", clips, "--requests", "1", *flags).code
    assert asked == ["full", "auto"]


def test_without_the_library_the_error_rate_is_left_out_with_a_word(
    bench: Bench, clips: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jiwer", None)
    with served(FakeSession(), max_waiting=10, loaded=True) as server:
        result = bench("--url", server.url, "--audio", clips, "--requests", "2")
    assert not result.code
    assert "wer" not in result.figures
    assert "the word error rate is left out: jiwer is not installed" in result.err


@pytest.mark.parametrize(
    ("library", "arguments"),
    [("httpx", ["--url", "http://127.0.0.1:9"]), ("matplotlib.figure", ["--chart", "chart.svg"])],
)
def test_without_the_extra_one_line_says_what_is_missing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, library: str, arguments: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    result = bench(*arguments)
    name = library.partition(".")[0]
    told = f"{arguments[0]} needs {name}, which is not installed; pip install 'antiphon[bench]' brings it."
    assert (result.code, result.out, result.err) == (2, "", f"antiphon: {told}\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--url", "http://127.0.0.1:9"], "--url http://127.0.0.1:9: the first request failed (no answer): "),
        (["--url", "nowhere"], "--url nowhere"),
        (["--url", "http://127.0.0.1:9", "--model_path", "x"], "--model_path"),
        (["--model", "x"], "--model_path"),
        (["--rate", "1", "--clients", "2"], "--clients and --rate"),
        (["--lengths", "x"], "--lengths x"),
        (["--lengths", "3", "--audio", "."], "--lengths"),
        (["--audio", "/no/such/folder"], "--audio /no/such/folder"),
        (["--texts", "/no/such/file"], "--texts"),
        (["speak", "--texts", "/no/such/file"], "--texts /no/such/file"),
        (["speak", "--texts", "/dev/null"], "--texts /dev/null"),
        (["speak", "--lengths", "3"], "--lengths"),
        (["--chart", "chart.gif"], "--chart chart.gif"),
        (["--model_path", "/no/such/model"], "/no/such/model"),
        (["--model_path", "espeak"], "The model 'espeak' cannot transcribe; it can: speak."),
        (["--audio_context", "auto", "--url", "http://127.0.0.1:9"], "--audio_context is for transcribe with a model"),
        (["speak", "--audio-context", "auto"], "--audio-context is for transcribe with a model in this process"),
        (["dance"], "dance"),
        (["--clients", "0"], "--clients"),
    ],
    ids=" ".join,
)
def test_what_a_user_can_mend_is_one_line(bench: Bench, arguments: list[str], told: str) -> None:
    result = bench(*arguments)
    assert (result.code, result.out.count("{")) == (2, 0)
    assert result.err.startswith("antiphon: ")
    assert told in result.err
    assert result.err.count("\n") == 1


def test_a_wrong_model_is_told_before_anything_is_measured(bench: Bench, clips: str) -> None:
    with served(FakeSession(), max_waiting=10, loaded=True) as server:
        result = bench("--url", server.url, "--model", "nonsense", "--audio", clips)
    assert result.code == 2
    assert "the first request failed (404)" in result.err
    assert "Served: fake." in result.err
