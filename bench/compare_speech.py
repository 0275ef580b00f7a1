"""Throughput of Antiphon's SpeechT5 and of `openvino_genai.Text2SpeechPipeline` behind a lock, as OVMS serves it.

Both run on one machine, in one process, with the same random weights, sentences and number of frames; the peers take turns.
Then the time to the first audio of a long sentence. The last line is JSON.

    scripts/bench speech --clients 1 8 --rounds 3
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))

from antiphon.benchmark.figures import summarise
from antiphon.benchmark.load_generator import OK, Limit, Response, run_closed_loop
from antiphon.model_server import ModelServer
from antiphon.models.folder import inspect
from antiphon.models.speecht5.load import load
from antiphon.models.speecht5.session import StopRule
from antiphon.runtime.openvino import open_device
from antiphon.service import SpeakRequest, SpeechService
from antiphon.types.options import SpeakOptions
from bench.models import export_with_optimum, speaker, write_speecht5

RATE = 16_000
SENTENCES = (
    "The train will be late again this evening, I fear.",
    "Put the book on the table and come along with me.",
    "She told me a story about her first day at school.",
    "There is a letter for you on the old kitchen table.",
)
LONG = "A long sentence " + "goes on and on and on " * 6 + "until it is over"
Speak = Callable[[str], np.ndarray]


def prepare(work: Path) -> tuple[Path, Path]:
    """The checkpoint folder and optimum's export of it, made if they are missing."""
    checkpoint, exported = work / "speecht5", work / "speecht5-optimum"
    if not (checkpoint / "vocoder" / "model.safetensors").is_file():
        write_speecht5(checkpoint)
    if not (exported / "openvino_vocoder.xml").is_file():
        vocoder = json.dumps({"vocoder": str(checkpoint / "vocoder")})
        export_with_optimum(checkpoint, exported, "text-to-audio", ["--model-kwargs", vocoder])
    return checkpoint, exported


def load_locked(folder: Path, ratio: float) -> Speak:
    """One pipeline and one lock."""
    import openvino as ov
    import openvino_genai

    pipeline = openvino_genai.Text2SpeechPipeline(str(folder), "CPU")
    voice = ov.Tensor(speaker()[None])
    lock = threading.Lock()

    def speak(text: str) -> np.ndarray:
        with lock:
            result = pipeline.generate(text, voice, minlenratio=ratio, maxlenratio=ratio + 1)
            return np.array(result.speeches[0].data).ravel()

    return speak


def load_ours(folder: Path, options: argparse.Namespace) -> SpeechService:
    """Antiphon's service in this process."""
    sessions = load(
        inspect(folder),
        name="speecht5",
        runtime=open_device(streams=options.num_streams),
        weight_format=options.weight_format,
        slots=8,
        report=print,
        rules=StopRule(minlenratio=options.ratio, maxlenratio=options.ratio + 1),
    )
    service = SpeechService(ModelServer())
    service.models.add(*sessions)
    return service


def rtfx(speak: Speak, clients: int, each: int) -> float:
    """Seconds of audio made per second."""
    with ThreadPoolExecutor(clients) as pool:

        async def ask(number: int) -> Response:
            text = SENTENCES[number % len(SENTENCES)]
            samples = await asyncio.get_running_loop().run_in_executor(pool, speak, text)
            return Response(OK, seconds=len(samples) / RATE)

        return summarise(asyncio.run(run_closed_loop(ask, clients, Limit(clients * each)))).rtfx


def compare(locked: Speak, ours: Speak, clients: int, each: int, rounds: int) -> dict[str, float]:
    """Medians over the rounds, and the median of the ratios of neighbouring runs."""
    pairs = [(rtfx(locked, clients, each), rtfx(ours, clients, each)) for _ in range(rounds)]
    return {
        "clients": clients,
        "locked_rtfx": round(statistics.median(pair[0] for pair in pairs), 2),
        "antiphon_rtfx": round(statistics.median(pair[1] for pair in pairs), 2),
        "throughput_ratio": round(statistics.median(pair[1] / pair[0] for pair in pairs), 2),
    }


async def first_samples(service: SpeechService) -> float:
    """Seconds to the first audio of the long sentence."""
    began = time.perf_counter()
    async with service.admit(SpeakRequest(None, LONG, SpeakOptions())) as admitted:
        speaking = admitted.speak()
        await anext(speaking)
        seconds = time.perf_counter() - began
        await speaking.aclose()
    return seconds


def first_audio(service: SpeechService, speak: Speak, rounds: int) -> dict[str, float]:
    """Median seconds to the first and to the last audio of the long sentence, and the length of the audio."""
    firsts, wholes, audio = [], [], 0.0
    asyncio.run(first_samples(service))  # new shapes are compiled once
    for _ in range(rounds):
        firsts.append(asyncio.run(first_samples(service)))
        began = time.perf_counter()
        audio = len(speak(LONG)) / RATE
        wholes.append(time.perf_counter() - began)
    first, whole = statistics.median(firsts), statistics.median(wholes)
    return {"first_s": round(first, 3), "whole_s": round(whole, 3), "audio_s": round(audio, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--each", type=int, default=1, help="requests per client in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ratio", type=float, default=4.0, help="frames per letter")
    parser.add_argument("--weight-format", default="auto", help="of Antiphon")
    parser.add_argument("--num-streams", type=int, default=1, help="of Antiphon")
    parser.add_argument("--work", type=Path, default=Path(".bench"), help="where the models are made and kept")
    options = parser.parse_args()
    checkpoint, exported = prepare(options.work)
    service = load_ours(checkpoint, options)
    locked = load_locked(exported, options.ratio)

    def ours(text: str) -> np.ndarray:
        with service.admit(SpeakRequest(None, text, SpeakOptions())) as admitted:
            return admitted.speak_blocking()

    for name, speak in (("locked genai", locked), ("antiphon", ours)):
        print(f"{name}: seconds of audio per sentence {[len(speak(text)) / RATE for text in SENTENCES]}")
    rows = [compare(locked, ours, clients, options.each, options.rounds) for clients in options.clients]
    for row in rows:
        print(row)
    first = first_audio(service, ours, options.rounds)
    print(
        "first samples after {first_s} s, all {audio_s} s of audio after {whole_s} s: ".format(**first)
        + f"{first['whole_s'] / first['first_s']:.1f} times sooner"
    )
    print(json.dumps({"rows": rows, **first}))


if __name__ == "__main__":
    main()
