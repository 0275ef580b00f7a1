"""The session protocol over real graphs: joining, stepping, leaving, and batches that change nothing."""

from __future__ import annotations

import numpy as np
import pytest
from driving import drive, make_unit
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import noise

from antiphon.models.whisper.session import WhisperSession
from antiphon.types import Finished, LanguageDetected, Window

KINDS: list[dict[str, object]] = [
    {"language": "en", "max_new_tokens": 9},
    {"language": "es", "task": "translate", "max_new_tokens": 30},
    {"language": "en", "prompt": "Antiphon, OpenVINO", "max_new_tokens": 14},
    {"language": None, "max_new_tokens": 20},
    {"language": "es", "timestamps": True, "max_new_tokens": 25},
    {"language": "en", "temperature": 0.7, "seed": 3, "max_new_tokens": 17},
    {"language": "en", "max_new_tokens": 1},
    {"language": "en", "max_new_tokens": 150},
]


def units_of(kinds: list[int]) -> list[Window]:
    return [make_unit(noise(0.5 + 3 * kind, seed=kind), **KINDS[kind]) for kind in kinds]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def alone(session: WhisperSession) -> dict[int, tuple[int, ...]]:
    """Each kind's tokens when it has the session to itself."""
    return {kind: drive(session, units_of([kind]))[0].tokens for kind in range(len(KINDS))}


def test_the_kinds_differ(alone: dict[int, tuple[int, ...]]) -> None:
    assert len({tokens[:8] for tokens in alone.values()}) >= len(KINDS) - 1
    assert all(len(tokens) <= KINDS[kind]["max_new_tokens"] for kind, tokens in alone.items())  # type: ignore[operator]


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, len(KINDS) - 1), st.integers(0, 12)), min_size=2, max_size=4))
def test_a_batch_gives_what_single_runs_give(
    session: WhisperSession, alone: dict[int, tuple[int, ...]], schedule: list[tuple[int, int]]
) -> None:
    kinds, joins = [kind for kind, _ in schedule], [step for _, step in schedule]
    results = drive(session, units_of(kinds), joins)
    assert [result.tokens for result in results] == [alone[kind] for kind in kinds]


@settings(max_examples=6, deadline=None, derandomize=True)
@given(st.permutations([1, 3, 4, 7]), st.integers(0, 3), st.integers(0, 20))
def test_one_that_leaves_disturbs_nobody(
    session: WhisperSession, alone: dict[int, tuple[int, ...]], kinds: list[int], leaver: int, after: int
) -> None:
    units = units_of(kinds)
    results = {}
    events = session.join(units)
    for step in range(400):
        if step == after:
            session.leave(units[leaver])
        events += session.step()
        results |= {id(event.unit): event.result.tokens for event in events if isinstance(event, Finished)}
        events = []
    for index, unit in enumerate(units):
        if index != leaver or id(unit) in results:
            assert results[id(unit)] == alone[kinds[index]]


def test_a_language_is_heard_and_told_before_the_text(empty_session: WhisperSession) -> None:
    unit = make_unit(noise(2), max_new_tokens=2)
    events = empty_session.join([unit])
    assert isinstance(events[0], LanguageDetected)
    assert events[0].language in ("en", "es")
    assert 0.5 <= events[0].probability <= 1
    empty_session.leave(unit)


def test_a_failing_join_leaves_those_in_flight_alone(
    empty_session: WhisperSession, alone: dict[int, tuple[int, ...]]
) -> None:
    first = units_of([1])[0]
    empty_session.join([first])
    broken = make_unit(np.zeros(480_001, np.float32), language="en")
    with pytest.raises(ValueError, match="broadcast"):
        empty_session.join([broken])
    events = []
    while not events:
        events = empty_session.step()
    assert isinstance(events[0], Finished)
    assert events[0].result.tokens == alone[1]


def test_scores_are_probabilities(empty_session: WhisperSession) -> None:
    result = drive(empty_session, [make_unit(noise(3), language="en", max_new_tokens=12)])[0]
    assert result.avg_logprob < 0
    assert 0 < result.no_speech_prob < 1
    assert result.temperature == 0.0
    assert result.resume == 3.0


def test_a_forced_length_is_kept(empty_session: WhisperSession) -> None:
    unit = make_unit(noise(3), language="en", min_new_tokens=40, max_new_tokens=40)
    assert len(drive(empty_session, [unit])[0].tokens) == 40


def test_an_unknown_unit_leaves_quietly(empty_session: WhisperSession) -> None:
    empty_session.leave(make_unit(noise(1)))
    assert empty_session.step() == []
