"""`antiphon bench` against a real server with a fake model, and in process: printed figures and the JSON line."""

from __future__ import annotations

import json
import re
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from antiphon.__main__ import main
from antiphon.loader import LoadOptions
from antiphon.testing.fake import FAKE_INFO, FAKE_VOICE_INFO, FakeSession, FakeVoice
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
    """A folder of two recordings; the fake model transcribes the one with a reference as "audio of 1.00 s"."""
    (tmp_path / "one.wav").write_bytes(make_audio(1.0))
    (tmp_path / "one.txt").write_text("The audio of 1.00 s!")
    (tmp_path / "two.mp3").write_bytes(make_audio(2.0, "mp3", "libmp3lame", rate=48_000))
    return str(tmp_path)


def test_bench_of_a_server_with_clients(bench: Bench, clips: str) -> None:
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
    # The article is in the reference and not in the transcript, six times.
    assert (figures["words"], figures["wer"]) == (24, 0.25)
    assert sum(session.batches) == 13  # one warm-up request


def test_printed_figures(bench: Bench, clips: str) -> None:
    with served(FakeSession(), max_waiting=100, loaded=True) as server:
        lines = bench("--url", server.url, "--audio", clips, "--requests", "2").out.splitlines()
    assert lines[0] == f"whisper-1 at {server.url}, 1 client; 2 clips of 1.0 to 2.0 s: files"
    assert re.fullmatch(r"requests    2 in \d+\.\d s: 2 answered, 0 refused \(429\)", lines[1])
    assert [line[:12].strip() for line in lines[2:-1]] == ["throughput", "latency", "words wrong"]


def test_429_responses_are_counted_separately(bench: Bench, clips: str) -> None:
    """More requests arrive than can be served. (The latency of a refusal means nothing with client and server in one process.)"""
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


