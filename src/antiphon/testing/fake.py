"""Fake models for tests of routing, batching and HTTP: the answer is the length of the audio, which identifies it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from antiphon.types.audio import SAMPLE_RATE
from antiphon.types.events import (
    AudioChunk,
    Event,
    Failed,
    LanguageDetected,
    Sentence,
    SentenceFinished,
    Window,
    WindowFinished,
)
from antiphon.types.results import ModelInfo, Piece, WindowResult, Word

FAKE_INFO = ModelInfo(
    name="fake",
    family="fake",
    path=Path("fake"),
    backend="fake",
    device="CPU",
    precision="f32",
    weight_format="fp32",
    languages=("en", "es"),
    tasks=("transcribe", "translate"),
    default_language="en",
)

Script = Callable[[Window], WindowResult | Exception | None]
Choice = Callable[[Window], bool]


def describe(unit: Window) -> WindowResult:
    """The fake's result: " audio of 3.20 s" as one piece over the whole window, with words of equal length."""
    seconds = len(unit.samples) / SAMPLE_RATE
    text = f" audio of {seconds:.2f} s"
    texts = text.split() if unit.options.words else []
    times = [seconds * index / 4 for index in range(5)]
    words = tuple(Word(f" {word}", *span, probability=0.9) for word, span in zip(texts, pairwise(times), strict=False))
    piece = Piece(start=0.0, end=seconds, text=text, tokens=(len(unit.samples),), words=words)
    return WindowResult(
        language=unit.options.language or FAKE_INFO.default_language,
        pieces=(piece,),
        tokens=piece.tokens,
        resume=seconds,
        avg_logprob=-0.1,
        no_speech_prob=0.0,
        temperature=unit.options.temperature,
    )


def _nothing() -> None:
    return None


def _never(_unit: Window) -> bool:
    return False


def _unscripted(_unit: Window) -> WindowResult | Exception | None:
    return None


class FakeSession:
    """A recogniser that takes one step per `seconds_per_step` seconds of a window.

    `script` can replace a window's result, or fail it with an error. `join_fails` and `step_fails` choose windows that
    make the whole call raise. `before_step` runs at the start of each step, and may block. `batches` records how many
    windows each step advanced, `rests` the calls of `rest`.
    """

    def __init__(
        self,
        name: str = "fake",
        *,
        info: ModelInfo = FAKE_INFO,
        slots: int = 4,
        seconds_per_step: float = 10.0,
        script: Script = _unscripted,
        join_fails: Choice = _never,
        step_fails: Choice = _never,
        before_step: Callable[[], None] = _nothing,
    ) -> None:
        self.info = replace(info, name=name)
        self.slots = slots
        self.batches: list[int] = []
        self.rests = 0
        self._seconds_per_step = seconds_per_step
        self._script = script
        self._join_fails = join_fails
        self._step_fails = step_fails
        self._before_step = before_step
        self._steps_left: dict[Window, int] = {}

    def join(self, units: Sequence[Window]) -> list[Event]:
        if len(self._steps_left) + len(units) > self.slots:
            raise ValueError(f"{len(units)} units join {len(self._steps_left)}, but there are {self.slots} slots")
        if any(self._join_fails(unit) for unit in units):
            raise RuntimeError("scripted failure of join")
        for unit in units:
            seconds = len(unit.samples) / SAMPLE_RATE
            self._steps_left[unit] = max(1, math.ceil(seconds / self._seconds_per_step))
        return [
            LanguageDetected(unit, self.info.default_language, 1.0)
            for unit in units
            if unit.options.language is None and self.info.languages
        ]

    def step(self) -> list[Event]:
        self._before_step()
        if any(self._step_fails(unit) for unit in self._steps_left):
            raise RuntimeError("scripted failure of step")
        self.batches.append(len(self._steps_left))
        events: list[Event] = []
        for unit in list(self._steps_left):
            self._steps_left[unit] -= 1
            if self._steps_left[unit] == 0:
                del self._steps_left[unit]
                events.append(self._answer(unit))
        return events

    def leave(self, unit: Window) -> None:
        self._steps_left.pop(unit, None)

    def rest(self) -> None:
        self.rests += 1

    def _answer(self, unit: Window) -> Event:
        scripted = self._script(unit)
        if isinstance(scripted, Exception):
            return Failed(unit, scripted)
        return WindowFinished(unit, describe(unit) if scripted is None else scripted)


FAKE_VOICE_INFO = replace(
    FAKE_INFO,
    name="fake-voice",
    path=Path("fake-voice"),
    languages=(),
    tasks=("speak",),
    voices=("plain", "loud"),
    openai_voices=("plain", "loud"),
)


class FakeVoice:
    """A synthesiser: `seconds` of a constant level per character of a sentence, in `chunks` chunks, one per step.

    The level depends on the voice: 0.25 for "plain", 0.5 for any other.
    """

    def __init__(
        self,
        name: str = "fake-voice",
        *,
        info: ModelInfo = FAKE_VOICE_INFO,
        slots: int = 4,
        chunks: int = 2,
        seconds: float = 0.01,
        step_fails: Callable[[Sentence], bool] = lambda _unit: False,
        before_step: Callable[[], None] = _nothing,
    ) -> None:
        self.info = replace(info, name=name)
        self.slots = slots
        self.joined: list[Sentence] = []
        self.left: list[Sentence] = []
        self._chunks = chunks
        self._seconds = seconds
        self._step_fails = step_fails
        self._before_step = before_step
        self._steps_left: dict[Sentence, int] = {}

    def join(self, units: Sequence[Sentence]) -> list[Event]:
        self.joined += units
        self._steps_left |= dict.fromkeys(units, self._chunks)
        return []

    def step(self) -> list[Event]:
        self._before_step()
        if any(self._step_fails(unit) for unit in self._steps_left):
            raise RuntimeError("scripted failure of step")
        events: list[Event] = []
        for unit in list(self._steps_left):
            level = 0.25 if unit.voice == "plain" else 0.5
            count = round(len(unit.text) * self._seconds * self.info.sample_rate)
            events.append(AudioChunk(unit, np.full(count // self._chunks, level, np.float32)))
            self._steps_left[unit] -= 1
            if self._steps_left[unit] == 0:
                del self._steps_left[unit]
                events.append(SentenceFinished(unit))
        return events

    def leave(self, unit: Sentence) -> None:
        self.left.append(unit)
        self._steps_left.pop(unit, None)

    def rest(self) -> None:
        pass
