"""Reads the multipart form of an upload, within limits on its parts, and as UTF-8 whatever codec its header names."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from antiphon.audio.sample_store import storage_error
from antiphon.errors import InvalidParameter, Overloaded
from antiphon.server.middleware.metrics import count_refused
from antiphon.server.requests.upload_limits import MEMORY_BYTES, SpooledBytes, UploadLimits
from antiphon.types.options import ModelTask

MAX_FIELDS = 64
MAX_FIELD_BYTES = 64 * 1024

_UNUSABLE_IN_BOUNDARY = re.compile(r'["\\\x00-\x1f\x7f]')
NO_FILE = "'file' is missing: send the audio as a complete multipart/form-data part of that name."
# What Starlette says if a form has too much of something, and what this server says.
_LIMITS = {
    "Too many files": "The form has more than one file: send one, as 'file'.",
    "Too many fields": f"The form has more than {MAX_FIELDS} fields.",
    "Part exceeded": f"A field has more than {MAX_FIELD_BYTES} bytes. If it is the audio, send it as a file, with a filename.",
}


class UploadForm(FormData):
    """A form whose file counts as an upload until it is closed."""

    def __init__(self, form: FormData, spooled: SpooledBytes) -> None:
        super().__init__(form)
        self._spooled = spooled

    async def close(self) -> None:
        await super().close()
        self._spooled.release()


@asynccontextmanager
async def read_form(request: Request, task: ModelTask) -> AsyncIterator[FormData]:
    """The form of a request, closed at the end of the block.

    InvalidParameter if the body is of another type, of which nothing is read, if it is malformed, or has more than one
    file or `MAX_FIELDS` fields of `MAX_FIELD_BYTES` each. Overloaded if there are too many uploads, Unavailable if the disk
    is full.
    """
    headers = _headers(request)
    limits: UploadLimits = request.app.state.upload_limits
    spooled = SpooledBytes(limits)
    try:
        length = request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > MEMORY_BYTES:
            limits.check_room(int(length))
        async with limits.reading():
            form = UploadForm(await _parse(request, headers, spooled), spooled)
    except BaseException as error:
        spooled.release()
        if isinstance(error, Overloaded):
            count_refused(request, task, error.reason)
        raise
    try:
        yield form
    finally:
        await form.close()


class _Parser(MultiPartParser):
    """Starlette's parser, and whether the form's last boundary has been read."""

    complete = False

    def on_end(self) -> None:
        self.complete = True


async def _parse(request: Request, headers: Headers, spooled: SpooledBytes) -> FormData:
    async def whole(body: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        async for piece in body:
            yield piece
        if (
            not parser.complete
        ):  # an error inside parse() closes the file; otherwise that of an unfinished part stays open
            raise MultiPartException("it breaks off before its last boundary.")

    async with aclosing(spooled.count(request.stream())) as counted, aclosing(whole(counted)) as body:
        parser = _Parser(headers, body, max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES)
        try:
            return await parser.parse()
        except MultiPartException as error:
            raise _unreadable(error) from error
        except OSError as error:  # of a temporary file: a form's own errors are not of this class
            raise storage_error(error) from error


def _headers(request: Request) -> Headers:
    """What the parser reads of the request's headers: the boundary.

    Without the charset, which can name any of Python's codecs: one of them takes quadratic time, and others raise errors
    of their own. The parser then decodes as UTF-8, or as Latin-1 where that fails.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data":
        raise InvalidParameter(NO_FILE, param="file", code="missing_file")
    content_type = "multipart/form-data"
    if b"boundary" in options:
        boundary = options[b"boundary"].decode("latin-1")
        if not boundary or _UNUSABLE_IN_BOUNDARY.search(boundary):
            raise InvalidParameter("The boundary in the content-type header cannot be used.", code="invalid_form")
        content_type += f'; boundary="{boundary}"'
    return Headers({"content-type": content_type})


def _unreadable(error: MultiPartException) -> InvalidParameter:
    limit = next((text for start, text in _LIMITS.items() if error.message.startswith(start)), None)
    param = "file" if error.message.startswith("Too many files") else None
    return InvalidParameter(limit or f"The form cannot be read: {error.message}", param=param, code="invalid_form")
