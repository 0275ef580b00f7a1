"""Reads the multipart form of an upload, within limits on its parts, and as UTF-8 whatever codec its header names."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from antiphon.audio.sample_store import storage_error
from antiphon.errors import InvalidParameter

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


@asynccontextmanager
async def read_form(request: Request) -> AsyncIterator[FormData]:
    """The form of a request, closed at the end of the block.

    InvalidParameter if the body is of another type, of which nothing is read, if it is malformed, or has more than one
    file or `MAX_FIELDS` fields of `MAX_FIELD_BYTES` each. Unavailable if the disk is full.
    """
    parser = MultiPartParser(
        _headers(request), request.stream(), max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise _unreadable(error) from error
    except OSError as error:  # of a temporary file: a form's own errors are not of this class
        raise storage_error(error) from error
    try:
        yield form
    finally:
        await form.close()


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
