"""One session with all cores, or several with a share each (`--num_streams`)? Clients of whisper-base (random weights, int8).

Windows of 30 s, forced tokens. The sides take turns; wall time and processor time of each round, and the median ratio of
the first side's to each one's, for as many clients as are given. The model is the one that `scripts/bench` makes. The last
lines are JSON.

    .venv/bin/python bench/streams.py --rounds 5 --clients 1 8
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from antiphon.benchmark.clips import make_noise
from antiphon.loader import LoadOptions, load_sessions
from antiphon.model_server import ModelServer
from antiphon.service import SpeechService, TranscribeRequest
from antiphon.types.audio import WINDOW_SECONDS
from antiphon.types.options import TranscribeOptions
from bench.clients import run_clients

FOLDER = Path(__file__).parent.parent / ".bench" / "base"
NAME = "base"


def load(streams: int) -> SpeechService:
    service = SpeechService(ModelServer())
    properties = {"NUM_STREAMS": streams}
    options = LoadOptions(name=NAME, precision="f32", weight_format="int8", plugin_config=properties)
    service.models.add(*load_sessions(str(FOLDER), options))
    return service


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--clients", type=int, nargs="+", default=[8])
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    generator = np.random.default_rng(0)
    clips = [make_noise(WINDOW_SECONDS, generator) for _ in range(max(options.clients))]
    asked = TranscribeOptions("transcribe", "en", max_new_tokens=options.tokens, min_new_tokens=options.tokens)
    sides = {streams: load(streams) for streams in options.streams}

    def ask(service: SpeechService, number: int) -> None:
        with service.admit(TranscribeRequest(NAME, asked)) as admitted:
            admitted.transcribe_blocking(clips[number % len(clips)])

    for service in sides.values():
        ask(service, 0)
    for clients in options.clients:
        rounds: dict[int, list[tuple[float, float]]] = {streams: [] for streams in sides}
        for turn in range(options.rounds):
            for streams in options.streams if turn % 2 == 0 else options.streams[::-1]:
                used = time.process_time()
                timed = run_clients(partial(ask, sides[streams]), clients, 1)
                rounds[streams].append((timed.seconds, time.process_time() - used))
                seconds, processor = rounds[streams][-1]
                print(
                    f"{clients} clients, {streams} streams: {seconds:.1f} s, {processor:.1f} s of processor", flush=True
                )
        first = rounds[options.streams[0]]
        for streams, found in rounds.items():
            wall, used = (statistics.median(a[i] / b[i] for a, b in zip(first, found, strict=True)) for i in (0, 1))
            ratios = {"wall_ratio": round(wall, 2), "processor_ratio": round(used, 2)}
            print(json.dumps({"clients": clients, "streams": streams, **ratios}))


if __name__ == "__main__":
    main()
