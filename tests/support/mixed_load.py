"""Callers of a server for a long test: usual and slow ones, damaged and hostile files, hang-ups and reloads, at a steady rate."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import httpx

from tests.support import hostile_audio
from tests.support.fuzzing import mutate, whole_files
from tests.support.sounds import make_audio

CRASH = {"model": "espeak", "voice": "vi-vn-x-central", "input": "\u0960"}
TEXT = "The library closes at nine on weekdays. Please return the books before Friday."
FORMATS = ("json", "text", "srt", "vtt", "verbose_json")
SOUNDS = ("mp3", "wav", "opus", "flac", "aac", "pcm")
HEALTH_INTERVAL_S = 0.1


class MixedLoad:
    """Threads that each repeat one kind of request until `stop`, with a pause between two.

    `answers` counts statuses by kind; 0 is a connection that the server closed. `health` holds the seconds of each check.
    """

    def __init__(self, port: int, config: Path, rng: Random) -> None:
        self.answers: Counter[tuple[str, int]] = Counter()
        self.health: list[float] = []
        self._port = port
        self._config = config
        self._entries = json.loads(config.read_text())
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120)
        files = whole_files()
        self._files = [files[name] for name in sorted(files)]
        self._bombs = (
            hostile_audio.fragment_bomb(),
            hostile_audio.sample_table_bomb(),
            hostile_audio.opus_tags(25_000),
            hostile_audio.flac_tags(25_000),
            hostile_audio.aiff_tags(5_000),
            hostile_audio.many_channels(),
            hostile_audio.long_silence(1.0),
        )
        kinds: tuple[tuple[str, float, Callable[[Random], int]], ...] = (
            ("clip", 0.3, self._clip),
            ("clip", 0.5, self._clip),
            ("long", 10.0, self._long),
            ("speech", 0.5, self._speech),
            ("crash", 5.0, self._crash),
            ("damaged", 0.2, self._damaged),
            ("bomb", 4.0, self._bomb),
            ("hang-up", 1.0, self._hang_up),
            ("drip", 0.0, self._drip),
            ("no reader", 2.0, self._no_reader),
            ("reload", 5.0, self._reload),
        )
        self._threads = [
            threading.Thread(target=self._repeat, args=(name, pause, call, Random(rng.random())), daemon=True)
            for name, pause, call in kinds
        ]
        self._threads.append(threading.Thread(target=self._check_health, daemon=True))

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Send nothing more, and wait for the last answers."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(180)
            assert not thread.is_alive(), f"no answer to {thread.name}"
        self._client.close()

    def _repeat(self, name: str, pause: float, call: Callable[[Random], int], rng: Random) -> None:
        while not self._stopped.wait(pause * rng.uniform(0.5, 1.5)):
            try:
                status = call(rng)
            except (httpx.TransportError, OSError):
                status = 0
            with self._lock:
                self.answers[name, status] += 1

    def _transcribe(self, data: bytes, **fields: str) -> int:
        form = {"model": "starter-asr", **fields}
        return self._client.post("/v1/audio/transcriptions", files={"file": ("a", data)}, data=form).status_code

    def _clip(self, rng: Random) -> int:
        return self._transcribe(make_audio(rng.uniform(0.5, 4.0)), response_format=rng.choice(FORMATS))

    def _long(self, rng: Random) -> int:
        return self._transcribe(make_audio(rng.uniform(35.0, 90.0)))

    def _speech(self, rng: Random) -> int:
        body = {"model": rng.choice(("espeak", "starter-tts")), "input": TEXT, "response_format": rng.choice(SOUNDS)}
        return self._client.post("/v1/audio/speech", json=body).status_code

    def _crash(self, _rng: Random) -> int:
        return self._client.post("/v1/audio/speech", json=CRASH).status_code

    def _damaged(self, rng: Random) -> int:
        return self._transcribe(mutate(rng.choice(self._files), self._files, rng))

    def _bomb(self, rng: Random) -> int:
        return self._transcribe(rng.choice(self._bombs))

    def _hang_up(self, rng: Random) -> int:
        """Disconnect in the head, in the body, or before the answer."""
        request = self._upload(make_audio(2.0))
        with self._connect() as connection:
            connection.sendall(request[: rng.choice((20, 5_000, len(request)))])
            self._stopped.wait(rng.uniform(0.0, 0.2))
        return 0

    def _drip(self, _rng: Random) -> int:
        """A byte of a request each second; the server closes the connection, or the test ends."""
        with self._connect() as connection:
            connection.settimeout(1.0)
            for byte in b"POST /v1/audio/speech HTTP/1.1\r\nHost: a\r\nx-long: " + b"a" * 60:
                connection.sendall(bytes([byte]))
                if self._stopped.wait(1.0):
                    return 0
                with contextlib.suppress(TimeoutError):
                    if not connection.recv(1_000):
                        return 408
        return 408

    def _no_reader(self, _rng: Random) -> int:
        """Request a long speech and read none of it for three seconds."""
        body = json.dumps({"model": "espeak", "input": TEXT * 60, "response_format": "wav"}).encode()
        head = b"POST /v1/audio/speech HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
        with self._connect() as connection:
            connection.sendall(head + body)
            self._stopped.wait(3.0)
        return 0

    def _reload(self, rng: Random) -> int:
        """Serve starter-tts or not."""
        entries = list(self._entries["model_config_list"])
        kept = entries if rng.random() < 0.5 else [each for each in entries if each["config"]["name"] != "starter-tts"]
        self._config.write_text(json.dumps({"model_config_list": kept}))
        return self._client.post("/v1/config/reload").status_code

    def _check_health(self) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=60) as client:
            while not self._stopped.wait(HEALTH_INTERVAL_S):
                began = time.monotonic()
                status = client.get("/v2/health/live").status_code
                self.health.append(time.monotonic() - began)
                if status != 200:
                    with self._lock:
                        self.answers["health", status] += 1

    def _connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port), timeout=60)

    def _upload(self, data: bytes) -> bytes:
        part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        body = part + data + b"\r\n--x--\r\n"
        head = b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
