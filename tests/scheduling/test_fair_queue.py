"""The fair queue: the order of its classes, and the bound on waiting."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.scheduling.fair_queue import FairQueue


def test_classes_are_served_in_order_and_members_first_in_first_out() -> None:
    queue: FairQueue[str] = FairQueue(3, max_overtakes=10)
    for member, rank in (("c", 2), ("a1", 0), ("b", 1), ("a2", 0)):
        queue.push(member, rank)
    assert [queue.pop() for _ in range(5)] == ["a1", "a2", "b", "c", None]
    assert not queue


def test_class_passed_over_max_overtakes_times_is_due() -> None:
    queue: FairQueue[str] = FairQueue(2, max_overtakes=3)
    for number in range(8):
        queue.push(f"a{number}", 0)
    queue.push("b0", 1)
    queue.push("b1", 1)
    assert [queue.pop() for _ in range(8)] == ["a0", "a1", "a2", "b0", "a3", "a4", "a5", "b1"]


def test_removing_the_last_member_resets_the_count_of_its_class() -> None:
    queue: FairQueue[str] = FairQueue(2, max_overtakes=2)
    queue.push("b", 1)
    for number in range(4):
        queue.push(f"a{number}", 0)
    assert [queue.pop(), queue.pop()] == ["a0", "a1"]
    queue.remove("b")
    queue.remove("missing")
    queue.push("b", 1)
    assert [queue.pop() for _ in range(3)] == ["a2", "a3", "b"]


def test_class_that_may_not_pop_is_passed_over_until_it_is_due() -> None:
    queue: FairQueue[str] = FairQueue(3, max_overtakes=2)
    queue.push("a", 0)
    queue.push("b", 1)
    for number in range(3):
        queue.push(f"c{number}", 2)
    assert [queue.pop(lambda rank: rank == 2) for _ in range(2)] == ["c0", "c1"]
    assert [queue.pop(lambda rank: rank == 2) for _ in range(2)] == ["a", "b"]


def test_member_that_may_not_pop_stays_in_line() -> None:
    queue: FairQueue[str] = FairQueue(2, max_overtakes=2)
    queue.push("b", 1)
    assert [queue.pop(lambda rank: rank == 0) for _ in range(5)] == [None] * 5
    assert queue.pop() == "b"


def test_max_overtakes_must_be_at_least_one() -> None:
    with pytest.raises(ValueError, match="max_overtakes"):
        FairQueue(2, max_overtakes=0)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.integers(1, 5), st.integers(1, 5), st.lists(st.integers(-1, 4), max_size=120))
def test_no_member_waits_beyond_the_stated_bound(classes: int, overtakes: int, moves: list[int]) -> None:
    queue: FairQueue[int] = FairQueue(classes, overtakes)
    bounds: dict[int, int] = {}
    ranks: dict[int, int] = {}
    popped = 0

    def pop() -> None:
        nonlocal popped
        member = queue.pop()
        if member is not None:
            popped += 1
            assert popped <= bounds.pop(member)
            del ranks[member]

    for number, move in enumerate(moves):
        if move < 0:
            pop()
            continue
        rank = move % classes
        ranks[number] = rank
        position = list(ranks.values()).count(rank)
        bounds[number] = popped + position * (overtakes + classes)
        queue.push(number, rank)
    while queue:
        pop()
    assert not bounds
