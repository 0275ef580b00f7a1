"""Ten times more than a server can do: who is let in is answered in time, the rest is turned away at once, memory stays flat.

The server is a process of its own, with a fake model that takes a fixed time a step, or with `--model` a real one. What it
can do is measured first; then requests arrive at a steady rate, whatever becomes of them. The last line is JSON.

    .venv/bin/python bench/overload.py --seconds 60
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import signal
import subprocess
import sys
import time
import wave
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from antiphon.measure.traffic import Answer, Limit, Outcome, run_clients, run_rate

ANTIPHON = str(Path(sys.executable).with_name("antiphon"))
STEP = 0.1  # seconds; the fake model's, one window of which joins in each: ten requests a second


def serve_fake() -> None:
    """Be the server: the flags are those of `antiphon serve`."""
    from antiphon.cli import server
    from antiphon.engine.wanted import Wanted
    from antiphon.models.fake import FakeSession
    from antiphon.settings import load_settings

    flags = dict(zip((each[2:] for each in sys.argv[2::2]), sys.argv[3::2], strict=True))

    def load(wanted: Wanted, *_: object, **__: object) -> FakeSession:
        return FakeSession(wanted.name, slots=16, before_step=lambda: time.sleep(STEP))

    server.load = load
    server.run_server(load_settings({**flags, "model_path": "starter-asr"}))


@contextmanager
def running(model: str | None, flags: Sequence[str]) -> Iterator[tuple[str, int]]:
    """The server on a free loopback port; gives its address and its process's number."""
    command = [ANTIPHON, "serve", "--model_path", model] if model else [sys.executable, __file__, "--serve-fake"]
    command += ["--rest_port", "0", "--rest_bind_address", "127.0.0.1", "--log_level", "ERROR", *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Ready at "):
                yield line.split()[-1], process.pid
                break
        process.send_signal(signal.SIGTERM)
        process.communicate()
    if process.returncode:
        raise SystemExit(f"the server ended with {process.returncode}")


def megabytes(process: int) -> float:
    """What it has in memory."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def clip(seconds: float) -> bytes:
    """Noise with pauses, as a wav."""
    samples = np.random.default_rng(0).normal(0, 3000, round(seconds * 16_000)).astype(np.int16)
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, 16_000, 0, "NONE", ""))
        sound.writeframes(samples.tobytes())
    return file.getvalue()


class Crowd:
    """Callers of one server."""

    def __init__(self, url: str, sound: bytes) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
        self._client = httpx.AsyncClient(base_url=url, timeout=120, limits=limits)
        self._sound = sound
        self.healths: list[float] = []

    async def ask(self, _number: int) -> Answer:
        try:
            files, fields = {"file": ("a.wav", self._sound)}, {"language": "en"}
            response = await self._client.post("/v1/audio/transcriptions", files=files, data=fields)
        except httpx.HTTPError as error:
            return Answer(type(error).__name__, str(error))
        return Answer(str(response.status_code), response.text)

    async def look(self) -> None:
        """Ask for the server's health ten times a second, until cancelled."""
        while True:
            began = time.perf_counter()
            (await self._client.get("/v2/health/ready")).raise_for_status()
            self.healths.append(time.perf_counter() - began)
            await asyncio.sleep(0.1)


def milliseconds(times: Sequence[float]) -> dict[str, float]:
    if not times:
        return {}
    return {f"p{at}_ms": round(float(np.percentile(times, at)) * 1000, 1) for at in (50, 95, 100)}


async def measure(url: str, process: int, asked: argparse.Namespace) -> dict[str, Any]:
    crowd = Crowd(url, clip(asked.clip))
    await run_clients(crowd.ask, 4, Limit(requests=8))  # whatever is made at first use
    alone = await run_clients(crowd.ask, asked.clients, Limit(seconds=asked.calibrate))
    took = max(each.ended for each in alone) - min(each.due for each in alone)
    capacity = sum(each.answer.status == "200" for each in alone) / took
    at_start = megabytes(process)
    looking = asyncio.create_task(crowd.look())
    outcomes: list[Outcome] = await run_rate(crowd.ask, asked.times * capacity, Limit(seconds=asked.seconds))
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    by_status: dict[str, list[float]] = {}
    for each in outcomes:
        by_status.setdefault(each.answer.status, []).append(each.latency)
    return {
        "capacity_a_second": round(capacity, 1),
        "offered_a_second": round(asked.times * capacity, 1),
        "seconds": asked.seconds,
        "deadline_s": asked.deadline,
        "statuses": {status: len(times) for status, times in sorted(by_status.items())},
        "answered": milliseconds(by_status.get("200", ())),
        "refused": milliseconds(by_status.get("429", ())),
        "health": milliseconds(crowd.healths),
        "memory_mb": [round(at_start), round(megabytes(process))],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="a folder, or the name of a built-in model; without it, a fake one")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--times", type=float, default=10.0, help="how many times what it can do is asked of it")
    parser.add_argument("--clip", type=float, default=3.0, help="seconds of audio in a request")
    parser.add_argument("--clients", type=int, default=16, help="how many ask at once while its pace is measured")
    parser.add_argument("--calibrate", type=float, default=5.0, help="for how many seconds")
    parser.add_argument("--deadline", type=float, default=10.0, help="--request_timeout of the server, in seconds")
    parser.add_argument("--requests", type=int, default=64, help="--max_queued_requests of the server")
    asked = parser.parse_args()
    flags = ["--request_timeout", str(asked.deadline), "--max_queued_requests", str(asked.requests)]
    with running(asked.model, flags) as (url, process):
        figures = asyncio.run(measure(url, process, asked))
    for name, figure in figures.items():
        print(f"{name:18} {figure}")
    print(json.dumps(figures))


if __name__ == "__main__":
    serve_fake() if sys.argv[1:2] == ["--serve-fake"] else main()
