"""The commands a user types, with real models and their default settings."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from antiphon.benchmark.word_errors import count_word_errors
from tests.real.conftest import ModelOf
from tests.real.models import BASE, RealModel
from tests.real.peers import Transformers
from tests.real.recordings import SAMPLES, Recording, samples_in_nine_languages, speech

JFK = "And so my fellow Americans, ask not what your country can do for you, ask what you can do for your country."


def run(*arguments: object) -> str:
    """The standard output of a command, which must succeed."""
    command = [sys.executable, "-m", "antiphon", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def in_language(language: str) -> list[Recording]:
    return [recording for recording in samples_in_nine_languages() if recording.language == language]


def test_transcribe_jfk_with_the_default_settings(real: Callable[[str], RealModel]) -> None:
    (jfk,) = (recording.path for recording in speech() if recording.name == "jfk.flac")
    assert run("transcribe", "--model", real(BASE).ctranslate2, jfk) == f"{JFK}\n"


def test_translate_spanish_with_an_fp16_export_gives_the_text_of_transformers(
    exported: Callable[[str], Path], transformers_of: Callable[[str], Transformers]
) -> None:
    recordings = in_language("es")
    paths = [recording.path for recording in recordings]
    out = run("translate", "--model", exported(BASE), "--language", "es", "--precision", "f32", *paths)
    peer = transformers_of(BASE)
    assert out == "".join(f"# {recording.path}\n{peer.text(recording, 'translate')}\n" for recording in recordings)


@pytest.mark.parametrize("language", ["es", "zh"])
def test_bench_wer_counts_the_errors_of_the_transcripts(
    language: str, real: Callable[[str], RealModel], model_of: ModelOf
) -> None:
    folder = real(BASE).ctranslate2
    out = run("bench", "wer", "--model_path", folder, "--precision", "f32", "--audio", SAMPLES / language)
    recordings = in_language(language)
    model = model_of(folder, precision="f32")
    texts = [model.transcribe(recording.path, language=language).text for recording in recordings]
    counted = count_word_errors([recording.texts[0] for recording in recordings], texts, language)
    figures = json.loads(out.splitlines()[-1])["languages"][language]
    assert (figures["clips"], figures["words"], figures["errors"]) == (3, counted.words, counted.errors)
