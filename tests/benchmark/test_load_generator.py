"""Who asks when: clients wait for their answers, arrivals do not, and a request that was held up counts as late."""

from __future__ import annotations

import asyncio
import time

import pytest

from antiphon.benchmark.load_generator import Answer, Limit, Outcome, run_clients, run_rate

TURN = 0.02  # seconds an answer takes


class Counter:
    """Answers after a turn each, any number at once, and knows how many it had at once at most."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.inside = self.most = 0

    async def __call__(self, number: int) -> Answer:
        self.asked.append(number)
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(TURN)
        self.inside -= 1
        return Answer("200", seconds=1.0)


async def one_at_a_time(_number: int) -> Answer:
    """An answer that holds everything else up, as a machine with all cores busy does."""
    time.sleep(TURN)  # noqa: ASYNC251 - to block is the point
    return Answer("200")


def test_clients_ask_one_thing_after_another() -> None:
    ask = Counter()
    outcomes = asyncio.run(run_clients(ask, 3, Limit(requests=10)))
    assert sorted(ask.asked) == list(range(10))
    assert sorted(outcome.number for outcome in outcomes) == list(range(10))
    assert ask.most == 3
    assert all(outcome.latency >= TURN * 0.9 for outcome in outcomes)


@pytest.mark.parametrize("rate", [None, 80.0])
def test_time_ends_it(rate: float | None) -> None:
    ask, limit = Counter(), Limit(seconds=0.1)
    outcomes = asyncio.run(run_clients(ask, 2, limit) if rate is None else run_rate(ask, rate, limit))
    dues = [outcome.due for outcome in outcomes]
    assert max(dues) - min(dues) <= 0.1
    assert 2 <= len(outcomes) <= 10 if rate is None else len(outcomes) == 8
    assert not ask.inside


def test_arrivals_do_not_wait_for_answers() -> None:
    ask = Counter()
    outcomes = asyncio.run(run_rate(ask, 1000.0, Limit(requests=10)))
    assert ask.most > 3
    dues = sorted(outcome.due for outcome in outcomes)
    assert [due - dues[0] for due in dues] == pytest.approx([number / 1000 for number in range(10)])


def test_what_was_held_up_counts_from_when_it_was_due() -> None:
    outcomes = asyncio.run(run_rate(one_at_a_time, 1000.0, Limit(requests=10)))
    last = max(outcomes, key=lambda outcome: outcome.number)
    assert last.latency >= 10 * TURN - 10 / 1000
    # Clients that wait cannot see it.
    outcomes = asyncio.run(run_clients(one_at_a_time, 1, Limit(requests=3)))
    assert min(outcome.latency for outcome in outcomes) < 3 * TURN


def test_latency_is_from_due_to_ended() -> None:
    assert Outcome(0, 2.0, 5.0, Answer("200")).latency == 3.0
