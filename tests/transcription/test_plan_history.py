"""TranscriptionPlan with condition_on_previous_text: the history each window gets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from antiphon.testing.fake import describe
from antiphon.transcription.plan import MAX_HISTORY_TOKENS, TranscriptionPlan
from antiphon.types.events import LanguageDetected, Window, WindowFinished
from antiphon.types.options import TranscribeOptions
from antiphon.types.results import WindowResult
from tests.support.transcription_plan import (
    CONDITIONED,
    ENGLISH,
    make_plan,
    make_result,
    paused,
    play,
    seconds,
    silence,
    speech,
)


def test_each_window_gets_the_tokens_before_it() -> None:
    plan = make_plan(paused(25.0, 25.0, 25.0), CONDITIONED)
    histories = []
    for unit in units_one_by_one(plan):
        histories.append(unit.history)
    assert histories == [(), (1,), (1, 2)]


def units_one_by_one(plan: TranscriptionPlan, **scores: float) -> Iterator[Window]:
    """Yield every window, one in flight at a time; each result is one piece whose token is its number."""
    units, count = plan.start(), 0
    while units:
        (unit,) = units
        yield unit
        count += 1
        result = make_result((0.0, seconds(unit), f" {count}"), resume=seconds(unit))
        piece = replace(result.pieces[0], tokens=(count,))
        units = plan.receive(WindowFinished(unit, replace(result, pieces=(piece,), **(scores if count == 2 else {}))))
    assert plan.done


@pytest.mark.parametrize("scores", [{"avg_logprob": -1.1}, {"temperature": 0.6}], ids=str)
def test_history_is_cleared_after_an_unreliable_window(scores: dict[str, float]) -> None:
    plan = make_plan(paused(25.0, 25.0, 25.0, 25.0), CONDITIONED)
    assert [unit.history for unit in units_one_by_one(plan, **scores)] == [(), (1,), (), (3,)]


def test_history_is_cleared_after_a_repetition_loop() -> None:
    plan = make_plan(paused(25.0, 25.0), CONDITIONED)
    received = []

    def model(unit: Window) -> WindowResult:
        received.append(unit.history)
        return make_result((0.0, 25.0, " all the same" * 20), resume=seconds(unit))

    play(plan, model)
    assert received == [(), ()]


def test_history_has_no_tokens_twice_when_audio_is_decoded_again() -> None:
    """In a chain the history ends with the last closed segment; the text of a continuation is included."""
    plan = make_plan(speech(55.0), replace(CONDITIONED, timestamps=True))
    received = []

    def model(unit: Window) -> WindowResult:
        received.append(unit.history)
        if unit.start == 0:
            return make_result((0.0, 27.5, " one"), (27.5, 30.0, " tw"), resume=27.5)
        return make_result((0.0, 10.0, " three"), resume=10.0 if len(received) == 2 else seconds(unit))

    play(plan, model)
    assert received == [(), (4,), (4, 6)]


def test_history_keeps_the_newest_tokens() -> None:
    plan = make_plan(paused(25.0, 25.0, 25.0), CONDITIONED)
    received = []

    def model(unit: Window) -> WindowResult:
        received.append(unit.history)
        result = make_result((0.0, 25.0, f" {unit.start}"), resume=seconds(unit))
        tokens = tuple(range(len(received) * 1000, len(received) * 1000 + 150))
        return replace(result, pieces=(replace(result.pieces[0], tokens=tokens),))

    play(plan, model)
    assert len(received[2]) == MAX_HISTORY_TOKENS
    assert received[2][-150:] == tuple(range(2000, 2150))
    assert received[2][0] == 1150 - (MAX_HISTORY_TOKENS - 150)


def test_history_is_empty_without_condition_on_previous_text() -> None:
    plan = make_plan(paused(25.0, 25.0), ENGLISH)
    assert all(unit.history == () for unit in play(plan, describe))


def test_condition_on_previous_text_detects_the_language_in_the_first_window() -> None:
    samples = np.concatenate([speech(0.4), silence(28.0), paused(25.0, 25.0)])
    plan = make_plan(samples, TranscribeOptions(condition_on_previous_text=True))
    (first,) = plan.start()
    assert first.start == 0
    assert plan.receive(LanguageDetected(first, "es", 0.9)) == []
    (second,) = plan.receive(WindowFinished(first, replace(describe(first), language="es")))
    assert (second.start > 0, second.options.language) == (True, "es")
