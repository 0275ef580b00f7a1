"""The session protocol over real graphs: joining, stepping, leaving, and batches that change no result."""

from __future__ import annotations

import json
from dataclasses import replace
from mmap import PAGESIZE
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.loader import LoadOptions, load_sessions
from antiphon.models.whisper.session import WhisperSession
from antiphon.types.events import LanguageDetected, Window, WindowFinished
from antiphon.types.results import Piece
from tests.support.drive_session import drive, make_unit
from tests.support.sessions import load_session
from tests.support.tiny_whisper import WIDTH, noise, write_tiny

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
    """The tokens of each kind of unit, decoded alone."""
    return {kind: drive(session, units_of([kind]))[0].tokens for kind in range(len(KINDS))}


def test_sample_units_differ(alone: dict[int, tuple[int, ...]]) -> None:
    assert len({tokens[:8] for tokens in alone.values()}) >= len(KINDS) - 1
    assert all(len(tokens) <= KINDS[kind]["max_new_tokens"] for kind, tokens in alone.items())  # type: ignore[operator]


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, len(KINDS) - 1), st.integers(0, 12)), min_size=2, max_size=4))
def test_batch_equals_single_runs(
    session: WhisperSession, alone: dict[int, tuple[int, ...]], schedule: list[tuple[int, int]]
) -> None:
    kinds, joins = [kind for kind, _ in schedule], [step for _, step in schedule]
    results = drive(session, units_of(kinds), joins)
    assert [result.tokens for result in results] == [alone[kind] for kind in kinds]


@settings(max_examples=6, deadline=None, derandomize=True)
@given(st.permutations([1, 3, 4, 7]), st.integers(0, 3), st.integers(0, 20))
def test_leaving_does_not_change_other_units(
    session: WhisperSession, alone: dict[int, tuple[int, ...]], kinds: list[int], leaver: int, after: int
) -> None:
    units = units_of(kinds)
    results = {}
    events = session.join(units)
    for step in range(400):
        if step == after:
            session.leave(units[leaver])
        events += session.step()
        results |= {id(event.unit): event.result.tokens for event in events if isinstance(event, WindowFinished)}
        events = []
    for index, unit in enumerate(units):
        if index != leaver or id(unit) in results:
            assert results[id(unit)] == alone[kinds[index]]


def test_language_is_detected_before_the_text(empty_session: WhisperSession) -> None:
    unit = make_unit(noise(2), max_new_tokens=2)
    events = empty_session.join([unit])
    assert isinstance(events[0], LanguageDetected)
    assert events[0].language in ("en", "es")
    assert 0.5 <= events[0].probability <= 1
    empty_session.leave(unit)


