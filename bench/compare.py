"""Antiphon, `openvino_genai` behind a lock and faster-whisper (as it is, and batched), interleaved in one run.

Same machine, same random weights in int8, the same number of forced tokens (bench/peers.py says how). Four scenes: one client
and many with 30 s windows, many with clips of 3 to 5 s, and one long file; of noise, with a pause every four seconds. Prints
tables and ratios, and how near each comes to what the machine could do at best (bench/roofline.py); the last line is JSON.

    scripts/bench --rounds 3
    scripts/bench --shape tiny --scenes "1 client" --peers antiphon "locked genai" --rounds 1
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from antiphon.benchmark.clips import make_noise
from antiphon.benchmark.figures import percentile
from antiphon.runtime.openvino import open_device
from antiphon.types.audio import SAMPLE_RATE, WINDOW_SECONDS, Samples
from bench.checkpoints import Shape
from bench.clients import Timed, run_clients
from bench.peers import OURS, PEERS, SHAPES, Transcribe, load_peers, prepare
from bench.roofline import Dimensions, Peak, least_seconds, measure_peak

SLOTS = 16  # windows that Antiphon decodes side by side


@dataclass(frozen=True)
class Scene:
    """So many clients, each asking so many times, with these clips in turn; `tokens` are forced in every window."""

    name: str
    clients: int
    each: int
    clips: tuple[Samples, ...]
    tokens: int

    @property
    def seconds(self) -> float:
        """Of audio, in one round."""
        asked = self.clients * self.each
        return sum(len(self.clips[number % len(self.clips)]) for number in range(asked)) / SAMPLE_RATE


@dataclass(frozen=True)
class Row:
    """A peer in a scene: medians over the rounds. A ratio is of Antiphon's figure to the peer's in the same round."""

    peer: str
    rtfx: float
    p50_s: float
    p95_s: float
    throughput_ratio: float
    p50_ratio: float
    p95_ratio: float
    roofline: float


def scenes(clients: int, short_clients: int, each: int, tokens: int, short_tokens: int, minutes: float) -> list[Scene]:
    """Those there are. What is said in 4 s is no longer than `short_tokens`."""
    generator = np.random.default_rng(0)
    windows = tuple(make_noise(WINDOW_SECONDS, generator) for _ in range(8))
    short = tuple(make_noise(float(generator.uniform(3, 5)), generator) for _ in range(16))
    long = make_noise(60 * minutes, generator)
    return [
        Scene("1 client", 1, each, windows, tokens),
        Scene(f"{clients} clients", clients, each, windows, tokens),
        Scene(f"{short_clients} clients, clips of 3 to 5 s", short_clients, each, short, short_tokens),
        Scene(f"a file of {minutes:g} min", 1, 1, (long,), tokens),
    ]


def play(scene: Scene, transcribe: Transcribe) -> Timed:
    def ask(number: int) -> None:
        transcribe(scene.clips[number % len(scene.clips)], scene.tokens)

    return run_clients(ask, scene.clients, scene.each)


def compare(scene: Scene, peers: dict[str, Transcribe], rounds: int, best: float) -> list[Row]:
    """A row each; `best` is the roofline's throughput in RTFx (seconds of audio a second)."""
    times: dict[str, list[Timed]] = {name: [] for name in peers}
    for _ in range(rounds):
        for name, transcribe in peers.items():  # A B C A B C …: what the machine does to one it does to the others
            times[name].append(play(scene, transcribe))
    return [_row(name, times[name], times[OURS], scene.seconds, best) for name in peers]


def _row(name: str, theirs: Sequence[Timed], ours: Sequence[Timed], audio: float, best: float) -> Row:
    def ratio(figures: Sequence[float], others: Sequence[float]) -> float:
        return round(statistics.median(a / b for a, b in zip(figures, others, strict=True)), 2)

    def figures(times: Sequence[Timed]) -> tuple[list[float], list[float], list[float]]:
        latencies = [each.latencies for each in times]
        return (
            [audio / each.seconds for each in times],
            [percentile(each, 50) for each in latencies],
            [percentile(each, 95) for each in latencies],
        )

    (rtfx, p50, p95), (our_rtfx, our_p50, our_p95) = figures(theirs), figures(ours)
    middle = statistics.median(rtfx)
    return Row(
        peer=name,
        rtfx=round(middle, 1),
        p50_s=round(statistics.median(p50), 3),
        p95_s=round(statistics.median(p95), 3),
        throughput_ratio=ratio(our_rtfx, rtfx),
        p50_ratio=ratio(our_p50, p50),
        p95_ratio=ratio(our_p95, p95),
        roofline=round(middle / best, 3),
    )


