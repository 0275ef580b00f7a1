"""Antiphon's SpeechT5 against `openvino_genai.Text2SpeechPipeline` behind a lock (what OVMS serves), interleaved in one run.

Same machine, same random weights, same sentences, the same number of frames on both sides (with random weights a
sentence stops as soon as it may). Then how soon the first audio of a long sentence comes. The last line is JSON.

    scripts/bench speech --clients 1 8 --rounds 3
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

from bench.clients import run_clients
from bench.speech_checkpoint import speaker, write_speech_checkpoint

RATE = 16_000
SENTENCES = (
    "The train will be late again this evening, I fear.",
    "Put the book on the table and come along with me.",
    "She told me a story about her first day at school.",
    "There is a letter for you on the old kitchen table.",
)
Speak = Callable[[str], np.ndarray]


def prepare(work: Path) -> tuple[Path, Path]:
    """The checkpoint folder and optimum's export of it, made once."""
    checkpoint, exported = work / "speecht5", work / "speecht5-optimum"
    if not (checkpoint / "vocoder" / "model.safetensors").is_file():
        write_speech_checkpoint(checkpoint)
    if not (exported / "openvino_vocoder.xml").is_file():
        export(checkpoint, exported)
    return checkpoint, exported


def export(checkpoint: Path, exported: Path, *options: str) -> None:
    """optimum-cli's export of the checkpoint and its vocoder."""
    tool = Path(sys.executable).with_name("optimum-cli")
    vocoder = json.dumps({"vocoder": str(checkpoint / "vocoder")})
    command = ["export", "openvino", "--model", str(checkpoint), "--task", "text-to-audio", "--model-kwargs", vocoder]
    subprocess.run([str(tool), *command, *options, str(exported)], check=True)


def load_locked(folder: Path, ratio: float) -> Speak:
    """The peer: one pipeline, one lock."""
    import openvino as ov
    import openvino_genai

    pipeline = openvino_genai.Text2SpeechPipeline(str(folder), "CPU")
    voice = ov.Tensor(speaker(0)[None])
    lock = threading.Lock()

    def speak(text: str) -> np.ndarray:
        with lock:
            result = pipeline.generate(text, voice, minlenratio=ratio, maxlenratio=ratio + 1)
            return np.array(result.speeches[0].data).ravel()

    return speak


def load_ours(folder: Path, ratio: float, weight_format: str, streams: int) -> tuple[Speak, Callable[[str], float]]:
    """Antiphon's own service in process, and how long it takes it to the first samples."""
    from antiphon.model_server import ModelServer
    from antiphon.models.folder import inspect
    from antiphon.models.speecht5.load import load
    from antiphon.models.speecht5.session import StopRule
    from antiphon.runtime.openvino import open_device
    from antiphon.service import SpeakRequest, SpeechService
    from antiphon.types.options import SpeakOptions

    rules = StopRule(minlenratio=ratio, maxlenratio=ratio + 1)
    sessions = load(
        inspect(folder),
        name="speecht5",
        runtime=open_device(streams=streams),
        weight_format=weight_format,  # type: ignore[arg-type]
        slots=8,
        report=print,
        rules=rules,
    )
    service = SpeechService(ModelServer())
    service.models.add(*sessions)

    def speak(text: str) -> np.ndarray:
        with service.admit(SpeakRequest(None, text, SpeakOptions())) as admitted:
            return admitted.speak_blocking()

    def first_samples(text: str) -> float:
        import asyncio

        async def listen() -> float:
            began = time.perf_counter()
            async with service.admit(SpeakRequest(None, text, SpeakOptions())) as admitted:
                speaking = admitted.speak()
                await anext(speaking)
                taken = time.perf_counter() - began
                await speaking.aclose()
            return taken

        return asyncio.run(listen())

    return speak, first_samples


def time_clients(speak: Speak, clients: int, each: int) -> tuple[float, float]:
    """Seconds in all, and seconds of audio made."""
    made: list[float] = []

    def ask(number: int) -> None:
        made.append(len(speak(SENTENCES[number % len(SENTENCES)])) / RATE)

    return run_clients(ask, clients, each).seconds, sum(made)


def compare(peers: dict[str, Speak], clients: int, each: int, rounds: int) -> dict[str, float]:
    """Medians of seconds of audio a second, and of the ratios of neighbouring rounds."""
    figures: dict[str, list[float]] = {name: [] for name in peers}
    for _ in range(rounds):
        for name, speak in peers.items():  # A B A B …: what the machine does to one it does to the other
            seconds, audio = time_clients(speak, clients, each)
            figures[name].append(audio / seconds)
    theirs, ours = figures.values()
    return {
        "clients": clients,
        "locked_rtfx": round(statistics.median(theirs), 2),
        "antiphon_rtfx": round(statistics.median(ours), 2),
        "throughput_ratio": round(statistics.median(b / a for a, b in zip(theirs, ours, strict=True)), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--each", type=int, default=1, help="requests a client makes a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ratio", type=float, default=4.0, help="frames a letter")
    parser.add_argument("--weight-format", default="auto")
    parser.add_argument("--num-streams", type=int, default=1, help="of Antiphon's sessions")
    parser.add_argument("--work", type=Path, default=Path(".bench"))
    arguments = parser.parse_args()
    checkpoint, exported = prepare(arguments.work)
    ours, first_samples = load_ours(checkpoint, arguments.ratio, arguments.weight_format, arguments.num_streams)
    peers = {"locked genai": load_locked(exported, arguments.ratio), "antiphon": ours}
    lengths = {name: [len(speak(text)) / RATE for text in SENTENCES] for name, speak in peers.items()}
    print(f"seconds of audio a sentence: {lengths}")
    rows = [compare(peers, clients, arguments.each, arguments.rounds) for clients in arguments.clients]
    for row in rows:
        print(row)
    long = "A long sentence " + "goes on and on and on " * 6 + "until it is over"
    first, whole, audio = first_audio(ours, first_samples, long, arguments.rounds)
    print(
        f"first samples after {first:.2f} s, the whole of {audio:.1f} s of audio after {whole:.2f} s: {whole / first:.1f}"
    )
    print(
        json.dumps({"rows": rows, "first_s": round(first, 3), "whole_s": round(whole, 3), "audio_s": round(audio, 2)})
    )


def first_audio(
    speak: Speak, first_samples: Callable[[str], float], text: str, rounds: int
) -> tuple[float, float, float]:
    """Median seconds to the first samples and to the last, and how long the audio is."""
    firsts, wholes = [], []
    first_samples(text)  # shapes that are new cost their compilation once
    for _ in range(rounds):
        firsts.append(first_samples(text))
        began = time.perf_counter()
        audio = len(speak(text)) / RATE
        wholes.append(time.perf_counter() - began)
    return statistics.median(firsts), statistics.median(wholes), audio


if __name__ == "__main__":
    main()
