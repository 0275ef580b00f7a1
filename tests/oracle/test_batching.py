"""Units decode exactly as in single runs, whichever others join or leave, in float32."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.models.whisper.session import WhisperSession
from antiphon.types.events import Failed, Window, WindowFinished
from antiphon.types.results import WindowResult
from tests.oracle.reference import Comparison, open_session
from tests.oracle.shapes import ENGLISH, PLAIN
from tests.oracle.signals import chirps, noise
from tests.oracle.test_answers import prompt_of
from tests.support.drive_session import drive, make_unit
from tests.support.whisper_checkpoint import Shape

# Everything in which two windows of one batch may differ. The long ones take the caches past 64, 128 and 256 positions.
POOL = [
    make_unit(chirps(0.2), language="en", max_new_tokens=12),
    make_unit(chirps(30, 1), timestamps=True, max_new_tokens=40),
    make_unit(chirps(3, 2), language="de", task="translate", max_new_tokens=25),
    make_unit(chirps(8, 3), language="fr", prompt=prompt_of(5), timestamps=True, max_new_tokens=30),
    make_unit(noise(2), prompt=prompt_of(60), max_new_tokens=9),
    make_unit(chirps(12, 4), language="en", prompt=prompt_of(120), timestamps=True, max_new_tokens=30),
    make_unit(chirps(5, 5), language="es", temperature=0.7, seed=1, max_new_tokens=30),
    make_unit(chirps(5, 5), language="es", temperature=0.7, seed=2, max_new_tokens=30, timestamps=True),
    make_unit(chirps(5, 5), start=80_000, language="es", temperature=0.7, seed=1, max_new_tokens=30),
    make_unit(chirps(20, 6), temperature=0.7, seed=3, prompt=prompt_of(223), max_new_tokens=20),
    make_unit(chirps(4, 7), language="ja", max_new_tokens=1),
    make_unit(chirps(9, 8), language="en", min_new_tokens=45, max_new_tokens=100),
    make_unit(np.zeros(0, np.float32), max_new_tokens=10, timestamps=True),
]
SLOTS = (2, 3, 6)


@dataclass(frozen=True)
class Guest:
    """A unit of the pool, the step it asks to join at, and how many steps later it is taken out (None: never)."""

    index: int
    joins: int
    leaves: int | None


GUESTS = st.builds(
    Guest,
    st.integers(0, len(POOL) - 1),
    st.integers(0, 25),
    st.one_of(st.none(), st.none(), st.integers(0, 12)),
)


@pytest.fixture(scope="module")
def sessions(comparison_of: Callable[[Shape], Comparison]) -> dict[int, WhisperSession]:
    return {slots: open_session(comparison_of(PLAIN).folder, slots) for slots in SLOTS}


@pytest.fixture(scope="module")
def alone(comparison_of: Callable[[Shape], Comparison]) -> Callable[[int], WindowResult]:
    """The result of a unit of the pool that had the session to itself."""
    session = comparison_of(PLAIN).session

    @functools.cache
    def decode(index: int) -> WindowResult:
        (result,) = drive(session, [POOL[index]])
        return result

    return decode


def run(session: WhisperSession, guests: Sequence[Guest]) -> dict[int, WindowResult]:
    """Let the guests in and out as they wish, as far as there are slots; results by their place in `guests`."""
    units = {place: replace(POOL[guest.index]) for place, guest in enumerate(guests)}  # equal, and not the same
    waiting = sorted(units, key=lambda place: guests[place].joins)
    inside: dict[int, int] = {}  # place -> the step it joined at
    results: dict[int, WindowResult] = {}
    step = 0
    while waiting or inside:
        ready = [place for place in waiting if guests[place].joins <= step][: session.slots - len(inside)]
        waiting = [place for place in waiting if place not in ready]
        inside |= dict.fromkeys(ready, step)
        events = session.join([units[place] for place in ready]) if ready else []
        events += session.step()
        for event in events:
            assert not isinstance(event, Failed)
            if isinstance(event, WindowFinished):
                (place,) = (place for place in inside if units[place] is event.unit)
                results[place] = event.result
                del inside[place]
        for place in [place for place, since in inside.items() if _leaves(guests[place], since, step)]:
            session.leave(units[place])
            del inside[place]
        step += 1
    assert not session._flight
    return results


def _leaves(guest: Guest, since: int, step: int) -> bool:
    return guest.leaves is not None and step - since >= guest.leaves


@settings(max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(slots=st.sampled_from(SLOTS), guests=st.lists(GUESTS, min_size=2, max_size=9))
def test_unit_in_any_batch_equals_a_single_run(
    slots: int, guests: list[Guest], sessions: dict[int, WhisperSession], alone: Callable[[int], WindowResult]
) -> None:
    results = run(sessions[slots], guests)
    assert {place for place, guest in enumerate(guests) if guest.leaves is None} <= set(results)
    for place, result in results.items():
        assert_same(result, alone(guests[place].index))


def assert_same(result: WindowResult, single: WindowResult) -> None:
    """The same tokens, times and language; the scores are float32 sums, which a batch may add in another order."""
    assert result.tokens == single.tokens
    assert result.pieces == single.pieces
    assert (result.language, result.resume) == (single.language, single.resume)
    assert result.avg_logprob == pytest.approx(single.avg_logprob, abs=1e-4)
    assert result.no_speech_prob == pytest.approx(single.no_speech_prob, abs=1e-4)


def test_pool_units_differ(alone: Callable[[int], WindowResult]) -> None:
    """Seeds and window starts sample differently and all answers differ, so a mixed-up row would be noticed."""
    answers = [alone(index).tokens for index in range(len(POOL))]
    assert len(set(answers)) == len(POOL)


def test_full_batch_equals_single_runs(
    sessions: dict[int, WhisperSession], alone: Callable[[int], WindowResult]
) -> None:
    for place, result in run(sessions[6], [Guest(index, 0, None) for index in range(len(POOL))]).items():
        assert_same(result, alone(place))


def test_caches_grow_under_units_in_flight(
    sessions: dict[int, WhisperSession], alone: Callable[[int], WindowResult]
) -> None:
    """One unit decodes past 64 positions while prompts of 120 and then 223 tokens move the arrays under its feet."""
    session = sessions[6]
    guests = [Guest(11, 0, None), Guest(0, 0, None), Guest(5, 3, None), Guest(9, 8, None), Guest(1, 9, None)]
    seen = set()
    advance = session.runner.advance
    session.runner.advance = lambda *args: (seen.add(session.runner._caches.past.capacity), advance(*args))[1]  # type: ignore[method-assign]
    try:
        results = run(session, guests)
    finally:
        del session.runner.advance
    assert {64, 128, 256} <= seen
    for place, guest in enumerate(guests):
        assert_same(results[place], alone(guest.index))


def test_english_only_batch_equals_single_runs(comparison_of: Callable[[Shape], Comparison]) -> None:
    session = comparison_of(ENGLISH).session
    units = [
        make_unit(chirps(3, seed), timestamps=seed % 2 == 0, prompt=prompt_of(3 * seed), max_new_tokens=20 + seed)
        for seed in range(6)
    ]
    singles = [drive(session, [unit])[0] for unit in units]
    for result, single in zip(drive(session, units, joins=[0, 0, 2, 5, 5, 9]), singles, strict=True):
        assert_same(result, single)


class Broken(Exception):
    """What a test makes fail."""


def _too_long(session: WhisperSession) -> Window:
    return make_unit(np.zeros(480_001, np.float32), language="en")


def _unknown_language(session: WhisperSession) -> Window:
    return make_unit(chirps(1), language="xx")


def _failing_pass(session: WhisperSession) -> Window:
    """The pass over the prefix fails after its rows were bound, as an allocation inside OpenVINO would."""
    passes = session.runner._run

    def fail(*args: object) -> object:
        session.runner._run = passes  # type: ignore[method-assign]
        raise Broken

    session.runner._run = fail  # type: ignore[method-assign,assignment]
    return make_unit(chirps(1), language="en", prompt=prompt_of(100))


@pytest.mark.parametrize("breakage", [_too_long, _unknown_language, _failing_pass])
def test_failed_join_does_not_change_other_units(
    breakage: Callable[[WhisperSession], Window],
    sessions: dict[int, WhisperSession],
    alone: Callable[[int], WindowResult],
) -> None:
    session, indices = sessions[6], [1, 6, 11]
    units = [replace(POOL[index]) for index in indices]
    events = session.join(units)
    for _ in range(4):
        events += session.step()
    inside = [decoding.unit for decoding in session._flight]
    assert len(inside) > 1
    with pytest.raises((ValueError, KeyError, Broken)):
        session.join([replace(POOL[0]), breakage(session)])
    assert [decoding.unit for decoding in session._flight] == inside
    while session._flight:
        events += session.step()
    results = {event.unit: event.result for event in events if isinstance(event, WindowFinished)}
    for unit, index in zip(units, indices, strict=True):
        assert_same(results[unit], alone(index))
