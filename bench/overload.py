"""Ten times more than a server can do: who is let in is answered in time, the rest is turned away at once, memory stays flat.

The server has a fake model that takes a fixed time a step, or with `--model` a real one. What it can do is measured first;
then requests arrive at a steady rate, whatever becomes of them. Server, callers and whoever looks at its health are a process
each, and each says how much of a core it took: callers that are late or busy measure themselves. The last line is JSON.

    .venv/bin/python bench/overload.py --seconds 60
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.callers import Account, Call, call_at_a_rate, call_in_turns, clip, look_at_health, upload
from bench.servers import Server, antiphon, running

STEP = 0.1  # seconds; the fake model's, one window of which joins in each: ten requests a second
AT_ONCE = 0.05  # seconds in which a refusal and the health are to be told


def measure(server: Server, asked: argparse.Namespace) -> dict[str, Any]:
    request = upload(clip(asked.clip))
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(call_in_turns, server.port, 1.0, request, 4).result()  # whatever is made at first use
        pool.submit(look_at_health, server.port, 0.5).result()
        alone = pool.submit(call_in_turns, server.port, asked.calibrate, request, asked.clients).result()
        took = max(each.ended for each in alone.calls) - min(each.due for each in alone.calls)
        capacity = sum(each.status == 200 for each in alone.calls) / took
        rate = asked.times * capacity
        before, began = server.processor_seconds, time.monotonic()
        health = pool.submit(look_at_health, server.port, asked.seconds)
        crowd = pool.submit(call_at_a_rate, server.port, asked.seconds, request, rate)
        memory = watched_memory(server, until=began + asked.seconds)
        calls, looks = crowd.result(), health.result()
    whole = max(each.ended for each in calls.calls) - began
    return {
        "capacity_a_second": round(capacity, 1),
        "offered_a_second": round(rate, 1),
        "seconds": asked.seconds,
        "deadline_s": asked.deadline,
        **told(calls, asked.deadline),
        "health": milliseconds(looks.calls) | {"over_50_ms": late(looks.calls)},
        "memory_mb": {"before": memory[0], "after_10_s": memory[10:11], "most": max(memory), "last": memory[-1]},
        "callers_late": figures(calls.lags + [max(0.0, each.sent - each.due) for each in calls.calls]),
        "health_callers_late": figures(looks.lags),
        "cores": {
            "server": round((server.processor_seconds - before) / whole, 2),
            "callers": round(calls.processor_seconds / whole, 2),
        },
        "connections": calls.connections,
    }


def told(account: Account, deadline: float) -> dict[str, Any]:
    """What became of the requests. One that was let in and is late, or got another answer than it should, has failed."""
    by_status: dict[int, list[Call]] = {}
    for each in account.calls:
        by_status.setdefault(each.status, []).append(each)
    answered, refused = by_status.get(200, []), by_status.get(429, [])
    in_time = [each for each in answered if each.ended - each.due <= deadline]
    failed = len(account.calls) - len(refused) - len(in_time)
    return {
        "requests": len(account.calls),
        "statuses": {str(status): len(calls) for status, calls in sorted(by_status.items())},
        "let_in": {"in_time": len(in_time), "failed": failed},
        "answered": milliseconds(answered),
        "refused": milliseconds(refused) | {"over_50_ms": late(refused)},
        "refused_from_sent": figures([each.ended - each.sent for each in refused]),
    }


def watched_memory(server: Server, until: float) -> list[int]:
    """Megabytes, each second."""
    seen = [round(server.megabytes)]
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(1.0, left))
        seen.append(round(server.megabytes))
    return seen


def milliseconds(calls: Sequence[Call]) -> dict[str, float]:
    return figures([each.ended - each.due for each in calls])


def late(calls: Sequence[Call]) -> int:
    return sum(each.ended - each.due > AT_ONCE for each in calls)


def figures(times: Sequence[float]) -> dict[str, float]:
    if not times:
        return {}
    return {f"p{at}_ms": round(float(np.percentile(times, at)) * 1000, 1) for at in (50, 95, 99, 100)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a folder, or the name of a built-in model; without it, a fake one")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--times", type=float, default=10.0, help="how many times what it can do is asked of it")
    parser.add_argument("--clip", type=float, default=3.0, help="seconds of audio in a request")
    parser.add_argument("--clients", type=int, default=16, help="how many ask at once while its pace is measured")
    parser.add_argument("--calibrate", type=float, default=5.0, help="for how many seconds")
    parser.add_argument("--deadline", type=float, default=10.0, help="--request_timeout of the server, in seconds")
    parser.add_argument("--requests", type=int, default=64, help="--max_queued_requests of the server")
    asked = parser.parse_args()
    flags = ("--request_timeout", str(asked.deadline), "--max_queued_requests", str(asked.requests))
    with running(antiphon(asked.model, *flags, step=STEP)) as server:
        figures = measure(server, asked)
    for name, figure in figures.items():
        print(f"{name:20} {figure}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