def test_bench_speak(bench: Bench, tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.write_text("x" * 100 + "\n\n" + "y" * 100 + "\n")
    with served(FakeVoice(before_step=lambda: time.sleep(0.1)), max_waiting=10, loaded=True) as server:
        result = bench("speak", "--url", server.url, "--texts", str(texts), "--requests", "3")
    figures = result.figures
    assert (figures["job"], figures["model"], figures["audio_seconds"]) == ("speak", "tts-1", 3.0)
    assert 0.1 <= figures["first_audio"]["p50"] < figures["latency"]["p50"] - 0.05
    assert "wer" not in figures
    assert "\nfirst audio p50 " in result.out


def test_bench_in_process(bench: Bench, tmp_path: Path) -> None:
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
def test_bench_speak_in_process(bench: Bench, monkeypatch: pytest.MonkeyPatch, rate: tuple[str, ...]) -> None:
    voice = FakeVoice(info=FAKE_VOICE_INFO, before_step=lambda: time.sleep(0.05))
    monkeypatch.setattr("antiphon.cli.bench.load_sessions", lambda *_: (voice,))
    figures = bench("speak", "--requests", "2", "--voice", "loud", *rate).figures
    assert figures["answered"] == 2
    assert figures["first_audio"]["p50"] < figures["latency"]["p50"]
    assert {sentence.voice for sentence in voice.joined} == {"loud"}


def test_audio_context_reaches_the_model(bench: Bench, monkeypatch: pytest.MonkeyPatch, clips: str) -> None:
    contexts: list[object] = []

    def load(_name: str, options: LoadOptions) -> tuple[FakeSession, ...]:
        contexts.append(options.audio_context)
        return (FakeSession(),)

    monkeypatch.setattr("antiphon.cli.bench.load_sessions", load)
    for flags in ((), ("--audio_context", "auto")):
        assert not bench("--model_path", "x", "--audio", clips, "--requests", "1", *flags).code
    assert contexts == ["full", "auto"]


@pytest.fixture
def recordings(tmp_path: Path) -> str:
    """Recordings by language: two in English, one in Spanish, one in Chinese, and one that has no text."""
    for language, name, seconds, text in [
        ("en", "first", 1.0, "audio of 1.00 s"),
        ("en", "second", 2.0, "The audio of 2.00 s!"),
        ("en", "silent", 1.0, ""),
        ("es", "uno", 1.0, "audio de 1.00 s"),
        ("zh", "yi", 1.0, "aud"),
    ]:
        (tmp_path / language).mkdir(exist_ok=True)
        (tmp_path / language / f"{name}.wav").write_bytes(make_audio(seconds))
        (tmp_path / language / f"{name}.txt").write_text(text)
    return str(tmp_path)


def test_wer_of_a_server_by_language(bench: Bench, recordings: str) -> None:
    languages: set[str | None] = set()
    session = FakeSession(
        slots=8,
        info=replace(FAKE_INFO, languages=("en", "es", "zh")),
        script=lambda unit: languages.add(unit.options.language),
    )
    with served(session, max_waiting=100, loaded=True) as server:
        result = bench("wer", "--url", server.url, "--audio", recordings, "--clients", "2")
        lines = result.out.splitlines()
    assert (result.code or 0, result.err) == (0, "")
    assert lines[0] == f"whisper-1 at {server.url}; 4 of 5 recordings have a text"
    assert lines[1].split() == ["language", "clips", "words", "errors", "rate", "RTFx"]
    # English "1.00 s" is one word. In Chinese, five letters and three digits come after "aud", without the full stop.
    assert [line.split()[:-1] for line in lines[2:-1]] == [
        ["en", "2", "7", "1", "14.3%", "WER"],
        ["es", "1", "5", "1", "20.0%", "WER"],
        ["zh", "1", "3", "8", "266.7%", "CER"],
    ]
    figures = result.figures
    assert (figures["job"], figures["clients"]) == ("wer", 2)
    english, chinese = figures["languages"]["en"], figures["languages"]["zh"]
    assert (english["clips"], english["words"], english["errors"], english["wer"]) == (2, 7, 1, 0.1429)
    assert english["rtfx"] > 0
    assert chinese["cer"] == 2.6667
    assert languages == {"en", "es", "zh"}


def test_wer_in_process_of_files_in_one_language(
    bench: Bench, recordings: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.cli.bench.load_sessions", lambda *_: (FakeSession(),))
    files = [str(Path(recordings, "en", name)) for name in ("first.wav", "second.wav")]
    result = bench("wer", "--model_path", "x", "--audio", files[0], "--audio", files[1])
    assert result.out.startswith("x in this process; 2 of 2 recordings have a text\n")
    assert list(result.figures["languages"]) == ["en"]


@pytest.mark.parametrize("language", ["zh", "Chinese", "zh-CN"])
def test_wer_counts_characters_however_the_language_is_spelled(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    session = FakeSession(info=replace(FAKE_INFO, languages=("en", "zh")))
    monkeypatch.setattr("antiphon.cli.bench.load_sessions", lambda *_: (session,))
    (tmp_path / "talk.wav").write_bytes(make_audio(1.0))
    (tmp_path / "talk.txt").write_text("你好世界")
    result = bench("wer", "--model_path", "x", "--audio", str(tmp_path / "talk.wav"), "--language", language)
    assert " CER " in result.out
    assert result.figures["languages"]["zh"]["words"] == 4


def test_wer_of_a_language_the_model_lacks_is_one_line(
    bench: Bench, recordings: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.cli.bench.load_sessions", lambda *_: (FakeSession(),))
    result = bench("wer", "--model_path", "x", "--audio", recordings)
    assert result.code == 2
    assert result.err == "antiphon: language 'zh' is not supported by 'fake'; valid: en, es.\n"


def test_wer_with_a_failed_request_is_an_error_and_no_table(
    bench: Bench, recordings: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = FakeSession(step_fails=lambda unit: unit.options.language == "es")
    monkeypatch.setattr("antiphon.cli.bench.load_sessions", lambda *_: (session,))
    result = bench("wer", "--model_path", "x", "--audio", str(Path(recordings, "es")))
    assert (result.code, result.out.count("\n")) == (2, 1)
    assert result.err.startswith("antiphon: uno.wav: the request failed (500): ")


def test_wer_of_recordings_without_text_is_an_error(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.cli.bench.load_sessions", lambda *_: (FakeSession(),))
    (tmp_path / "talk.wav").write_bytes(make_audio(1.0))
    result = bench("wer", "--model_path", "x", "--audio", str(tmp_path))
    assert (result.code, result.out) == (2, "")
    assert result.err == "antiphon: --audio: no recording has a text; name.txt holds the text of name.wav.\n"


def test_missing_jiwer_omits_the_word_error_rate_with_a_warning(
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
def test_missing_extra_is_one_line_on_stderr(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, library: str, arguments: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    result = bench(*arguments)
    name = library.partition(".")[0]
    message = f"{arguments[0]}: {name} is not installed; pip install 'antiphon[bench]' installs it."
    assert (result.code, result.out, result.err) == (2, "", f"antiphon: {message}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--url", "http://127.0.0.1:9"], "--url http://127.0.0.1:9: the first request failed (no answer): "),
        (["--url", "nowhere"], "--url: nowhere is not a URL"),
        (["--url", "http://127.0.0.1:9", "--model_path", "x"], "--model_path: only for a model in this process"),
        (["--model", "x"], "--model: the name of a model on a server; without --url, use --model_path."),
        (["--rate", "1", "--clients", "2"], "--clients and --rate cannot be combined"),
        (["--model_path", "x", "--lengths", "x"], "--lengths: 'x' is not a length"),
        (["--lengths", "3", "--audio", "."], "--lengths: only for generated clips"),
        (["--model_path", "x", "--audio", "/no/such/folder"], "--audio: /no/such/folder: no such file or folder"),
        (["--texts", "/no/such/file"], "--texts: only for speak"),
        (["speak", "--texts", "/no/such/file"], "--texts: /no/such/file cannot be read"),
        (["speak", "--texts", "/dev/null"], "--texts: /dev/null contains no text"),
        (["speak", "--lengths", "3"], "--audio and --lengths are for transcribe"),
        (["--chart", "chart.gif"], "--chart: chart.gif does not end in .svg or .png"),
        (["--model_path", "/no/such/model"], "/no/such/model"),
        (["--model_path", "espeak"], "The model 'espeak' cannot transcribe; it can: speak."),
        (
            ["--audio_context", "auto", "--url", "http://127.0.0.1:9"],
            "--audio_context: only for transcribe with a model",
        ),
        (["speak", "--audio-context", "auto"], "--audio-context: only for transcribe with a model in this process"),
        (["wer", "--model_path", "x"], "--audio: wer needs recordings with their texts"),
        (["wer", "--audio", ".", "--url", "http://127.0.0.1:9", "--rate", "2"], "--rate: not for wer"),
        (["wer", "--audio", ".", "--url", "http://127.0.0.1:9", "--seconds", "2"], "--seconds: not for wer"),
        (["wer", "--texts", "x"], "--texts: only for speak"),
        (["dance"], "dance"),
        (["--clients", "0"], "--clients"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_usage_error_is_one_line_and_exit_code_2(bench: Bench, arguments: list[str], message: str) -> None:
    result = bench(*arguments)
    assert (result.code, result.out.count("{")) == (2, 0)
    assert result.err.startswith("antiphon: ")
    assert message in result.err
    assert result.err.count("\n") == 1


def test_unknown_model_404_ends_before_measuring(bench: Bench, clips: str) -> None:
    with served(FakeSession(), max_waiting=10, loaded=True) as server:
        result = bench("--url", server.url, "--model", "nonsense", "--audio", clips)
    assert result.code == 2
    assert "the first request failed (404)" in result.err
    assert "Served: fake." in result.err
