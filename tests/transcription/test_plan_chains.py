"""TranscriptionPlan: chunks longer than a window lose and double no word, and always end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.transcription.plan import MAX_CONTINUATIONS, MIN_ADVANCE_SAMPLES
from antiphon.types.audio import SAMPLE_RATE, Samples
from antiphon.types.events import Window
from antiphon.types.results import WindowResult
from tests.support.transcription_plan import (
    ENGLISH,
    make_plan,
    make_result,
    play,
    seconds,
    silence,
    spans,
    speech,
)


def test_chunk_without_pauses_is_a_chain() -> None:
    plan = make_plan(speech(70.0), ENGLISH)

    def model(unit: Window) -> WindowResult:
        if not unit.options.timestamps:
            return make_result((0.0, seconds(unit), " end"), resume=seconds(unit))
        return make_result((0.0, 27.5, f" from {unit.start}"), (27.5, 30.0, " cut"), resume=27.5)

    units = play(plan, model)
    assert spans(units) == [(0.0, 30.0), (27.5, 57.5), (55.0, 70.0)]
    assert [unit.options.timestamps for unit in units] == [True, True, False]
    assert plan.result().text == "from 0 from 440000 end"


def test_chain_continues_where_the_model_stopped_early() -> None:
    """The 29.6 s after a window's early end are decoded again."""
    plan = make_plan(speech(45.0), ENGLISH)

    def model(unit: Window) -> WindowResult:
        if unit.start == 0:
            return make_result((0.0, 0.4, " early"), resume=0.4)
        return make_result((0.0, seconds(unit), f" from {unit.start}"), resume=seconds(unit))

    units = play(plan, model)
    assert spans(units) == [(0.0, 30.0), (0.4, 30.4), (30.4, 45.0)]
    assert plan.result().text == "early from 6400 from 486400"


def test_chain_that_barely_advances_skips_ahead_after_the_limit(caplog: pytest.LogCaptureFixture) -> None:
    plan = make_plan(speech(45.0), ENGLISH)
    units = play(plan, lambda _unit: make_result((0.0, 0.3, " a"), resume=0.3))
    assert [unit.start for unit in units][: MAX_CONTINUATIONS + 1] == [0, 4800, 9600, 14400, 19200]
    assert spans(units)[MAX_CONTINUATIONS + 1] == (31.2, 45.0)
    assert "may be missing" in caplog.text


@pytest.mark.parametrize("resume", [0.0, 30.0, 99.0, -1.0])
def test_chain_that_does_not_advance_continues_at_the_end_of_the_window(resume: float) -> None:
    plan = make_plan(speech(65.0), ENGLISH)
    units = play(plan, lambda unit: make_result((0.0, 0.2, " a"), (0.3, 29.0, " b"), resume=resume))
    assert spans(units) == [(0.0, 30.0), (30.0, 60.0), (60.0, 65.0)]
    assert plan.result().text == "a b a b a b"


def test_chain_ends_when_only_a_pause_is_left() -> None:
    samples = np.concatenate([speech(31.0), silence(0.4), speech(5.0)])
    plan = make_plan(samples, ENGLISH)
    units = play(plan, lambda unit: make_result((0.0, 1.0, " x"), resume=30.0))
    assert len(units) == 3
    samples = np.concatenate([speech(30.01), silence(0.4), speech(5.0)])
    plan = make_plan(samples, ENGLISH)
    assert len(play(plan, lambda unit: make_result((0.0, 1.0, " x"), resume=seconds(unit)))) <= 3


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.integers(1, 100), st.lists(st.floats(-1.0, 40.0), min_size=1, max_size=20), st.booleans())
def test_every_chain_advances_and_ends(length: int, resumes: list[float], timestamps: bool) -> None:
    plan = make_plan(speech(float(length)), replace(ENGLISH, timestamps=timestamps))
    count = 0

    def model(unit: Window) -> WindowResult:
        nonlocal count
        count += 1
        return make_result((0.0, 0.5, " x"), resume=resumes[count % len(resumes)])

    units = play(plan, model)
    starts = [unit.start for unit in units]
    assert all(after > before for before, after in pairwise(starts))
    small = "".join("s" if after - before < MIN_ADVANCE_SAMPLES else " " for before, after in pairwise(starts))
    assert "s" * (MAX_CONTINUATIONS + 1) not in small  # nearly the same window is not decoded forever
    assert units[-1].start + len(units[-1].samples) == length * SAMPLE_RATE
    for before, after in pairwise(units):
        assert after.start <= before.start + len(before.samples)  # no gap between windows


@dataclass(frozen=True)
class Word:
    start: float
    end: float
    text: str


class WordModel:
    """A model that transcribes the words inside its window, in segments of `group` words, and may stop early."""

    def __init__(self, words: Sequence[Word], group: int, patience: float, keeps_open: bool) -> None:
        self.words, self.group, self.patience, self.keeps_open = words, group, patience, keeps_open

    def __call__(self, unit: Window) -> WindowResult:
        begin, length = unit.start / SAMPLE_RATE, seconds(unit)
        inside = [word for word in self.words if word.start >= begin - 0.01 and word.end <= begin + length + 0.01]
        if not unit.options.timestamps:
            return make_result((0.0, length, "".join(word.text for word in inside)), resume=length)
        groups = [inside[at : at + self.group] for at in range(0, len(inside), self.group)]
        edge = begin + length
        cut = any(word.start < edge - 0.02 and word.end > edge + 0.01 for word in self.words)
        closed = groups[:-1] if cut and len(groups) > 1 else groups
        if len(groups) > 3 and length > 10.0:  # at least 0.5 s of speech is left
            closed = closed[: max(1, round((len(groups) - 2) * self.patience))]
        opened = groups[len(closed) : len(closed) + 1] if self.keeps_open else []
        pieces = [
            (group[0].start - begin, group[-1].end - begin, "".join(word.text for word in group))
            for group in [*closed, *opened]
        ]
        return make_result(*pieces, resume=closed[-1][-1].end - begin if closed else length)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(st.sampled_from([0.3, 0.5, 0.8]), st.sampled_from([0.02, 0.04, 0.06, 0.6])), min_size=1),
    st.integers(10, 95),
    st.integers(1, 6),
    st.floats(0.3, 1.0),
    st.booleans(),
    st.booleans(),
)
def test_no_word_is_lost_or_doubled(
    rhythm: list[tuple[float, float]], length: int, group: int, patience: float, keeps_open: bool, timestamps: bool
) -> None:
    """Words with and without pauses, in files from one window to a chain of several."""
    words: list[Word] = []
    parts: list[Samples] = []
    at = 0.0  # seconds
    while at < length:
        spoken, gap = rhythm[len(words) % len(rhythm)]
        words.append(Word(at, at + spoken, f" w{len(words)}"))
        parts += [speech(spoken), silence(gap)]
        at += spoken + gap
    plan = make_plan(np.concatenate(parts), replace(ENGLISH, timestamps=timestamps))
    play(plan, WordModel(words, group, patience, keeps_open))
    assert plan.result().text.split() == [word.text.strip() for word in words]
