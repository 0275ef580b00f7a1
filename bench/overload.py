"""Ten times the load a server can take: accepted requests are answered in time, the others get a 429 at once, memory stays flat.

The server has a fake model with a fixed time per step, or with `--model` a real one. Its capacity is measured first; then
requests arrive at a steady rate, whatever becomes of them. Server, callers (`antiphon bench`) and health checks each have a
process of their own. The machine has to be idle otherwise: callers that need a whole core measure themselves. The last line
is JSON.

    .venv/bin/python bench/overload.py --seconds 60
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import resource
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from antiphon.benchmark.figures import percentiles
from bench.overhead import Server, antiphon, running

STEP_S = 0.1  # per step of the fake model, in which one window joins: ten requests a second
HEALTH_INTERVAL_S = 0.1


def call(server: Server, options: argparse.Namespace, *flags: str) -> dict[str, Any]:
    """The figures of `antiphon bench`, whose latencies count from the time a request was due."""
    command = [str(Path(sys.executable).with_name("antiphon")), "bench", "--url", f"http://127.0.0.1:{server.port}/v1"]
    clip = ["--lengths", str(options.clip), "--language", "en"]
    output = subprocess.run([*command, *clip, *flags], check=True, stdout=subprocess.PIPE, text=True).stdout
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    return figures | {"processor_seconds": used.ru_utime + used.ru_stime}


def check_health(port: int, seconds: float) -> list[float]:
    """Seconds that each health check took, over one kept connection, from the time it was due."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    due = began = time.monotonic()
    latencies = []
    while due < began + seconds:
        time.sleep(max(0.0, due - time.monotonic()))
        connection.request("GET", "/v2/health/ready")
        connection.getresponse().read()
        latencies.append(time.monotonic() - due)
        due += HEALTH_INTERVAL_S
    connection.close()
    return latencies


def memory_until(server: Server, end: float) -> list[int]:
    """Megabytes, once a second."""
    seen = [round(server.megabytes)]
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(1.0, left))
        seen.append(round(server.megabytes))
    return seen


def measure(server: Server, options: argparse.Namespace) -> dict[str, Any]:
    alone = call(server, options, "--clients", str(options.clients), "--seconds", str(options.calibrate))
    rate = options.times * alone["requests_per_second"]
    seconds = str(options.seconds)
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        before, began = server.processor_seconds, time.monotonic()
        health = pool.submit(check_health, server.port, options.seconds)
        crowd = pool.submit(call, server, options, "--rate", str(rate), "--seconds", seconds)
        memory = memory_until(server, began + options.seconds)
        figures, looks = crowd.result(), percentiles(health.result())
        took, worked = time.monotonic() - began, server.processor_seconds - before
    return {
        "capacity_per_second": alone["requests_per_second"],
        "offered_per_second": round(rate, 1),
        "deadline_s": options.deadline,
        "requests": figures["requests"],
        "statuses": figures["statuses"],
        "answered_s": figures["latency"],
        "refused_s": figures["refusal"],
        "health_s": looks and {name: round(value, 4) for name, value in asdict(looks).items()},
        "memory_mb": {"before": memory[0], "after_10_s": memory[10:11], "most": max(memory), "last": memory[-1]},
        "cores": {"server": round(worked / took, 2), "callers": round(figures["processor_seconds"] / took, 2)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", help="a folder; without it, a fake model")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--times", type=float, default=10.0, help="the load, as a multiple of the capacity")
    parser.add_argument("--clip", type=float, default=3.0, help="seconds of audio in a request")
    parser.add_argument("--clients", type=int, default=16, help="clients while the capacity is measured")
    parser.add_argument("--calibrate", type=float, default=5.0, help="seconds for which the capacity is measured")
    parser.add_argument("--deadline", type=float, default=10.0, help="--request_timeout of the server, in seconds")
    parser.add_argument("--requests", type=int, default=64, help="--max_queued_requests of the server")
    options = parser.parse_args()
    flags = ("--request_timeout", str(options.deadline), "--max_queued_requests", str(options.requests))
    with running(antiphon(options.model, *flags, step=STEP_S)) as server:
        figures = measure(server, options)
    for name, figure in figures.items():
        print(f"{name:20} {figure}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
