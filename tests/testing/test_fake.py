"""The fake session follows the session protocol, so that tests that use it hold for real ones."""

from __future__ import annotations

import numpy as np
import pytest

from antiphon.models.session import Session
from antiphon.testing.fake import FakeSession, describe
from antiphon.types.events import Event, Failed, LanguageDetected, Window, WindowFinished
from antiphon.types.options import TranscribeOptions


def make_unit(seconds: float, language: str | None = "es") -> Window:
    samples = np.zeros(round(seconds * 16_000), np.float32)
    return Window(0, samples, 0, TranscribeOptions(language=language))


def test_result_is_the_length_of_the_audio() -> None:
    session: Session = FakeSession()
    unit = make_unit(3.2)
    assert session.join([unit]) == []
    (event,) = session.step()
    assert isinstance(event, WindowFinished)
    assert event.result.pieces[0].text == " audio of 3.20 s"
    assert event.result.language == "es"
    assert event.result.resume == 3.2


def test_longer_audio_takes_more_steps() -> None:
    session = FakeSession(seconds_per_step=10.0)
    session.join([make_unit(30.0), make_unit(5.0)])
    assert [len(session.step()) for _ in range(4)] == [1, 0, 1, 0]
    assert session.batches == [2, 1, 1, 0]


def test_language_is_detected_only_if_none_is_given() -> None:
    unit = make_unit(1.0, language=None)
    assert FakeSession().join([make_unit(1.0), unit]) == [LanguageDetected(unit, "en", 1.0)]


def test_script_replaces_results_and_fails_units() -> None:
    good, bad = make_unit(1.0), make_unit(2.0)
    error = ValueError("scripted")
    answer = describe(make_unit(9.0))
    session = FakeSession(script=lambda unit: error if unit is bad else answer)
    session.join([good, bad])
    expected: list[Event] = [WindowFinished(good, answer), Failed(bad, error)]
    assert session.step() == expected


def test_failed_join_holds_no_slot_and_leave_frees_one() -> None:
    bad, other = make_unit(1.0), make_unit(1.0)
    session = FakeSession(slots=1, join_fails=lambda unit: unit is bad)
    with pytest.raises(RuntimeError, match="join"):
        session.join([bad])
    session.join([other])
    with pytest.raises(ValueError, match="slots"):
        session.join([make_unit(1.0)])
    session.leave(other)
    session.leave(other)
    session.join([make_unit(1.0)])


def test_step_fails_while_a_chosen_unit_is_in_flight() -> None:
    bad = make_unit(1.0)
    session = FakeSession(step_fails=lambda unit: unit is bad)
    session.join([bad])
    with pytest.raises(RuntimeError, match="step"):
        session.step()
    session.leave(bad)
    assert session.step() == []
