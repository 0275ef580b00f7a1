"""Load generators: a closed loop waits for responses, an open loop does not, and delayed requests count as slow."""

from __future__ import annotations

import asyncio
import time

import pytest

from antiphon.benchmark.load_generator import Limit, Measurement, Response, run_closed_loop, run_open_loop

TURN = 0.02  # seconds a response takes


class Counter:
    """Responds after a turn each, any number at once, and records the maximum concurrency."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.inside = self.most = 0

    async def __call__(self, number: int) -> Response:
        self.numbers.append(number)
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(TURN)
        self.inside -= 1
        return Response("200", seconds=1.0)


async def one_at_a_time(_number: int) -> Response:
    """A response that blocks everything else, as on a machine with all cores busy."""
    time.sleep(TURN)  # noqa: ASYNC251 - blocks on purpose
    return Response("200")


def test_closed_loop_sends_one_request_per_client_at_a_time() -> None:
    ask = Counter()
    measurements = asyncio.run(run_closed_loop(ask, 3, Limit(requests=10)))
    assert sorted(ask.numbers) == list(range(10))
    assert sorted(request.number for request in measurements) == list(range(10))
    assert ask.most == 3
    assert all(request.latency >= TURN * 0.9 for request in measurements)


@pytest.mark.parametrize("rate", [None, 80.0])
def test_time_limit_ends_both_loops(rate: float | None) -> None:
    ask, limit = Counter(), Limit(seconds=0.1)
    measurements = asyncio.run(run_closed_loop(ask, 2, limit) if rate is None else run_open_loop(ask, rate, limit))
    scheduled = [request.scheduled for request in measurements]
    assert max(scheduled) - min(scheduled) <= 0.1
    assert 2 <= len(measurements) <= 10 if rate is None else len(measurements) == 8
    assert not ask.inside


def test_open_loop_does_not_wait_for_responses() -> None:
    ask = Counter()
    measurements = asyncio.run(run_open_loop(ask, 1000.0, Limit(requests=10)))
    assert ask.most > 3
    scheduled = sorted(request.scheduled for request in measurements)
    assert [time - scheduled[0] for time in scheduled] == pytest.approx([number / 1000 for number in range(10)])


def test_open_loop_latency_counts_from_the_scheduled_start() -> None:
    measurements = asyncio.run(run_open_loop(one_at_a_time, 1000.0, Limit(requests=10)))
    last = max(measurements, key=lambda request: request.number)
    assert last.latency >= 10 * TURN - 10 / 1000
    # A closed loop does not show it.
    measurements = asyncio.run(run_closed_loop(one_at_a_time, 1, Limit(requests=3)))
    assert min(request.latency for request in measurements) < 3 * TURN


def test_latency_is_from_scheduled_to_ended() -> None:
    assert Measurement(0, 2.0, 5.0, Response("200")).latency == 3.0
