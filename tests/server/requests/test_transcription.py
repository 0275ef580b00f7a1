"""Multipart bodies as real clients write them, byte for byte."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.sounds import make_audio

WAV = make_audio(1.0)
PATH = "/v1/audio/transcriptions"


def part(headers: list[str], content: bytes) -> bytes:
    return "".join(f"{line}\r\n" for line in headers).encode() + b"\r\n" + content + b"\r\n"


def text_part(name: str, value: str, *more: str) -> bytes:
    return part([f'Content-Disposition: form-data; name="{name}"', *more], value.encode())


def file_part(*more: str, filename: str = "recording.wav", content: bytes = WAV) -> bytes:
    return part([f'Content-Disposition: form-data; name="file"; filename="{filename}"', *more], content)


def body_of(parts: list[bytes], boundary: str = "openai-q1w2e3") -> bytes:
    return b"".join(f"--{boundary}\r\n".encode() + each for each in parts) + f"--{boundary}--\r\n".encode()


def send(
    server: Any, body: bytes | Iterator[bytes], boundary: str = "openai-q1w2e3", **headers: str
) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    headers["Content-Type"] = f"multipart/form-data; boundary={boundary}"
    connection.request("POST", PATH, body, headers, encode_chunked=not isinstance(body, bytes))
    response = connection.getresponse()
    answer = response.status, json.loads(response.read())
    connection.close()
    return answer


def in_pieces(body: bytes, size: int = 1_000) -> Iterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


MODEL = text_part("model", "fake")
ODD_BODIES = {
    "openai-node": [file_part("Content-Type: application/octet-stream"), MODEL],
    "open webui": [
        text_part("model", "", 'Content-Type: text/plain; charset="utf-8"'),
        text_part("language", "en", 'Content-Type: text/plain; charset="utf-8"'),
        file_part("Content-Type: application/octet-stream", filename="4711.mp3"),
    ],
    "dify": [MODEL, file_part(filename="temp.mp3")],
    "librechat": [file_part("Content-Type: video/webm", filename="audio.webm"), MODEL],
    "no text parts": [file_part("Content-Type: audio/x-wav")],
    "the file in the middle": [MODEL, file_part(), text_part("temperature", "0.00")],
    "an empty name": [MODEL, file_part(filename="")],
    "an odd name": [MODEL, file_part(filename="Größe 'ж' %00 ..%2f.txt")],
    "unknown fields and files": [
        file_part(),
        text_part("extra", "1"),
        part(['Content-Disposition: form-data; name="x"; filename="y"'], b"z"),
    ],
}


@pytest.mark.parametrize("parts", ODD_BODIES.values(), ids=ODD_BODIES.keys())
@pytest.mark.parametrize("chunked", [False, True], ids=["with length", "chunked"])
def test_bodies_of_real_clients(server: Any, parts: list[bytes], chunked: bool) -> None:
    body = body_of(parts)
    status, answer = send(server, in_pieces(body) if chunked else body)
    assert (status, answer.get("text")) == (200, "audio of 1.00 s"), answer


@pytest.mark.parametrize(
    "boundary", ["x", "----WebKitFormBoundaryAbC123", "-" * 24 + "0123456789abcdef", "a'()+_,-./:=?b"]
)
def test_any_boundary(server: Any, boundary: str) -> None:
    quoted = f'"{boundary}"'
    body = body_of([MODEL, file_part()], boundary)
    assert send(server, body, quoted)[0] == 200


def test_the_name_and_the_type_do_not_count(server: Any) -> None:
    webm = make_audio(1.0, "webm", "libopus", rate=48_000)
    status, answer = send(server, body_of([file_part("Content-Type: audio/wav", content=webm), MODEL]))
    assert (status, answer["text"]) == (200, "audio of 1.00 s")


def test_25_mib_are_taken(server: Any) -> None:
    sound = make_audio(140.0, rate=96_000)
    assert len(sound) > 25 * 2**20
    status, answer = send(server, in_pieces(body_of([file_part(content=sound), MODEL]), 2**16))
    assert status == 200, answer
    assert answer["usage"]["seconds"] == 140


# Starlette forgets the temporary file of a part that never ended; it goes with the garbage, which warns.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_body_cut_off_inside_the_file(server: Any) -> None:
    status, answer = send(server, body_of([MODEL, file_part()])[:-20_000])
    assert status == 400
    assert answer["error"]["message"]
