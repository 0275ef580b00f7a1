"""One session with all threads, or several with a share each? Clients of whisper-base (random weights, int8) on 30 s windows.

What OVMS calls NUM_STREAMS. The sides take turns; forced tokens; wall time and processor time of each round, and the median
ratio of the first side's to each one's. The model is the one that `scripts/bench` makes. The last lines are JSON.

    .venv/bin/python bench/worker_sessions.py --rounds 5
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from antiphon.engine.registry import load_session
from antiphon.measure.clips import make_noise
from antiphon.service.speech import SpeechService
from antiphon.types import WINDOW_SECONDS, TranscribeOptions
from bench.clients import run_clients

FOLDER = Path(__file__).parent.parent / ".bench" / "base"
NAME = "base"
SLOTS = 16


def load(sessions: int) -> list[SpeechService]:
    """So many sessions, each with its share of slots and threads."""
    share = {"INFERENCE_NUM_THREADS": max(1, (os.cpu_count() or 1) // sessions)}
    services = [SpeechService(max_waiting=sys.maxsize) for _ in range(sessions)]
    for service in services:
        slots = SLOTS // sessions
        service.load(
            load_session(
                str(FOLDER), name=NAME, precision="f32", weight_format="int8", slots=slots, plugin_config=share
            )
        )
    return services


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    clips = [make_noise(WINDOW_SECONDS, generator) for _ in range(options.clients)]
    asked = TranscribeOptions("transcribe", "en", max_new_tokens=options.tokens, min_new_tokens=options.tokens)
    sides = {count: load(count) for count in options.sessions}

    def ask(services: list[SpeechService], number: int) -> None:
        services[number % len(services)].transcribe_blocking(clips[number % len(clips)], NAME, asked)

    rounds: dict[int, list[tuple[float, float]]] = {count: [] for count in sides}
    for count, services in sides.items():
        for number in range(count):
            ask(services, number)
    for turn in range(options.rounds):
        for count in options.sessions if turn % 2 == 0 else options.sessions[::-1]:
            used = time.process_time()
            timed = run_clients(partial(ask, sides[count]), options.clients, 1)
            rounds[count].append((timed.seconds, time.process_time() - used))
            print(f"{count} sessions: {timed.seconds:.1f} s, {rounds[count][-1][1]:.1f} s of processor", flush=True)
    first = rounds[options.sessions[0]]
    for count, found in rounds.items():
        wall, used = (statistics.median(a[i] / b[i] for a, b in zip(first, found, strict=True)) for i in (0, 1))
        print(json.dumps({"sessions": count, "wall_ratio": round(wall, 2), "processor_ratio": round(used, 2)}))


if __name__ == "__main__":
    main()
