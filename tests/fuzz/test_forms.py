"""Random and damaged forms and JSON bodies: every answer is a result or a 4xx, short, and the application goes on."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import BinaryIO

import numpy as np
import pytest

from antiphon.server.requests.speech import SpeechRequest
from antiphon.server.requests.transcription import TranscriptionRequest
from antiphon.server.requests.upload import Decoders
from antiphon.testing.fake import FakeSession, FakeVoice
from antiphon.types.audio import Samples
from tests.fuzz.conftest import FuzzBudget
from tests.support.in_process import Answer, InProcess, in_process

MAX_ERROR_BYTES = 2_500
MAX_BODY_BYTES = 400_000

TEXTS = [
    *("", " ", "fake", "fake-voice", "whisper-1", "plain", "en", "Spanish", "json", "verbose_json", "sse", "auto"),
    *("null", "true", "0", "1", "-1", "0.5", "1e999", "nan", "inf", "-0", "9" * 30, "9" * 5_000, "0x10", "١٢"),
    *("é", "日本語", "\U0001f600", "\U000e0001" * 200, "\x00", "\r\n", "\x1b[31m", "\ufeff", "\u202e", "a\u0301" * 50),
    *(
        "../../etc/passwd",
        "%2e%2e%2f",
        "http://localhost/",
        "'; DROP TABLE",
        "<script>",
        "{}",
        "[]",
        "[" * 5_000,
        '{"":' * 900,
    ),
    '{"type": "server_vad", "threshold": 0.5}',
    '{"type": "server_vad", "\\ud800": NaN}',
]
SPECIAL_JSON = [
    "NaN",
    "-Infinity",
    "1" * 5_000,
    "1e400",
    "-0.0",
    '"\\ud800"',
    '"\\u0000"',
    "[" * 2_000,
    "tru",
    "'a'",
    '"\t"',
]
INSERTED = [b"\r\n", b"--", b"\r\n--b", b"\r\n--b--", b'"', b";", b":", b"\x00", b"\xff\xfe", b"{", b","]
CHARSETS = [
    "utf-8",
    "latin-1",
    "utf-16",
    "utf-7",
    "punycode",
    "idna",
    "undefined",
    "hex",
    "rot13",
    "unicode_escape",
    "x" * 300,
]
HEADERS = {
    "x_request_timeout": ["30", "1e9", "", "nan", "-1", "x" * 3_000, "\xb3"],
    "x_antiphon_priority": ["high", "LOW ", "", "urgent", "\xff" * 200],
    "x_request_id": ["a", "b" * 500, "\xe9", "<b>"],
    "content_length": ["0", "5", "99999999999999999999", "-1", "\xb2", "x"],
}
PATHS = ["/v1/audio/transcriptions", "/v1/audio/translations", "/v3/audio/transcriptions", "//audio///translations/"]


def long_text(rng: Random) -> str:
    return rng.choice(["a", "é", " ", ".", "1", "\n", "\x7f", "\U0001f600", '"', "\\"]) * rng.choice(
        [100, 5_000, 60_000]
    )


def text(rng: Random) -> str:
    match rng.randrange(4):
        case 0:
            return long_text(rng)
        case 1:
            return "".join(
                chr(rng.choice([rng.randrange(128), rng.randrange(0xD800)])) for _ in range(rng.randrange(30))
            )
        case _:
            return rng.choice(TEXTS)


def damaged(body: bytes, rng: Random) -> bytes:
    """Some bytes flipped, cut out, repeated or put in, at random places."""
    data = bytearray(body)
    for _ in range(rng.choice([0, 0, 1, 1, 2, 5, 20])):
        at = rng.randrange(len(data) + 1)
        end = at + rng.choice([1, 2, 10, 1_000])
        match rng.randrange(6):
            case 0:
                data[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                del data[at:end]
            case 2:
                data[at:at] = data[at:end] * rng.choice([1, 2, 50])
            case 3:
                data[at:at] = rng.randbytes(rng.randrange(20))
            case 4:
                data[at:at] = rng.choice(INSERTED)
            case 5:
                del data[at:]
    return bytes(data[:MAX_BODY_BYTES])


def pieces(body: bytes, rng: Random) -> Iterator[bytes]:
    """The body as it may arrive: whole, or in pieces of random sizes."""
    most = rng.choice([1, 50, 1_000, 65_536, MAX_BODY_BYTES]) if len(body) < 5_000 else 65_536
    at = 0
    while at < len(body):
        size = rng.randint(1, most)
        yield body[at : at + size]
        at += size


def headers(rng: Random) -> dict[str, str]:
    return {name: rng.choice(values) for name, values in HEADERS.items() if rng.random() < 0.1}


def a_part(rng: Random) -> bytes:
    fields = [
        *TranscriptionRequest.model_fields,
        "timestamp_granularities[]",
        "chunking_strategy[type]",
        "stream[]",
        "[]",
    ]
    name = rng.choice(fields) if rng.random() < 0.9 else text(rng)
    lines = [f'Content-Disposition: form-data; name="{name}"']
    if name.startswith("file") or rng.random() < 0.02:
        lines[0] += f'; filename="{text(rng)[:2_000]}"'
    if rng.random() < 0.1:
        lines.append(
            f"{rng.choice(['Content-Type', 'Content-Transfer-Encoding', text(rng)[:50]])}: {text(rng)[:5_000]}"
        )
    if rng.random() < 0.02:
        lines *= rng.choice([2, 20])
    return "\r\n".join([*lines, "", ""]).encode() + text(rng).encode() + b"\r\n"


def send_form(app: InProcess, rng: Random) -> Answer:
    parts = [a_part(rng) for _ in range(rng.choice([0, 1, 2, 3, 5, 70]))]
    if rng.random() < 0.9:
        file = b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        parts.append(file + rng.randbytes(rng.randrange(3_000)) + b"\r\n")
    rng.shuffle(parts)
    body = b"".join(b"--b\r\n" + part for part in parts) + b"--b--\r\n"
    content_type = "multipart/form-data; boundary=b"
    match rng.randrange(10):
        case 0:
            content_type += f"; charset={rng.choice(CHARSETS)}"
        case 1:
            content_type = damaged(content_type.encode(), rng).decode("latin-1")
        case 2:
            content_type = rng.choice(
                ["", "application/json", "application/x-www-form-urlencoded", "multipart/form-data"]
            )
    return app.send(
        rng.choice(PATHS), pieces(damaged(body, rng), rng), **{"content_type": content_type, **headers(rng)}
    )


def a_value(rng: Random, depth: int = 0) -> str:
    """A JSON value, or nearly one."""
    match rng.randrange(8 if depth < 4 else 5):
        case 0:
            return rng.choice(SPECIAL_JSON)
        case 1:
            return rng.choice(["null", "true", "false", "0", "-1", "2", "0.25", "4.0", "1e5"])
        case 2 | 3 | 4:
            return json.dumps(text(rng), ensure_ascii=rng.random() < 0.5)
        case 5:
            return "[" + ", ".join(a_value(rng, depth + 1) for _ in range(rng.randrange(4))) + "]"
        case _:
            return an_object(rng, ["id", "type", "input"], depth + 1)


def an_object(rng: Random, names: list[str], depth: int = 0) -> str:
    chosen = [rng.choice(names) if rng.random() < 0.9 else text(rng) for _ in range(rng.randrange(6))]
    return "{" + ", ".join(f"{json.dumps(name)}: {a_value(rng, depth)}" for name in chosen) + "}"


def send_json(app: InProcess, rng: Random) -> Answer:
    names = list(SpeechRequest.model_fields)
    body = an_object(rng, names) if rng.random() < 0.9 else a_value(rng)
    if body.startswith("{") and rng.random() < 0.7:  # usually with a text to speak
        body = f'{{"input": {json.dumps(text(rng))}, "response_format": "pcm"{"," * (len(body) > 2)}{body[1:]}'
    encoded = body.encode(rng.choice(["utf-8"] * 8 + ["utf-16", "utf-8-sig"]))
    path = rng.choice(["/v1/audio/speech", "/v3/audio/speech"])
    return app.send(path, pieces(damaged(encoded, rng), rng), **headers(rng))


def fuzz(app: InProcess, send: Callable[[InProcess, Random], Answer], budget: FuzzBudget) -> Counter[int]:
    """How often there was which status."""
    statuses: Counter[int] = Counter()
    deadline = time.monotonic() + budget.seconds
    slowest = 0.0
    while not statuses or time.monotonic() < deadline:
        begun = time.monotonic()
        answer = send(app, budget.rng)
        slowest = max(slowest, time.monotonic() - begun)
        statuses[answer.status] += 1
        assert 200 <= answer.status < 500, answer.body
        if answer.status >= 400:
            assert len(answer.body) < MAX_ERROR_BYTES
            assert answer.error["message"]
    print(f"{dict(statuses)}, slowest {slowest:.3f} s")
    return statuses


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[InProcess]:
    """An application that takes any file for silence of the same number of samples."""

    async def silence(_decoders: Decoders, file: BinaryIO, *, max_seconds: float) -> Samples:
        return np.zeros(1 + len(file.read()), np.float32)

    monkeypatch.setattr(Decoders, "decode", silence)
    with in_process(FakeSession("fake"), FakeVoice(seconds=0.0001), max_upload_bytes=MAX_BODY_BYTES) as served:
        yield served


def test_random_forms_are_answered_or_refused(app: InProcess, fuzz_budget: FuzzBudget) -> None:
    fuzz(app, send_form, fuzz_budget)
    file = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc\r\n--b--\r\n'
    assert app.send(PATHS[0], [file], content_type="multipart/form-data; boundary=b").status == 200
    assert app.app.state.upload_limits.spooled_bytes == 0


def test_random_json_is_answered_or_refused(app: InProcess, fuzz_budget: FuzzBudget) -> None:
    fuzz(app, send_json, fuzz_budget)
    assert app.send("/v1/audio/speech", [b'{"input": "Hello."}']).status == 200
