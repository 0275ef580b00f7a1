"""Requests to the transcription routes, by the OpenAI SDK and as plain forms."""

from __future__ import annotations

import threading
from typing import Any

import openai

from tests.support.http_helpers import calling
from tests.support.sounds import make_audio

WAV = make_audio(2.5)
MP3 = make_audio(2.5, "mp3", "libmp3lame", rate=44_100)


def sdk(server: Any, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0, **options)


def post(
    server: Any, data: dict[str, Any] | None = None, *, path: str = "/v1/audio/transcriptions", file: bytes = WAV
) -> Any:
    return server.client.post(path, files={"file": ("a.wav", file)}, data=data or {})


def hang_up_when(event: threading.Event, server: Any, file: bytes) -> None:
    """Send a request, and disconnect when `event` is set, without reading the answer."""
    body, content_type = multipart(file)
    with calling(server, "/v1/audio/transcriptions", body, content_type=content_type):
        assert event.wait(30)


def multipart(file: bytes) -> tuple[bytes, str]:
    head = b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    return head + file + b"\r\n--xyz--\r\n", "multipart/form-data; boundary=xyz"
