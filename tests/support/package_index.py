"""A package index on the loopback interface: PEP 503 pages and wheels, with a record of the requests."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from antiphon.hub.catalogue import Wheel


class PackageIndex:
    """Wheels by package name; `requests` are the requested paths, `stall` holds a wheel back after half its bytes."""

    def __init__(self) -> None:
        self.wheels: dict[str, tuple[str, bytes]] = {}
        self.requests: list[str] = []
        self.stall: threading.Event | None = None
        self.url = ""

    def add(self, package: str, members: Mapping[str, bytes], *, version: str = "1.0") -> Wheel:
        """Serve a wheel with these members, and return how a catalogue names it."""
        buffer = io.BytesIO()
        metadata = f"{package.replace('-', '_')}-{version}.dist-info"
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
            archive.writestr(f"{metadata}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
            archive.writestr(f"{metadata}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            archive.writestr(f"{metadata}/RECORD", "")
        data = buffer.getvalue()
        self.wheels[package] = (f"{package.replace('-', '_')}-{version}-py3-none-any.whl", data)
        return Wheel(package, version, len(data), hashlib.sha256(data).hexdigest())

    def page(self, package: str) -> bytes:
        name, _ = self.wheels[package]
        return f'<html><body><a href="/files/{package}/{name}">{name}</a></body></html>'.encode()


@contextmanager
def serving_index() -> Iterator[PackageIndex]:
    """An index that serves until the block ends."""
    index = PackageIndex()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            index.requests.append(self.path)
            kind, _, package = self.path.strip("/").partition("/")
            package = package.split("/")[0]
            if package not in index.wheels:
                self.send_error(404)
                return
            wheel = kind == "files"
            data = index.wheels[package][1] if wheel else index.page(package)
            self.send_response(200)
            self.send_header("content-type", "application/octet-stream" if wheel else "text/html")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            half = len(data) // 2 if wheel and index.stall is not None else len(data)
            self.wfile.write(data[:half])
            if half < len(data):
                self.wfile.flush()
                assert index.stall is not None
                index.stall.wait(60)
                self.wfile.write(data[half:])

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    index.url = f"http://127.0.0.1:{server.server_port}/simple"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield index
    finally:
        if index.stall is not None:
            index.stall.set()
        server.shutdown()
        server.server_close()
