"""What a short clip costs its caller while long files are being transcribed: its time beside them, and its time alone.

One service in this process, as the server has it. Clips are asked one after the other, `--clips` of them alone, then as many
while the long files (of spoken sentences, bench/long_file.py) are under way, and that `--rounds` times. Beside the files a
clip comes at any moment: some time after the last one, up to twice what it takes alone. `work` is the same in processor time
of the whole process, which other work on the machine does not disturb. The last line is JSON.

    .venv/bin/python bench/beside.py
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from antiphon.audio.decode import decode
from antiphon.loader import LoadOptions, load_sessions
from antiphon.model_server import ModelServer
from antiphon.scheduling.worker import SLOTS_PER_RESERVED_SLOT
from antiphon.service import SpeechService, TranscribeRequest
from antiphon.types.audio import SAMPLE_RATE, Samples, Waveform
from antiphon.types.options import TranscribeOptions
from bench.long_file import write_speech

FULL = 0.1  # seconds between two looks at whether all slots are taken that later windows may have


@dataclass(frozen=True)
class Took:
    """An answer's seconds, and those that this process worked until it was there, on all processors."""

    seconds: float
    work: float


async def ask(
    service: SpeechService, clip: Samples, clips: int, tokens: int | None, pauses: Iterator[float]
) -> list[Took]:
    options = TranscribeOptions(language="en", max_new_tokens=tokens, min_new_tokens=tokens or 0)
    took: list[Took] = []
    for _ in range(clips):
        await asyncio.sleep(next(pauses))
        began, worked = time.perf_counter(), time.process_time()
        async with service.admit(TranscribeRequest(None, options)) as admitted:
            await admitted.transcribe(clip)
        took.append(Took(time.perf_counter() - began, time.process_time() - worked))
    return took


async def ask_beside(
    service: SpeechService, long: Waveform, clip: Samples, asked: argparse.Namespace, pauses: Iterator[float]
) -> tuple[list[Took], float]:
    """The answers from when the files fill the slots on; and how fast the files then were, in seconds of audio a second."""
    options = TranscribeOptions(language="en", max_new_tokens=asked.tokens, min_new_tokens=asked.tokens or 0)

    async def transcribe() -> None:
        async with service.admit(TranscribeRequest(None, options)) as admitted:
            await admitted.transcribe(long)

    files = [asyncio.create_task(transcribe()) for _ in range(asked.files)]
    slots = service.models.loads()[0].slots
    while service.models.loads()[0].in_flight < slots - slots // SLOTS_PER_RESERVED_SLOT:  # noqa: ASYNC110  nobody tells when it is full
        await asyncio.sleep(FULL)
    before, began = service.models.loads()[0].seconds, time.perf_counter()
    took = await ask(service, clip, asked.clips, asked.clip_tokens, pauses)
    pace = (before - service.models.loads()[0].seconds) / (time.perf_counter() - began)
    if any(file.done() for file in files):
        raise SystemExit("a long file was over before the last clip was: give more --minutes or fewer --clips")
    for file in files:
        file.cancel()
    await asyncio.gather(*files, return_exceptions=True)
    return took, pace


async def measure(service: SpeechService, long: Waveform, asked: argparse.Namespace) -> dict[str, float]:
    clip = long[: round(asked.seconds * SAMPLE_RATE)]
    await ask(service, clip, 1, asked.clip_tokens, repeat(0.0))
    alone: list[list[Took]] = []
    beside: list[list[Took]] = []
    paces: list[float] = []
    draw = random.Random(0)
    for _ in range(asked.rounds):  # by turns: what the machine does to the ones it does to the others
        took = await ask(service, clip, asked.clips, asked.clip_tokens, repeat(0.0))
        alone.append(took)
        longest = 2 * median(lambda each: each.seconds, took)
        took, pace = await ask_beside(service, long, clip, asked, map(draw.uniform, repeat(0.0), repeat(longest)))
        beside.append(took)
        paces.append(pace)
    figures: dict[str, float] = {}
    for name, of in (("", lambda each: each.seconds), ("work_", lambda each: each.work)):
        pairs = [(median(of, one), median(of, other)) for one, other in zip(alone, beside, strict=True)]
        figures[f"{name}alone_p50_s"] = round(statistics.median(one for one, _ in pairs), 3)
        figures[f"{name}beside_p50_s"] = round(statistics.median(other for _, other in pairs), 3)
        figures[f"{name}ratio"] = round(statistics.median(other / one for one, other in pairs), 2)
    return figures | {"files_rtfx": round(statistics.median(paces), 1)}


def median(of: Callable[[Took], float], all_of_them: Sequence[Took]) -> float:
    return statistics.median(map(of, all_of_them))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="starter-asr")
    parser.add_argument("--weight-format", default="auto")
    parser.add_argument("--files", type=int, default=2, help="that are transcribed all the while")
    parser.add_argument("--minutes", type=float, default=20, help="of each: more than is heard in the meantime")
    parser.add_argument("--tokens", type=int, help="forced in each of their windows; else as many as there are")
    parser.add_argument("--seconds", type=float, default=3, help="of a clip")
    parser.add_argument("--clip-tokens", type=int, help="forced in it")
    parser.add_argument("--clips", type=int, default=8, help="a round")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="antiphon-beside-") as work:
        path = Path(work) / "long.wav"
        write_speech(path, asked.minutes)
        long = decode(path)
    service = SpeechService(ModelServer())
    service.models.add(*load_sessions(asked.model, LoadOptions(weight_format=asked.weight_format)))
    figures = asyncio.run(measure(service, long, asked))
    service.models.close(drain=False)
    for name, figure in figures.items():
        print(f"{name:18} {figure:g}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