def test_failing_join_does_not_change_units_in_flight(
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
    assert isinstance(events[0], WindowFinished)
    assert events[0].result.tokens == alone[1]


def test_results_are_the_same_after_rest(empty_session: WhisperSession, alone: dict[int, tuple[int, ...]]) -> None:
    for kinds in ([7, 0], [2, 5]):
        empty_session.rest()
        results = drive(empty_session, units_of(kinds), [0, 3])
        assert [result.tokens for result in results] == [alone[kind] for kind in kinds]


def test_rest_frees_the_memory_of_all_rows(tiny_folder: Path) -> None:
    session = load_session(str(tiny_folder), precision="f32", slots=64)
    units = [make_unit(noise(1), language="en", max_new_tokens=2, min_new_tokens=2) for _ in range(64)]
    drive(session, units)  # what OpenVINO keeps for a batch of 64 is not memory of the rows
    session.rest()
    before = resident()
    drive(session, units)
    rows = 63 * 4 * 1500 * WIDTH * 4  # arrays, encoder positions, width, bytes
    assert resident() - before > rows
    session.rest()
    assert resident() - before < rows / 4


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGESIZE


WORDED: list[dict[str, object]] = [
    {"language": "en", "max_new_tokens": 9},
    {"language": "es", "task": "translate", "max_new_tokens": 30},
    {"language": "es", "timestamps": True, "max_new_tokens": 25},
    {"language": "en", "max_new_tokens": 150, "prompt": "Antiphon"},
]


def worded_units(*, words: bool) -> list[Window]:
    return [make_unit(noise(1 + 6 * index, seed=index), words=words, **kind) for index, kind in enumerate(WORDED)]  # type: ignore[arg-type]


def test_word_timestamps_make_up_the_text_and_change_nothing_else(empty_session: WhisperSession) -> None:
    plain = drive(empty_session, worded_units(words=False))
    worded = drive(empty_session, worded_units(words=True))
    assert [replace(each, pieces=without_words(each.pieces)) for each in worded] == plain
    pieces = [piece for each in worded for piece in each.pieces]
    assert pieces
    for piece in pieces:
        assert "".join(word.text for word in piece.words) == piece.text
        assert all(0.0 <= word.start <= word.end for word in piece.words)
    assert not any(piece.words for each in plain for piece in each.pieces)


def without_words(pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
    return tuple(replace(piece, words=()) for piece in pieces)


def test_word_timestamps_do_not_depend_on_the_batch(empty_session: WhisperSession) -> None:
    alone = [drive(empty_session, [unit])[0].pieces for unit in worded_units(words=True)]
    for joins in ([0, 0, 0, 0], [3, 0, 1, 7], [20, 12, 3, 0]):
        together = drive(empty_session, worded_units(words=True), joins)
        assert [each.pieces for each in together] == alone


@pytest.mark.parametrize("samples", [0, 1, 319, 320, 700])
def test_word_timestamps_of_almost_no_audio(empty_session: WhisperSession, samples: int) -> None:
    unit = make_unit(noise(1)[:samples], language="en", words=True, min_new_tokens=6, max_new_tokens=6)
    (result,) = drive(empty_session, [unit])
    times = [time for piece in result.pieces for word in piece.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert all(0.0 <= time <= samples / 16_000 for time in times)


def test_word_timestamps_of_the_longest_answer(empty_session: WhisperSession) -> None:
    unit = make_unit(noise(4), language="en", words=True, min_new_tokens=444, max_new_tokens=444)
    (result,) = drive(empty_session, [unit])
    assert len(result.tokens) == 444
    assert "".join(word.text for piece in result.pieces for word in piece.words) == result.pieces[0].text


def test_align_graph_is_compiled_at_the_first_request_for_word_timestamps(tiny_folder: Path) -> None:
    session = load_session(str(tiny_folder), precision="f32", slots=2)
    assert isinstance(session, WhisperSession)
    made: list[None] = []
    compile_align = session.runner._compile_align
    session.runner._compile_align = lambda: (made.append(None), compile_align())[1]
    drive(session, [make_unit(noise(1), language="en", max_new_tokens=3)])
    assert not made
    for _ in range(2):
        drive(session, [make_unit(noise(1), language="en", words=True, max_new_tokens=3)])
    assert len(made) == 1


def test_align_graph_is_compiled_at_load_with_word_timestamps_enabled(tiny_folder: Path) -> None:
    streams = {"NUM_STREAMS": 2}
    options = LoadOptions(precision="f32", slots=2, word_timestamps=True, plugin_config=streams)
    sessions = load_sessions(str(tiny_folder), options)
    assert len(sessions) == 2
    for session in sessions:
        assert isinstance(session, WhisperSession)
        assert session.runner._align is not None


def test_failing_align_graph_fails_only_units_with_word_timestamps(
    tiny_folder: Path, alone: dict[int, tuple[int, ...]]
) -> None:
    session = load_session(str(tiny_folder), precision="f32", slots=4)
    assert isinstance(session, WhisperSession)

    def fail() -> None:
        raise RuntimeError("the folder is gone")

    session.runner._compile_align = fail
    (unit,) = units_of([1])
    session.join([unit])
    with pytest.raises(RuntimeError, match="gone"):
        session.join([make_unit(noise(1), language="en", words=True)])
    events: list[object] = []
    while not events:
        events = list(session.step())
    (event,) = events
    assert isinstance(event, WindowFinished)
    assert event.result.tokens == alone[1]


def test_guessed_alignment_heads_are_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_tiny(tmp_path)
    load_session(str(folder), precision="f32", slots=1, word_timestamps=True)
    assert "names no alignment_heads" in caplog.text
    caplog.clear()
    generation = folder / "generation_config.json"
    generation.write_text(json.dumps(json.loads(generation.read_text()) | {"alignment_heads": [[1, 2], [0, 1]]}))
    load_session(str(folder), precision="f32", slots=1, word_timestamps=True)
    assert "alignment_heads" not in caplog.text


def test_scores_are_probabilities(empty_session: WhisperSession) -> None:
    result = drive(empty_session, [make_unit(noise(3), language="en", max_new_tokens=12)])[0]
    assert result.avg_logprob < 0
    assert 0 < result.no_speech_prob < 1
    assert result.temperature == 0.0
    assert result.resume == 3.0


def test_min_new_tokens_forces_the_length(empty_session: WhisperSession) -> None:
    unit = make_unit(noise(3), language="en", min_new_tokens=40, max_new_tokens=40)
    assert len(drive(empty_session, [unit])[0].tokens) == 40


def test_leave_ignores_an_unknown_unit(empty_session: WhisperSession) -> None:
    empty_session.leave(make_unit(noise(1)))
    assert empty_session.step() == []
