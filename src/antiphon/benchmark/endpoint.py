"""A server with OpenAI's audio API as a benchmark target. Needs httpx from the `bench` extra."""

from __future__ import annotations

import contextlib
import struct
import time

import httpx

from antiphon.benchmark.clips import Clip
from antiphon.benchmark.load_generator import OK, Response
from antiphon.errors import ConfigError

TIMED_OUT, NO_ANSWER = "timed out", "no answer"
_MAX_HEADER_BYTES = 64  # more than a plain wav header, and at most a few milliseconds of sound


class Endpoint:
    """A server by its base URL, such as http://127.0.0.1:8000/v1. Requests are never retried."""

    def __init__(
        self, url: str, model: str, *, api_key: str = "", language: str = "", voice: str = "", timeout: float = 300.0
    ) -> None:
        self._model = model
        self._language = language
        self._voice = voice
        try:
            address = httpx.URL(url)
            if address.scheme not in ("http", "https") or not address.host:
                raise ConfigError(f"{url} is not a URL such as http://127.0.0.1:8000/v1.", setting="url")
            base = address if address.path.strip("/") else address.copy_with(path="/v1")
            self._client = httpx.AsyncClient(
                base_url=base,
                headers={"authorization": f"Bearer {api_key or 'unused'}"},
                timeout=timeout,
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            )
        except httpx.InvalidURL as error:
            raise ConfigError(f"{url}: {error}", setting="url") from error

    async def transcribe(self, clip: Clip) -> Response:
        fields = {"model": self._model, "response_format": "json"}
        if language := clip.language or self._language:
            fields["language"] = language
        try:
            response = await self._client.post(
                "audio/transcriptions", data=fields, files={"file": (clip.name, clip.data)}
            )
        except httpx.HTTPError as error:
            return _no_response(error)
        if response.status_code != httpx.codes.OK:
            return Response(str(response.status_code), error_message(response))
        try:
            return Response(OK, str(response.json()["text"]), clip.seconds)
        except (ValueError, KeyError, TypeError):
            return Response("no transcript", f"the response is not a transcript: {response.text[:100]}")

    async def speak(self, text: str) -> Response:
        """Request wav, the only format whose duration follows from its size. The header does not count as first audio."""
        body = {"model": self._model, "input": text, "voice": self._voice or "alloy", "response_format": "wav"}
        if self._language:
            body["language"] = self._language
        data = bytearray()
        first_audio = None
        try:
            async with self._client.stream("POST", "audio/speech", json=body) as response:
                if response.status_code != httpx.codes.OK:
                    await response.aread()
                    return Response(str(response.status_code), error_message(response))
                async for block in response.aiter_bytes():
                    data += block
                    if first_audio is None and len(data) > _MAX_HEADER_BYTES:
                        first_audio = time.perf_counter()
        except httpx.HTTPError as error:
            return _no_response(error)
        seconds = wav_seconds(bytes(data))
        if seconds is None:
            return Response("no wav", f"the response is not a wav file but {response.headers.get('content-type')}")
        return Response(OK, seconds=seconds, first_audio=first_audio)

    async def close(self) -> None:
        await self._client.aclose()


def error_message(response: httpx.Response) -> str:
    """The message of an OpenAI error body, or the start of any other body."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(response.json()["error"]["message"])
    return " ".join(response.text.split())[:200] or response.reason_phrase


def wav_seconds(data: bytes) -> float | None:
    """The duration of a PCM wav file by its size, since a streamed header does not have it; None for other data."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return None
    position, bytes_per_second = 12, 0
    while position + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, position)
        if name == b"fmt ":
            (bytes_per_second,) = struct.unpack_from("<I", data, position + 16)
        if name == b"data":
            return min(size, len(data) - position - 8) / bytes_per_second if bytes_per_second else None
        position += 8 + size + size % 2
    return None


def _no_response(error: httpx.HTTPError) -> Response:
    if isinstance(error, httpx.TimeoutException):
        return Response(TIMED_OUT, "the server did not answer in time")
    return Response(NO_ANSWER, str(error) or type(error).__name__)
