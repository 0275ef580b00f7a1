"""`antiphon speak` as a subprocess, with the real eSpeak NG voice."""

from __future__ import annotations

import io
import subprocess
import sys
import wave
from pathlib import Path

import av
import pytest

from tests.support.starters import STARTER_ASR, STARTER_TTS

TEXT = "The quick brown fox jumped over the lazy dog."


def antiphon(*arguments: str, text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([sys.executable, "-m", "antiphon", *arguments], input=text, capture_output=True, timeout=120)


def seconds_of(data: bytes) -> tuple[str, float]:
    with av.open(io.BytesIO(data)) as container:
        count = sum(frame.samples for frame in container.decode(audio=0))
        return container.format.name, count / container.streams.audio[0].rate


@pytest.mark.parametrize(
    ("name", "container"), [("a.mp3", "mp3"), ("a.WAV", "wav"), ("a.flac", "flac"), ("a.ogg", "ogg")]
)
def test_format_follows_the_file_name(tmp_path: Path, name: str, container: str) -> None:
    run = antiphon("speak", TEXT, "-o", str(tmp_path / name))
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")
    found, seconds = seconds_of((tmp_path / name).read_bytes())
    assert found == container
    assert 2.0 < seconds < 4.0


def test_text_from_stdin_to_wav_on_stdout() -> None:
    run = antiphon("speak", "-", "--voice", "es", "--speed", "2", text="¿Qué hora es? Son las tres.".encode())
    assert run.returncode == 0, run.stderr
    with wave.open(io.BytesIO(run.stdout)) as sound:
        assert 0.5 < sound.getnframes() / sound.getframerate() < 2.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((TEXT, "-o", "a.midi"), "mp3, opus, aac, flac, wav, pcm"),
        ((TEXT, "--format", "midi"), "--format midi"),
        ((TEXT, "--speed", "9"), "0.25 to 4"),
        ((TEXT, "--voice", "bob"), "--voice: voice 'bob' is not one that 'espeak' has. There are 1"),
        ((TEXT, "--voice", "Es"), "--voice: voice 'Es' is not one that 'espeak' has. Did you mean `es`? There are 1"),
        (
            (TEXT, "--voice", "spanish"),
            "--voice: voice 'spanish' is not one that 'espeak' has. Did you mean `es` or `es-419`?",
        ),
        ((TEXT, "--language", "klingon"), "klingon"),
        ((TEXT, "-o", "/no/such/folder/a.wav"), "/no/such/folder/a.wav"),
        ((TEXT, "--voice", "en-uk"), "'en-uk' is not one that 'espeak' has. Did you mean `en-us`, "),
        ((TEXT, "--model", str(STARTER_ASR)), "The model 'starter-asr' cannot speak; it can: transcribe, translate."),
        (("--list-voices", "--model", str(STARTER_ASR)), "The model 'starter-asr' cannot speak"),
        ((), "There is no text to speak: give a TEXT"),
        (
            (TEXT, "--device", "XPU", "--model", str(STARTER_TTS)),
            "antiphon: --device: XPU is not available, there is no XPU here",
        ),
        ((TEXT, "--vocoder", "/tmp"), "antiphon: --vocoder: espeak is a model of the family espeak, which takes none"),
        (("  ",), "empty"),
        (("-",), "empty"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(arguments: tuple[str, ...], message: str) -> None:
    run = antiphon("speak", *arguments)
    assert run.returncode == 2
    assert run.stdout == b""
    assert message in run.stderr.decode()
    assert len(run.stderr.decode().strip().splitlines()) == 1


def test_list_voices() -> None:
    run = antiphon("speak", "--list-voices")
    assert (run.returncode, run.stderr) == (0, b"")
    voices = run.stdout.decode().splitlines()
    assert voices[0] == "en-us"
    assert {"es", "en-gb", "en-us+f1"} <= set(voices)
