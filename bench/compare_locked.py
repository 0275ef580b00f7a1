"""Antiphon against `openvino_genai.WhisperPipeline` behind a lock (what OVMS serves), interleaved in one run.

Same machine, same random weights, same 30 s windows, the same number of forced tokens, int8 weights on both sides; the
peer's model folder is optimum's own export. Prints a table and, as the last line, JSON.

    scripts/bench --shape base --clients 1 8 --rounds 3
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.checkpoints import Shape, write_checkpoint
from bench.clients import run_clients

SHAPES = {
    "tiny": Shape("tiny", width=384, heads=6, layers=4, init_std=0.02),
    "base": Shape("base", width=512, heads=8, layers=6, init_std=0.02),
    "small": Shape("small", width=768, heads=12, layers=12, init_std=0.02),
}
Transcribe = Callable[[np.ndarray], int]  # one window in, the number of sampled tokens out


def prepare(work: Path, shape: Shape) -> tuple[Path, Path]:
    """The checkpoint folder and optimum's int8 export of it, made once."""
    checkpoint, exported = work / shape.name, work / f"{shape.name}-optimum-int8"
    if not (checkpoint / "model.safetensors").is_file():
        write_checkpoint(checkpoint, shape)
    if not (exported / "openvino_decoder_model.xml").is_file():
        command = ["export", "openvino", "--model", str(checkpoint), "--task", "automatic-speech-recognition-with-past"]
        tool = Path(sys.executable).with_name("optimum-cli")
        subprocess.run([str(tool), *command, "--weight-format", "int8", str(exported)], check=True)
    return checkpoint, exported


def load_locked(folder: Path, tokens: int) -> Transcribe:
    """The peer: one pipeline, one lock."""
    import openvino_genai

    pipeline = openvino_genai.WhisperPipeline(str(folder), "CPU")
    lock = threading.Lock()

    def transcribe(samples: np.ndarray) -> int:
        with lock:
            pipeline.generate(
                samples, language="<|en|>", task="transcribe", max_new_tokens=tokens, min_new_tokens=tokens
            )
        return tokens  # checked once, in `count_locked`

    return transcribe


def count_locked(folder: Path, samples: np.ndarray, tokens: int) -> int:
    """How many tokens the peer really sampled for one window."""
    import openvino_genai

    pipeline = openvino_genai.WhisperPipeline(str(folder), "CPU")
    result = pipeline.generate(
        samples, language="<|en|>", task="transcribe", max_new_tokens=tokens, min_new_tokens=tokens
    )
    return int(result.perf_metrics.get_num_generated_tokens())


def load_ours(folder: Path, tokens: int, weight_format: str) -> Transcribe:
    """Antiphon's own service in process, as the HTTP layer calls it."""
    from antiphon.engine.registry import load_session
    from antiphon.service.speech import SpeechService
    from antiphon.types import TranscribeOptions

    session = load_session(str(folder), weight_format=weight_format, report=print)
    service = SpeechService()
    service.load(session)
    options = TranscribeOptions(language="en", max_new_tokens=tokens, min_new_tokens=tokens)

    def transcribe(samples: np.ndarray) -> int:
        return sum(len(segment.tokens) for segment in service.transcribe_blocking(samples, None, options).segments)

    return transcribe


def time_clients(transcribe: Transcribe, clients: int, each: int, clips: list[np.ndarray]) -> tuple[float, list[float]]:
    """Seconds in all, and each request's latency."""
    latencies: list[float] = []

    def ask(number: int) -> None:
        began = time.perf_counter()
        transcribe(clips[number % len(clips)])
        latencies.append(time.perf_counter() - began)

    return run_clients(ask, clients, each), latencies


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="base")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--each", type=int, default=2, help="requests a client makes a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--weight-format", default="int8")
    parser.add_argument("--work", type=Path, default=Path(".bench"))
    arguments = parser.parse_args()
    checkpoint, exported = prepare(arguments.work, SHAPES[arguments.shape])
    generator = np.random.default_rng(0)
    clips = [(generator.standard_normal(480_000) * 0.1).astype(np.float32) for _ in range(8)]
    peers = {
        "locked genai": load_locked(exported, arguments.tokens),
        "antiphon": load_ours(checkpoint, arguments.tokens, arguments.weight_format),
    }
    sampled = {
        "locked genai": count_locked(exported, clips[0], arguments.tokens),
        "antiphon": peers["antiphon"](clips[0]),
    }
    print(f"tokens a window: {sampled}")
    peers["locked genai"](clips[0])
    rows = []
    for clients in arguments.clients:
        figures: dict[str, list[tuple[float, float]]] = {name: [] for name in peers}
        for _ in range(arguments.rounds):
            for name, transcribe in peers.items():  # A B A B …: what the machine does to one it does to the other
                seconds, latencies = time_clients(transcribe, clients, arguments.each, clips)
                figures[name].append((clients * arguments.each * 30 / seconds, statistics.median(latencies)))
        rows.append(summarise(clients, figures))
    print_table(rows)
    print(json.dumps({"shape": arguments.shape, "tokens": arguments.tokens, "sampled": sampled, "rows": rows}))


def summarise(clients: int, figures: dict[str, list[tuple[float, float]]]) -> dict[str, float]:
    """Medians of RTFx (audio seconds a second) and latency; ratios pair by pair, then their median."""
    theirs, ours = figures["locked genai"], figures["antiphon"]
    return {
        "clients": clients,
        "locked_rtfx": round(statistics.median(rtfx for rtfx, _ in theirs), 1),
        "antiphon_rtfx": round(statistics.median(rtfx for rtfx, _ in ours), 1),
        "throughput_ratio": round(statistics.median(b[0] / a[0] for a, b in zip(theirs, ours, strict=True)), 2),
        "locked_latency_s": round(statistics.median(latency for _, latency in theirs), 2),
        "antiphon_latency_s": round(statistics.median(latency for _, latency in ours), 2),
        "latency_ratio": round(statistics.median(b[1] / a[1] for a, b in zip(theirs, ours, strict=True)), 2),
    }


def print_table(rows: list[dict[str, float]]) -> None:
    names = list(rows[0])
    print("| " + " | ".join(names) + " |")
    print("|" + "---|" * len(names))
    for row in rows:
        print("| " + " | ".join(str(row[name]) for name in names) + " |")


if __name__ == "__main__":
    main()
