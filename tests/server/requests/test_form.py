"""The limits of a form: its type, its charset, its fields and files, and a full disk."""

from __future__ import annotations

import encodings
import errno
import pkgutil
import tempfile
from collections.abc import Iterable, Iterator
from encodings import aliases
from pathlib import Path
from typing import Any

import pytest

from antiphon.testing.fake import FakeSession
from tests.support.in_process import Answer, InProcess, in_process
from tests.support.sounds import make_audio

WAV = make_audio(0.5)
PATH = "/v1/audio/transcriptions"
BOUNDARY = "q1w2e3"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
LIMIT = 64 * 1024
CODECS = sorted({*aliases.aliases.values(), *(module.name for module in pkgutil.iter_modules(encodings.__path__))})


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename is not None else "")
    return f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n".encode() + content + b"\r\n"


def form(*parts: bytes) -> Iterator[bytes]:
    """The body in pieces of 64 kB, as a socket gives it."""
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    for start in range(0, len(body), LIMIT):
        yield body[start : start + LIMIT]


@pytest.fixture(scope="module")
def app() -> Iterator[InProcess]:
    with in_process(FakeSession("fake")) as served:
        yield served


def send(app: InProcess, body: Iterable[bytes], content_type: str = FORM) -> Answer:
    return app.send(PATH, body, content_type=content_type)


@pytest.mark.parametrize("charset", [*CODECS, "utf-16", "UTF-8", "nonsense", "", '"a b"', "\xff", "x" * 1_000])
def test_charset_of_the_form_changes_nothing(app: InProcess, charset: str) -> None:
    for model in (b"fake", "fäke".encode(), b"f\xe4ke", b"\xff\xfe"):
        body = [*form(part("model", model), part("file", WAV, "a.wav"))]
        expected = send(app, body)
        assert expected.status == (200 if model == b"fake" else 404)
        answer = send(app, body, f"{FORM}; charset={charset}")
        assert (answer.status, answer.body) == (expected.status, expected.body)


def test_charset_of_a_form_costs_no_time_of_the_event_loop(app: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding 64 fields of 64 kB as punycode would take more than ten seconds."""

    def fail(*_: Any) -> Any:
        raise AssertionError("a codec was called")

    monkeypatch.setattr("encodings.punycode.punycode_decode", fail)
    body = [*form(*(part("prompt", b"a-" * 30_000) for _ in range(60)), part("file", WAV, "a.wav"))]
    assert send(app, body, f"{FORM}; charset=punycode").status == 200


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-www-form-urlencoded",
        "application/x-www-form-urlencoded; charset=utf-8",
        "application/json",
        "audio/wav",
        "multipart/mixed; boundary=x",
        "multipart/form-data-x; boundary=x",
        "",
        ";",
    ],
)
def test_body_that_is_not_a_form_is_400_and_not_read(app: InProcess, content_type: str) -> None:
    answer = send(app, [b"&" * LIMIT] * 1_000, content_type)
    assert (answer.status, answer.error["param"], answer.error["code"]) == (400, "file", "missing_file")
    assert "multipart/form-data" in answer.error["message"]
    assert answer.bytes_read == 0


@pytest.mark.parametrize(
    "boundary", ["", "; boundary=", '; boundary=""', "; boundary=" + "x" * 300, '; boundary="a\\"b"']
)
def test_form_without_a_usable_boundary_is_400(app: InProcess, boundary: str) -> None:
    answer = send(app, form(part("file", WAV, "a.wav")), f"multipart/form-data{boundary}")
    assert (answer.status, answer.error["code"]) == (400, "invalid_form")


def test_second_file_is_400_before_it_is_read(app: InProcess) -> None:
    for name in ("file", "other"):
        first = part("file", WAV, "a.wav")
        answer = send(app, form(first, *(part(name, bytes(10**6), "b") for _ in range(10))))
        assert (answer.status, answer.error["param"]) == (400, "file")
        assert answer.error["message"] == "The form has more than one file: send one, as 'file'."
        assert answer.bytes_read <= len(first) + 2 * LIMIT


def test_64_fields_of_64_kb_are_accepted_and_more_is_400_before_it_is_read(app: InProcess) -> None:
    most = [part(f"x{number}", b"x" * LIMIT) for number in range(64)]
    file = part("file", WAV, "a.wav")
    assert send(app, form(*most, file)).status == 200

    fields = send(app, form(*(part("x", b"") for _ in range(65)), part("file", bytes(10**7), "a.wav")))
    assert (fields.status, fields.error["code"]) == (400, "invalid_form")
    assert "64 fields" in fields.error["message"]
    assert fields.bytes_read <= 2 * LIMIT

    size = send(app, form(*(part("x", bytes(10**6)) for _ in range(20)), file))
    assert (size.status, size.error["code"]) == (400, "invalid_form")
    assert "65536 bytes" in size.error["message"]
    assert size.bytes_read <= 3 * LIMIT


@pytest.mark.parametrize("size", [1_000, 3_000_000], ids=["in memory", "in a file"])
def test_file_of_a_form_that_breaks_off_is_closed(app: InProcess, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    created: list[tempfile.SpooledTemporaryFile[bytes]] = []

    def create(max_size: int) -> tempfile.SpooledTemporaryFile[bytes]:
        created.append(tempfile.SpooledTemporaryFile(max_size=max_size))  # noqa: SIM115  closed by the parser
        return created[-1]

    monkeypatch.setattr("starlette.formparsers.SpooledTemporaryFile", create)
    answer = send(app, [part("file", bytes(size), "a.wav")])
    assert (answer.status, answer.error["code"]) == (400, "invalid_form")
    assert "breaks off" in answer.error["message"]
    assert [file.closed for file in created] == [True]


def test_malformed_form_is_400(app: InProcess) -> None:
    for body in (b"--", b"x", f"--{BOUNDARY}\r\n\r\n\r\n".encode(), part("file", WAV).replace(b"name", b"nome")):
        answer = send(app, form(body))
        assert answer.status == 400, body


class FullDisk:
    """A temporary file on a disk without room."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/secret/folder")


def test_full_disk_is_503_with_retry_after_and_small_uploads_go_on(
    app: InProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", FullDisk)
    answer = send(app, form(part("file", WAV + bytes(3 * 10**6), "a.wav")))
    assert (answer.status, answer.headers["retry-after"]) == (503, "60")
    assert "folder" not in answer.error["message"]
    assert "No space left on device" in caplog.text
    assert send(app, form(part("file", WAV, "a.wav"))).status == 200


def test_folder_that_does_not_exist_is_503(app: InProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert send(app, form(part("file", bytes(3 * 10**6), "a.wav"))).status == 503