def best_rtfx(scene: Scene, sizes: Dimensions, peak: Peak) -> float:
    """The roofline's throughput: every window computed once, as many side by side as are there and have a slot."""
    lengths = [len(scene.clips[number % len(scene.clips)]) for number in range(scene.clients * scene.each)]
    windows = sum(math.ceil(length / (WINDOW_SECONDS * SAMPLE_RATE)) for length in lengths)
    rows = min(SLOTS, windows // scene.each)
    return scene.seconds / least_seconds(sizes, peak, windows, rows, scene.tokens)


def dimensions(shape: Shape) -> Dimensions:
    """In the layout of our own engine: int8 matrices, caches in the device's own precision."""
    return Dimensions(
        width=shape.width,
        layers=shape.layers,
        decoder_layers=shape.decoder_layers or shape.layers,
        ffn=shape.ffn or 4 * shape.width,
        vocabulary=shape.vocabulary,
        mels=shape.mels,
        cache=2 if open_device().precision == "bf16" else 4,
    )


def print_table(rows: Sequence[Row]) -> None:
    dictionaries = [asdict(row) for row in rows]
    names = list(dictionaries[0])
    print("| " + " | ".join(names) + " |")
    print("|" + "---|" * len(names))
    for each in dictionaries:
        print("| " + " | ".join(str(each[name]) for name in names) + " |", flush=True)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="base")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS)
    parser.add_argument("--scenes", nargs="+", default=[], help="those whose names begin so; else all")
    parser.add_argument("--clients", type=int, default=8, help="of the second scene")
    parser.add_argument("--short-clients", type=int, default=16, help="of the third")
    parser.add_argument("--minutes", type=float, default=10, help="of the file in the fourth")
    parser.add_argument("--each", type=int, default=2, help="requests a client makes a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=100, help="forced in a window of 30 s")
    parser.add_argument("--short-tokens", type=int, default=15, help="forced in a clip of 3 to 5 s")
    parser.add_argument("--weight-format", default="int8", help="of Antiphon's weights")
    parser.add_argument("--audio-context", default="full", help="of Antiphon's: full, or auto")
    parser.add_argument("--num-streams", type=int, default=1, help="of Antiphon's sessions")
    parser.add_argument("--work", type=Path, default=Path(".bench"), help="where the models are, or are made")
    return parser.parse_args()


def main() -> None:
    options = read_options()
    names = tuple(name for name in PEERS if name == OURS or name in options.peers)
    shape = SHAPES[options.shape]
    folders = prepare(options.work, shape, names)
    peers = load_peers(folders, names, options.weight_format, options.audio_context, options.num_streams)
    wanted = [
        scene
        for scene in scenes(
            options.clients,
            options.short_clients,
            options.each,
            options.tokens,
            options.short_tokens,
            options.minutes,
        )
        if not options.scenes or scene.name.startswith(tuple(options.scenes))
    ]
    peak = measure_peak(len(os.sched_getaffinity(0)))
    print(f"peak: gemm {peak.numpy:.0f} (numpy) and {peak.openvino:.0f} (OpenVINO) GFLOP/s, {peak.bandwidth:.1f} GB/s")
    found = {}
    for scene in wanted:
        sampled = {name: transcribe(scene.clips[0], scene.tokens) for name, transcribe in peers.items()}
        print(f"\n{scene.name}; tokens sampled of the first clip: {sampled}", flush=True)
        rows = compare(scene, peers, options.rounds, best_rtfx(scene, dimensions(shape), peak))
        print_table(rows)
        found[scene.name] = {"sampled": sampled, "rows": [asdict(row) for row in rows]}
    print(json.dumps({"shape": options.shape, "tokens": options.tokens, "peak": asdict(peak), "scenes": found}))


if __name__ == "__main__":
    main()
