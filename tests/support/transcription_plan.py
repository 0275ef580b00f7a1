"""Play a TranscriptionPlan with scripted results, without a scheduler or a session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from antiphon.testing.fake import FAKE_INFO
from antiphon.transcription.plan import TranscriptionPlan
from antiphon.types.audio import SAMPLE_RATE, WINDOW_SAMPLES, Samples
from antiphon.types.events import Window, WindowFinished
from antiphon.types.options import TranscribeOptions, VadOptions
from antiphon.types.results import Piece, WindowResult
from tests.support.speech_map import UNIT, Map, MapDetectors

ENGLISH = TranscribeOptions(language="en")
TIMED = TranscribeOptions(language="en", timestamps=True)
SCANNED = replace(TIMED, vad=VadOptions("always"))
CONDITIONED = replace(ENGLISH, condition_on_previous_text=True)
Model = Callable[[Window], WindowResult]


LOUD = (np.random.default_rng(0).standard_normal(SAMPLE_RATE) * 0.1).astype(np.float32)
LOUD.setflags(write=False)


def speech(seconds: float) -> Samples:
    return np.resize(LOUD, round(seconds * SAMPLE_RATE))


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def paused(*seconds: float) -> Samples:
    """Speech of these lengths, half a second of silence after each."""
    return np.concatenate([part for length in seconds for part in (speech(length), silence(0.5))])


def make_plan(samples: Samples, options: TranscribeOptions = ENGLISH) -> TranscriptionPlan:
    return TranscriptionPlan(7, samples, options, FAKE_INFO)


def make_result(*pieces: tuple[float, float, str], resume: float, language: str = "en") -> WindowResult:
    made = tuple(Piece(start, end, text, (len(text),)) for start, end, text in pieces)
    return WindowResult(language, made, (1, 2), resume, -0.25, 0.01, 0.0)


def play(plan: TranscriptionPlan, model: Model) -> list[Window]:
    """Answer every window in turn and return the windows in the order they were requested."""
    units = list(plan.start())
    for unit in units:  # grows during the loop
        assert 0 < len(unit.samples) <= WINDOW_SAMPLES
        units += plan.receive(WindowFinished(unit, model(unit)))
        assert len(units) < 1_000
    assert plan.done
    return units


def make_map(*parts: tuple[int, float]) -> Map:
    """A file of consecutive parts, each a kind and a length in seconds."""
    return Map([(kind, round(length * SAMPLE_RATE / UNIT)) for kind, length in parts])


def make_vad_plan(file: Map, options: TranscribeOptions) -> TranscriptionPlan:
    """The plan of a file whose speech is detected without error."""
    return TranscriptionPlan(7, file, options, FAKE_INFO, detectors=MapDetectors())  # type: ignore[arg-type]


def spans(units: Sequence[Window]) -> list[tuple[float, float]]:
    return [(unit.start / SAMPLE_RATE, round((unit.start + len(unit.samples)) / SAMPLE_RATE, 2)) for unit in units]


def seconds(unit: Window) -> float:
    return len(unit.samples) / SAMPLE_RATE
