"""A fake Hugging Face hub on loopback, for tests: its repositories are folders, and it implements what huggingface_hub uses.

As on the real hub, small files come from the hub itself (the etag is git's sha1), weights by a redirect to another host
(the etag is their sha256). Failures can be configured: see Hub. `python -m tests.support.fake_hub FOLDER` serves until ^C.
"""

from __future__ import annotations

import hashlib
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

LARGE = (".safetensors", ".bin", ".pt", ".onnx", ".msgpack")  # stored as LFS, whatever the size
CHUNK = 2**16


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request: the server, method, path, token and first byte of the range."""

    server: str  # "hub", or "cdn", the target of redirects
    method: str
    path: str
    token: str | None
    start: int


@dataclass
class Hub:
    """The state and the configured failures of the hub; all of it can be changed while it runs."""

    url: str = ""
    cdn: str = ""
    folders: dict[tuple[str, str], Path] = field(default_factory=dict)  # (owner/name, revision)
    authors: dict[tuple[str, str], str] = field(default_factory=dict)  # of pull requests
    requests: list[RecordedRequest] = field(default_factory=list)
    sent: int = 0  # bytes of files so far
    seconds_per_megabyte: float = 0.0
    cut_at: list[int] = field(default_factory=list)  # break the connection once this many bytes have been sent
    at: dict[int, Callable[[], None]] = field(default_factory=dict)  # call once this many bytes have been sent
    token: str | None = None  # required for every request if set
    gated: set[str] = field(default_factory=set)  # repositories whose files are listed but answered with 403
    broken: dict[str, int] = field(default_factory=dict)  # a substring of a path -> the status to answer with
    damaged: dict[str, int] = field(default_factory=dict)  # a file name -> how many times it is sent with wrong content
    takes_ranges: bool = True
    lists_sizes: bool = True  # some mirrors do not
    has_discussions: bool = True
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, source: str, folder: Path, revision: str = "main") -> None:
        """Serve a folder as a repository."""
        self.folders[source, revision] = folder

    def propose(self, source: str, folder: Path, author: str) -> str:
        """Serve a folder as a pull request of a repository; returns its revision."""
        revision = f"refs/pr/{sum(1 for name, ref in self.folders if name == source and ref != 'main') + 1}"
        self.folders[source, revision] = folder
        self.authors[source, revision] = author
        return revision

    def commit(self, source: str, revision: str) -> str:
        return hashlib.sha1(f"{source}@{revision}".encode()).hexdigest()

    def folder(self, source: str, revision: str) -> tuple[str, Path] | None:
        """The ref and folder of a revision, which is a name or a commit."""
        for (name, ref), folder in self.folders.items():
            if name == source and revision in (ref, self.commit(source, ref)):
                return ref, folder
        return None

    def starts(self, path: str) -> list[int]:
        """The first byte of each GET for a file, at the server that has its content."""
        server = "cdn" if path.endswith(LARGE) else "hub"
        return [
            request.start
            for request in self.requests
            if (request.server, request.method) == (server, "GET") and request.path.endswith(f"/{path}")
        ]


@contextmanager
def serve_hub(root: Path | None = None) -> Iterator[Hub]:
    """Run a hub whose repositories are root/owner/name."""
    hub = Hub()
    for folder in sorted(root.glob("*/*")) if root else ():
        hub.add(folder.relative_to(root or folder).as_posix(), folder)
    servers = [_start(hub, name) for name in ("hub", "cdn")]
    hub.url, hub.cdn = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


def write_repository(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    """A folder with these files, whose names may have slashes."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def _start(hub: Hub, name: str) -> ThreadingHTTPServer:
    class Bound(_Handler):
        pass

    Bound.hub, Bound.server_name = hub, name
    server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
    server.daemon_threads = True
    server.block_on_close = False
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    server_name: str
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        # A small buffer, so that the number of bytes sent is close to the number received.
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, CHUNK)
        super().setup()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        start = _start_of(self.headers.get("Range"))
        address = urlsplit(self.path)
        path = unquote(address.path)
        self.hub.requests.append(RecordedRequest(self.server_name, self.command, path, token, start))
        status = next((code for part, code in self.hub.broken.items() if part in path), None)
        if status is not None:
            self._refuse(status, "")
        elif self.server_name == "cdn":
            [source], [revision], [name] = parse_qs(address.query).values()
            self._send_file(source, revision, name)
        elif self.hub.token is not None and token != self.hub.token:
            self._refuse(401, "RepoNotFound" if token is None else "", "" if token is None else "Invalid credentials")
        elif path.startswith("/api/models/"):
            self._api(path.removeprefix("/api/models/"), parse_qs(address.query))
        else:
            self._resolve(path.removeprefix("/"))

    def _api(self, path: str, query: dict[str, list[str]]) -> None:
        source = "/".join(path.split("/")[:2])
        rest = path.removeprefix(source).removeprefix("/")
        if (source, "main") not in self.hub.folders:
            self._refuse(404, "RepoNotFound", "Repository not found")
        elif rest == "refs":
            refs = [
                {"name": ref, "ref": ref, "targetCommit": self.hub.commit(source, ref)} for ref in self._refs(source)
            ]
            main = [{"name": "main", "ref": "refs/heads/main", "targetCommit": self.hub.commit(source, "main")}]
            self._send_json({"branches": main, "converts": [], "tags": [], "pullRequests": refs})
        elif rest == "discussions" and self.hub.has_discussions:
            found = [self._discussion(source, ref) for ref in self._refs(source)]
            self._send_json({"discussions": found, "count": len(found), "start": 0})
        elif rest == "" or rest.startswith("revision/"):
            self._info(source, rest.removeprefix("revision/") or "main", "blobs" in query)
        else:
            self._refuse(404, "")

    def _refs(self, source: str) -> list[str]:
        return [ref for name, ref in self.hub.folders if name == source and ref.startswith("refs/pr/")]

    def _discussion(self, source: str, ref: str) -> dict[str, Any]:
        return {
            "num": int(ref.rpartition("/")[2]),
            "title": "Adding safetensors",
            "author": {"name": self.hub.authors[source, ref]},
            "createdAt": "2024-01-01T00:00:00.000Z",
            "status": "open",
            "repo": {"name": source, "type": "model"},
            "isPullRequest": True,
        }

    def _info(self, source: str, revision: str, blobs: bool) -> None:
        found = self.hub.folder(source, revision)
        if found is None:
            self._refuse(404, "RevisionNotFound", "Invalid rev id")
            return
        ref, folder = found
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        with_sizes = blobs and self.hub.lists_sizes
        siblings = [_sibling(path, path.relative_to(folder).as_posix(), with_sizes) for path in paths]
        sha = self.hub.commit(source, ref)
        self._send_json({"id": source, "modelId": source, "sha": sha, "private": False, "siblings": siblings})

    def _resolve(self, path: str) -> None:
        source, _, rest = path.partition("/resolve/")
        known = [ref for name, ref in self.hub.folders if name == source]
        known += [self.hub.commit(source, ref) for ref in known]
        revision = next((ref for ref in known if rest.startswith(f"{ref}/")), None)
        if revision is None:
            self._refuse(404, "RevisionNotFound" if known else "RepoNotFound", "not found")
        elif source in self.hub.gated:
            self._refuse(403, "GatedRepo", "Access to this model is restricted")
        else:
            self._send_file(source, revision, rest.removeprefix(f"{revision}/"))

    def _send_file(self, source: str, revision: str, name: str) -> None:
        found = self.hub.folder(source, revision)
        path = found[1] / name if found else None
        if found is None or path is None or not path.is_file():
            self._refuse(404, "EntryNotFound", "Entry not found")
            return
        content = path.read_bytes()
        large = name.endswith(LARGE)
        headers = {"X-Repo-Commit": self.hub.commit(source, found[0]), "Accept-Ranges": "bytes"}
        headers["ETag"] = f'"{_digest(content, large)}"'
        if large and self.server_name == "hub":
            headers |= {"X-Linked-Etag": headers["ETag"], "X-Linked-Size": str(len(content))}
            where = f"{self.hub.cdn}/{quote(name)}?{urlencode({'source': source, 'revision': revision, 'name': name})}"
            self._send(302, headers | {"Location": where}, b"")
            return
        start = _start_of(self.headers.get("Range")) if self.hub.takes_ranges else 0
        if start > len(content) or (start == len(content) and content):
            self._send(416, {"Content-Range": f"bytes */{len(content)}"}, b"")
            return
        ranged = bool(self.headers.get("Range")) and self.hub.takes_ranges
        if ranged:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if self.command == "GET" and self.hub.damaged.get(Path(name).name, 0) > 0:
            self.hub.damaged[Path(name).name] -= 1
            content = bytes(len(content))
        self._send(206 if ranged else 200, headers, content[start:], counted=True)

    def _send_json(self, value: object) -> None:
        self._send(200, {"Content-Type": "application/json"}, json.dumps(value).encode())

    def _refuse(self, status: int, code: str, message: str = "") -> None:
        headers = {"X-Error-Code": code} if code else {}
        if message:
            headers["X-Error-Message"] = message
        self._send(status, headers, json.dumps({"error": message}).encode())

    def _send(self, status: int, headers: dict[str, str], body: bytes, *, counted: bool = False) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        try:
            if counted:
                self._pour(body)
            else:
                self.wfile.write(body)
        except OSError:  # the client has disconnected
            self.close_connection = True

    def _pour(self, body: bytes) -> None:
        """Send a file's bytes, calling hooks and breaking the connection at the configured totals."""
        hub = self.hub
        rest = memoryview(body)
        while rest:
            with hub.lock:
                marks = [mark for mark in (*hub.cut_at, *hub.at) if mark > hub.sent]
                size = min(CHUNK, len(rest), *(mark - hub.sent for mark in marks))
            self.wfile.write(rest[:size])
            rest = rest[size:]
            with hub.lock:
                hub.sent += size
                cut = hub.sent in hub.cut_at
                call = hub.at.pop(hub.sent, None)
            if call is not None:
                call()
            if cut:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            if hub.seconds_per_megabyte:
                time.sleep(hub.seconds_per_megabyte * size / 2**20)


def _start_of(value: str | None) -> int:
    return int((value or "bytes=0-").removeprefix("bytes=").partition("-")[0])


def _digest(content: bytes, large: bool) -> str:
    if large:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _sibling(path: Path, name: str, with_sizes: bool) -> dict[str, Any]:
    if not with_sizes:
        return {"rfilename": name}
    content = path.read_bytes()
    sibling: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": _digest(content, False)}
    if name.endswith(LARGE):
        sibling["lfs"] = {"sha256": _digest(content, True), "size": len(content), "pointerSize": 134}
    return sibling


if __name__ == "__main__":
    with serve_hub(Path(sys.argv[1])) as running:
        print(f"HF_ENDPOINT={running.url} serves {', '.join(name for name, _ in running.folders)}", flush=True)
        threading.Event().wait()
