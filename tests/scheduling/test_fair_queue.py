"""Turns alone: the order of the classes, and that nobody is passed over beyond the bound."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.scheduling.fair_queue import FairQueue


def test_a_class_is_served_before_the_next_and_its_members_in_turn() -> None:
    turns: FairQueue[str] = FairQueue(3, max_overtakes=10)
    for member, rank in (("c", 2), ("a1", 0), ("b", 1), ("a2", 0)):
        turns.join(member, rank)
    assert [turns.take() for _ in range(5)] == ["a1", "a2", "b", "c", None]
    assert not turns


def test_a_class_that_was_passed_over_often_enough_is_due() -> None:
    turns: FairQueue[str] = FairQueue(2, max_overtakes=3)
    for number in range(8):
        turns.join(f"a{number}", 0)
    turns.join("b0", 1)
    turns.join("b1", 1)
    assert [turns.take() for _ in range(8)] == ["a0", "a1", "a2", "b0", "a3", "a4", "a5", "b1"]


def test_who_leaves_takes_the_count_of_an_empty_line_along() -> None:
    turns: FairQueue[str] = FairQueue(2, max_overtakes=2)
    turns.join("b", 1)
    for number in range(4):
        turns.join(f"a{number}", 0)
    assert [turns.take(), turns.take()] == ["a0", "a1"]
    turns.leave("b")
    turns.leave("nobody")
    turns.join("b", 1)
    assert [turns.take() for _ in range(3)] == ["a2", "a3", "b"]


def test_a_class_that_may_not_is_passed_over_until_it_is_due() -> None:
    turns: FairQueue[str] = FairQueue(3, max_overtakes=2)
    turns.join("a", 0)
    turns.join("b", 1)
    for number in range(3):
        turns.join(f"c{number}", 2)
    assert [turns.take(lambda rank: rank == 2) for _ in range(2)] == ["c0", "c1"]
    assert [turns.take(lambda rank: rank == 2) for _ in range(2)] == ["a", "b"]


def test_who_may_not_stays_in_line() -> None:
    turns: FairQueue[str] = FairQueue(2, max_overtakes=2)
    turns.join("b", 1)
    assert [turns.take(lambda rank: rank == 0) for _ in range(5)] == [None] * 5
    assert turns.take() == "b"


def test_somebody_must_be_allowed_to_overtake() -> None:
    with pytest.raises(ValueError, match="max_overtakes"):
        FairQueue(2, max_overtakes=0)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.integers(1, 5), st.integers(1, 5), st.lists(st.integers(-1, 4), max_size=120))
def test_nobody_waits_beyond_the_bound(classes: int, overtakes: int, moves: list[int]) -> None:
    turns: FairQueue[int] = FairQueue(classes, overtakes)
    bounds: dict[int, int] = {}
    ranks: dict[int, int] = {}
    taken = 0

    def take() -> None:
        nonlocal taken
        member = turns.take()
        if member is not None:
            taken += 1
            assert taken <= bounds.pop(member)
            del ranks[member]

    for number, move in enumerate(moves):
        if move < 0:
            take()
            continue
        rank = move % classes
        ranks[number] = rank
        place = sum(each == rank for each in ranks.values())
        bounds[number] = taken + place * (overtakes + classes)
        turns.join(number, rank)
    while turns:
        take()
    assert not bounds
