"""How much longer a short clip takes while long files are being transcribed.

One service in this process, set up as the server's. Clips are transcribed one after the other: `--clips` of them alone, then
as many while the long files are in progress, `--rounds` times. During the files a clip arrives at a random time: up to twice
its own duration alone after the last one. `work` is the same in processor time of the whole process, which other work on the
machine does not disturb. The last line is JSON.

    .venv/bin/python bench/interference.py --model models/whisper-base
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat

import numpy as np

from antiphon.benchmark.clips import pack_sentences, speak_sentences
from antiphon.loader import LoadOptions, load_sessions
from antiphon.model_server import ModelServer
from antiphon.scheduling.worker import SLOTS_PER_RESERVED_SLOT
from antiphon.service import SpeechService, TranscribeRequest
from antiphon.types.audio import SAMPLE_RATE, Samples
from antiphon.types.options import TranscribeOptions

POLL_S = 0.1


@dataclass(frozen=True)
class Cost:
    """Seconds until the answer, and processor seconds of this process until then."""

    seconds: float
    work: float


async def transcribe(service: SpeechService, samples: Samples, tokens: int | None) -> None:
    options = TranscribeOptions(language="en", max_new_tokens=tokens, min_new_tokens=tokens or 0)
    async with service.admit(TranscribeRequest(None, options)) as admitted:
        await admitted.transcribe(samples)


async def transcribe_clips(
    service: SpeechService, clip: Samples, options: argparse.Namespace, pauses: Iterator[float]
) -> list[Cost]:
    costs: list[Cost] = []
    for _ in range(options.clips):
        await asyncio.sleep(next(pauses))
        began, worked = time.perf_counter(), time.process_time()
        await transcribe(service, clip, options.clip_tokens)
        costs.append(Cost(time.perf_counter() - began, time.process_time() - worked))
    return costs


async def transcribe_during_files(
    service: SpeechService, long: Samples, clip: Samples, options: argparse.Namespace, pauses: Iterator[float]
) -> tuple[list[Cost], float]:
    """The costs once the files fill the slots; and the files' RTFx meanwhile."""
    files = [asyncio.create_task(transcribe(service, long, options.tokens)) for _ in range(options.files)]
    slots = service.models.loads()[0].slots
    while service.models.loads()[0].in_flight < slots - slots // SLOTS_PER_RESERVED_SLOT:
        await asyncio.sleep(POLL_S)
        if any(file.done() for file in files):
            raise SystemExit("a long file ended before the files filled the slots: give more --files or --minutes")
    before, began = service.models.loads()[0].seconds, time.perf_counter()
    costs = await transcribe_clips(service, clip, options, pauses)
    rtfx = (before - service.models.loads()[0].seconds) / (time.perf_counter() - began)
    if any(file.done() for file in files):
        raise SystemExit("a long file ended before the last clip: give more --minutes or fewer --clips")
    for file in files:
        file.cancel()
    await asyncio.gather(*files, return_exceptions=True)
    return costs, rtfx


async def measure(service: SpeechService, long: Samples, options: argparse.Namespace) -> dict[str, float]:
    clip = long[: round(options.seconds * SAMPLE_RATE)]
    await transcribe(service, clip, options.clip_tokens)  # warm-up
    rounds: list[tuple[list[Cost], list[Cost]]] = []
    speeds: list[float] = []
    draw = random.Random(0)
    for _ in range(options.rounds):  # by turns, so that other work on the machine affects both
        alone = await transcribe_clips(service, clip, options, repeat(0.0))
        longest = 2 * statistics.median(cost.seconds for cost in alone)
        pauses = map(draw.uniform, repeat(0.0), repeat(longest))
        during, rtfx = await transcribe_during_files(service, long, clip, options, pauses)
        rounds.append((alone, during))
        speeds.append(rtfx)
    figures: dict[str, float] = {}
    parts: tuple[tuple[str, Callable[[Cost], float]], ...] = (("", lambda c: c.seconds), ("work_", lambda c: c.work))
    for name, part in parts:
        pairs = [
            (statistics.median(map(part, alone)), statistics.median(map(part, during))) for alone, during in rounds
        ]
        figures[f"{name}alone_p50_s"] = round(statistics.median(pair[0] for pair in pairs), 3)
        figures[f"{name}during_p50_s"] = round(statistics.median(pair[1] for pair in pairs), 3)
        figures[f"{name}ratio"] = round(statistics.median(pair[1] / pair[0] for pair in pairs), 2)
    return figures | {"files_rtfx": round(statistics.median(speeds), 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, help="the folder of a model")
    parser.add_argument("--weight-format", default="auto")
    parser.add_argument("--files", type=int, default=2, help="long files in progress")
    parser.add_argument("--minutes", type=float, default=20, help="length of each; longer than all clips take")
    parser.add_argument("--tokens", type=int, help="forced in each window of the files; else the model decides")
    parser.add_argument("--seconds", type=float, default=3, help="length of a clip")
    parser.add_argument("--clip-tokens", type=int, help="forced in a clip; else the model decides")
    parser.add_argument("--clips", type=int, default=8, help="per round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    long, _ = pack_sentences(speak_sentences(), 60 * options.minutes, np.random.default_rng(0))
    service = SpeechService(ModelServer())
    service.models.add(*load_sessions(options.model, LoadOptions(weight_format=options.weight_format)))
    figures = asyncio.run(measure(service, long, options))
    service.models.close(drain=False)
    for name, figure in figures.items():
        print(f"{name:18} {figure:g}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
