"""Any server with OpenAI's audio API, asked over HTTP as its own clients ask.

It knows the wire; it must not know who asks when. httpx is an extra, so this is imported when a URL is given.
"""

from __future__ import annotations

import contextlib
import struct
import time

import httpx

from antiphon.benchmark.clips import Clip
from antiphon.benchmark.load_generator import OK, Answer
from antiphon.errors import ConfigError

TIMED_OUT, NO_ANSWER = "timed out", "no answer"
_HEADER = 64  # bytes; more than a plain wav's header, and a few milliseconds of sound at most


class Endpoint:
    """A server by the URL its clients are given, such as http://127.0.0.1:8000/v1. No request is sent twice."""

    def __init__(
        self, url: str, model: str, *, api_key: str = "", language: str = "", voice: str = "", timeout: float = 300.0
    ) -> None:
        self._model = model
        self._language = language
        self._voice = voice
        try:
            address = httpx.URL(url)
            if address.scheme not in ("http", "https") or not address.host:
                raise ConfigError(f"--url {url}: not an address; give one such as http://127.0.0.1:8000/v1.")
            base = address if address.path.strip("/") else address.copy_with(path="/v1")
            self._client = httpx.AsyncClient(
                base_url=base,
                headers={"authorization": f"Bearer {api_key or 'unused'}"},
                timeout=timeout,
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            )
        except httpx.InvalidURL as error:
            raise ConfigError(f"--url {url}: {error}") from error

    async def transcribe(self, clip: Clip) -> Answer:
        fields = {"model": self._model, "response_format": "json"}
        if self._language:
            fields["language"] = self._language
        try:
            response = await self._client.post(
                "audio/transcriptions", data=fields, files={"file": (clip.name, clip.data)}
            )
        except httpx.HTTPError as error:
            return _nothing(error)
        if response.status_code != httpx.codes.OK:
            return Answer(str(response.status_code), told(response))
        try:
            return Answer(OK, str(response.json()["text"]), clip.seconds)
        except (ValueError, KeyError, TypeError):
            return Answer("no transcript", f"the answer is not a transcript: {response.text[:100]}")

    async def speak(self, text: str) -> Answer:
        """As wav, the one format whose length can be read off its bytes; `first` is when samples arrived, not a header."""
        body = {"model": self._model, "input": text, "voice": self._voice or "alloy", "response_format": "wav"}
        if self._language:
            body["language"] = self._language
        sound = bytearray()
        first = None
        try:
            async with self._client.stream("POST", "audio/speech", json=body) as response:
                if response.status_code != httpx.codes.OK:
                    await response.aread()
                    return Answer(str(response.status_code), told(response))
                async for piece in response.aiter_bytes():
                    sound += piece
                    if first is None and len(sound) > _HEADER:
                        first = time.perf_counter()
        except httpx.HTTPError as error:
            return _nothing(error)
        seconds = wav_seconds(bytes(sound))
        if seconds is None:
            return Answer("no wav", f"the answer is not a wav file; it is {response.headers.get('content-type')}")
        return Answer(OK, seconds=seconds, first=first)

    async def close(self) -> None:
        await self._client.aclose()


def told(response: httpx.Response) -> str:
    """The message of an error body of OpenAI's shape, or the beginning of any other."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(response.json()["error"]["message"])
    return " ".join(response.text.split())[:200] or response.reason_phrase


def wav_seconds(sound: bytes) -> float | None:
    """How long a wav file of PCM is, by its bytes: a streamed one's header cannot say. None if it is none."""
    if sound[:4] != b"RIFF" or sound[8:12] != b"WAVE":
        return None
    at, bytes_a_second = 12, 0
    while at + 8 <= len(sound):
        name, size = struct.unpack_from("<4sI", sound, at)
        if name == b"fmt ":
            (bytes_a_second,) = struct.unpack_from("<I", sound, at + 16)
        if name == b"data":
            return min(size, len(sound) - at - 8) / bytes_a_second if bytes_a_second else None
        at += 8 + size + size % 2
    return None


def _nothing(error: httpx.HTTPError) -> Answer:
    if isinstance(error, httpx.TimeoutException):
        return Answer(TIMED_OUT, "the server did not answer in time")
    return Answer(NO_ANSWER, str(error) or type(error).__name__)
