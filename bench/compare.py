"""Throughput and latency of Antiphon, `openvino_genai.WhisperPipeline` behind a lock, and faster-whisper (single and batched).

All run on one machine, in one process, with the same random weights in int8, and sample the same number of tokens in each
window, in English, greedily, without timestamps. Four scenes: one client and many with windows of 30 s, many with clips of 3
to 5 s, and one long file; all of noise with a pause every four seconds. The peers take turns, so that other work on the
machine affects all of them. Prints tables with the ratios to Antiphon and the share of the roofline; the last line is JSON.

How each peer is made to sample a fixed number of tokens:

* Antiphon: `min_new_tokens` and `max_new_tokens` of a window.
* openvino_genai: the same two parameters. For a file they limit the sum over its windows, so a file is passed in slices of
  30 s, one after another, as its own loop does without timestamps.
* faster-whisper: <|endoftext|> is in `suppress_tokens`, and `max_new_tokens` is twice the number less the four tokens of the
  prompt, because CTranslate2 samples at most half of the given length. The thresholds for decoding a window again are off, and
  so is its VAD (noise is not speech): the batched pipeline gets windows of 30 s.

    scripts/bench --rounds 3
    scripts/bench --shape tiny --scenes "1 client" --peers antiphon "locked genai" --rounds 1
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import math
import os
import statistics
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from antiphon.benchmark.clips import make_noise
from antiphon.benchmark.figures import Figures, summarise
from antiphon.benchmark.load_generator import OK, Limit, Response, run_closed_loop
from antiphon.runtime.openvino import open_device
from antiphon.types.audio import SAMPLE_RATE, WINDOW_SAMPLES, WINDOW_SECONDS, Samples
from bench.models import SHAPES, Shape, export_with_optimum, write_whisper
from bench.roofline import Dimensions, Peak, least_seconds, measure_peak

OURS, LOCKED, SINGLE, BATCHED = "antiphon", "locked genai", "faster-whisper", "faster-whisper batched"
PEERS = (OURS, LOCKED, SINGLE, BATCHED)
SLOTS = 16  # windows in a batch of Antiphon
BATCH = 8  # windows in a batch of faster-whisper; its default
PROMPT = 4  # tokens: <|startoftranscript|><|en|><|transcribe|><|notimestamps|>

Transcribe = Callable[[Samples, int], int]  # samples and tokens per window in, the number of sampled tokens out


@dataclass(frozen=True)
class Scene:
    """`clients` clients make `each` requests, over `clips` in turn, with `tokens` tokens in every window."""

    name: str
    clients: int
    each: int
    clips: tuple[Samples, ...]
    tokens: int

    @property
    def requests(self) -> int:
        return self.clients * self.each

    def clip(self, number: int) -> Samples:
        return self.clips[number % len(self.clips)]


def make_scenes(options: argparse.Namespace) -> list[Scene]:
    generator = np.random.default_rng(0)
    windows = tuple(make_noise(WINDOW_SECONDS, generator) for _ in range(8))
    short = tuple(make_noise(float(generator.uniform(3, 5)), generator) for _ in range(16))
    long = make_noise(60 * options.minutes, generator)
    many, crowd, each, tokens = options.clients, options.short_clients, options.each, options.tokens
    scenes = [
        Scene("1 client", 1, each, windows, tokens),
        Scene(f"{many} clients", many, each, windows, tokens),
        Scene(f"{crowd} clients, clips of 3 to 5 s", crowd, each, short, options.short_tokens),
        Scene(f"a file of {options.minutes:g} min", 1, 1, (long,), tokens),
    ]
    return [scene for scene in scenes if not options.scenes or scene.name.startswith(tuple(options.scenes))]


def play(scene: Scene, transcribe: Transcribe) -> Figures:
    """One round of a scene."""
    with ThreadPoolExecutor(scene.clients) as pool:

        async def ask(number: int) -> Response:
            clip = scene.clip(number)
            await asyncio.get_running_loop().run_in_executor(pool, transcribe, clip, scene.tokens)
            return Response(OK, seconds=len(clip) / SAMPLE_RATE)

        return summarise(asyncio.run(run_closed_loop(ask, scene.clients, Limit(scene.requests))))


def compare(scene: Scene, peers: dict[str, Transcribe], rounds: int, best: float) -> list[dict[str, Any]]:
    """A row for each peer: medians over the rounds. Ratios are of Antiphon's figure to the peer's in the same round.

    `best` is the RTFx (seconds of audio per second) that the roofline allows.
    """
    figures: dict[str, list[Figures]] = {name: [] for name in peers}
    for _ in range(rounds):
        for name, transcribe in peers.items():
            figures[name].append(play(scene, transcribe))

    def values(name: str) -> dict[str, list[float]]:
        latencies = [found.latency for found in figures[name]]
        return {
            "rtfx": [found.rtfx for found in figures[name]],
            "p50_s": [latency.p50 for latency in latencies if latency],
            "p95_s": [latency.p95 for latency in latencies if latency],
        }

    rows = []
    for name in peers:
        own, ours = values(name), values(OURS)
        medians = {key: statistics.median(found) for key, found in own.items()}
        ratios = {
            key: round(statistics.median(a / b for a, b in zip(ours[key], own[key], strict=True)), 2) for key in own
        }
        rows.append(
            {
                "peer": name,
                **{key: round(value, 3) for key, value in medians.items()},
                "throughput_ratio": ratios["rtfx"],
                "p50_ratio": ratios["p50_s"],
                "p95_ratio": ratios["p95_s"],
                "roofline": round(medians["rtfx"] / best, 3),
            }
        )
    return rows


def best_rtfx(scene: Scene, sizes: Dimensions, peak: Peak) -> float:
    """The roofline's throughput: every window computed once, in batches as large as the requests and the slots allow."""
    lengths = [len(scene.clip(number)) for number in range(scene.requests)]
    windows = sum(math.ceil(length / WINDOW_SAMPLES) for length in lengths)
    rows = min(SLOTS, windows // scene.each)
    return sum(lengths) / SAMPLE_RATE / least_seconds(sizes, peak, windows, rows, scene.tokens)


def dimensions(shape: Shape) -> Dimensions:
    """As Antiphon holds them: int8 matrices, a KV cache in the device's precision."""
    return Dimensions(
        width=shape.width,
        layers=shape.layers,
        decoder_layers=shape.decoder_layers,
        ffn=4 * shape.width,
        vocabulary=51_766 + shape.languages,
        mels=shape.mels,
        cache=2 if open_device().precision == "bf16" else 4,
    )


def load_peers(names: Sequence[str], options: argparse.Namespace) -> dict[str, Transcribe]:
    """The peers in this process; checkpoints, exports and conversions that are missing are made in `options.work`."""
    checkpoint = options.work / options.shape
    if not (checkpoint / "tokenizer.json").is_file():
        write_whisper(checkpoint, SHAPES[options.shape])
    loaded: dict[str, Transcribe] = {}
    if OURS in names:
        loaded[OURS] = load_ours(checkpoint, options)
    if LOCKED in names:
        exported = options.work / f"{options.shape}-optimum-int8"
        if not (exported / "openvino_decoder_model.xml").is_file():
            task = "automatic-speech-recognition-with-past"
            export_with_optimum(checkpoint, exported, task, ["--weight-format", "int8"])
        loaded[LOCKED] = load_locked(exported)
    if {SINGLE, BATCHED} & set(names):
        converted = options.work / f"{options.shape}-ctranslate2-int8"
        if not (converted / "model.bin").is_file():
            from ctranslate2.converters import TransformersConverter

            converter = TransformersConverter(str(checkpoint), copy_files=["tokenizer.json"])
            converter.convert(str(converted), quantization="int8")
        both = zip((SINGLE, BATCHED), load_faster_whisper(converted), strict=True)
        loaded |= {name: transcribe for name, transcribe in both if name in names}
    return loaded


def load_ours(folder: Path, options: argparse.Namespace) -> Transcribe:
    """Antiphon's service in this process, called as the HTTP layer calls it."""
    from antiphon.loader import LoadOptions, load_sessions
    from antiphon.model_server import ModelServer
    from antiphon.service import SpeechService, TranscribeRequest
    from antiphon.types.options import TranscribeOptions, VadOptions

    load_options = LoadOptions(
        weight_format=options.weight_format,
        audio_context=options.audio_context,
        plugin_config={"NUM_STREAMS": options.num_streams},
        report=print,
    )
    service = SpeechService(ModelServer())
    service.models.add(*load_sessions(str(folder), load_options))

    def transcribe(samples: Samples, tokens: int) -> int:
        request_options = TranscribeOptions(
            language="en", max_new_tokens=tokens, min_new_tokens=tokens, vad=VadOptions("energy")
        )
        with service.admit(TranscribeRequest(None, request_options)) as admitted:
            return sum(len(segment.tokens) for segment in admitted.transcribe_blocking(samples).segments)

    return transcribe


def load_locked(folder: Path) -> Transcribe:
    """One pipeline and one lock, as OVMS serves it; the lock is released between the windows of a file."""
    import openvino_genai

    pipeline = openvino_genai.WhisperPipeline(str(folder), "CPU")
    lock = threading.Lock()

    def transcribe(samples: Samples, tokens: int) -> int:
        sampled = 0
        for start in range(0, len(samples), WINDOW_SAMPLES):
            with lock:
                result = pipeline.generate(
                    samples[start : start + WINDOW_SAMPLES],
                    language="<|en|>",
                    task="transcribe",
                    max_new_tokens=tokens,
                    min_new_tokens=tokens,
                )
            sampled += int(result.perf_metrics.get_num_generated_tokens())
        return sampled

    return transcribe


def load_faster_whisper(folder: Path) -> tuple[Transcribe, Transcribe]:
    """The model, which queues the requests of several threads, and the batched pipeline over the same model."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=len(os.sched_getaffinity(0)))
    pipeline = BatchedInferencePipeline(model)
    plain: dict[str, Any] = {
        "language": "en",
        "beam_size": 1,
        "temperature": 0.0,
        "no_speech_threshold": None,
        "log_prob_threshold": None,
        "compression_ratio_threshold": None,
        "condition_on_previous_text": False,
        "without_timestamps": True,
        "suppress_tokens": [-1, model.hf_tokenizer.token_to_id("<|endoftext|>")],
        "vad_filter": False,
    }

    def single(samples: Samples, tokens: int) -> int:
        segments, _ = model.transcribe(samples, max_new_tokens=2 * tokens - PROMPT, **plain)
        return sum(len(segment.tokens) for segment in segments)

    def batched(samples: Samples, tokens: int) -> int:
        edges = [*range(0, len(samples), WINDOW_SAMPLES), len(samples)]
        windows = [{"start": start / SAMPLE_RATE, "end": end / SAMPLE_RATE} for start, end in itertools.pairwise(edges)]
        segments, _ = pipeline.transcribe(
            samples, max_new_tokens=2 * tokens - PROMPT, clip_timestamps=windows, batch_size=BATCH, **plain
        )
        return sum(len(segment.tokens) for segment in segments)

    return single, batched


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    print("| " + " | ".join(rows[0]) + " |")
    print("|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(map(str, row.values())) + " |", flush=True)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="base")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS, help="Antiphon always takes part")
    parser.add_argument("--scenes", nargs="+", default=[], help="only the scenes whose names begin with one of these")
    parser.add_argument("--clients", type=int, default=8, help="of the second scene")
    parser.add_argument("--short-clients", type=int, default=16, help="of the third scene")
    parser.add_argument("--minutes", type=float, default=10, help="length of the file in the fourth scene")
    parser.add_argument("--each", type=int, default=2, help="requests per client in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=100, help="per window of 30 s")
    parser.add_argument("--short-tokens", type=int, default=15, help="per clip of 3 to 5 s")
    parser.add_argument("--weight-format", default="int8", help="of Antiphon")
    parser.add_argument("--audio-context", default="full", help="of Antiphon: full or auto")
    parser.add_argument("--num-streams", type=int, default=1, help="of Antiphon")
    parser.add_argument("--work", type=Path, default=Path(".bench"), help="where the models are made and kept")
    return parser.parse_args()


def main() -> None:
    options = read_options()
    peers = load_peers([name for name in PEERS if name == OURS or name in options.peers], options)
    sizes = dimensions(SHAPES[options.shape])
    peak = measure_peak(len(os.sched_getaffinity(0)))
    print(f"peak: gemm {peak.numpy:.0f} (numpy) and {peak.openvino:.0f} (OpenVINO) GFLOP/s, {peak.bandwidth:.1f} GB/s")
    found = {}
    for scene in make_scenes(options):
        sampled = {name: transcribe(scene.clips[0], scene.tokens) for name, transcribe in peers.items()}
        print(f"\n{scene.name}; tokens sampled for the first clip: {sampled}", flush=True)
        rows = compare(scene, peers, options.rounds, best_rtfx(scene, sizes, peak))
        print_table(rows)
        found[scene.name] = {"sampled": sampled, "rows": rows}
    print(json.dumps({"shape": options.shape, "tokens": options.tokens, "peak": asdict(peak), "scenes": found}))


if __name__ == "__main__":
    main()
