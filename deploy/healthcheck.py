"""Whether the server in this container is ready: exit code 0, or 1 with the reason. Run by the image's HEALTHCHECK.

It asks on the address and port that the server was started with, whichever they are.
"""

from __future__ import annotations

import os
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

READY = "/v2/health/ready"
EVERYWHERE = ("0.0.0.0", "::", "")


def address_of(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """host:port, as `--rest_port 8000`, `--rest-port=8000` or ANTIPHON_REST_PORT said it; a flag wins, the last one."""
    port = environment.get("ANTIPHON_REST_PORT") or "8000"
    host = environment.get("ANTIPHON_REST_BIND_ADDRESS") or ""
    for word, following in zip(command, [*command[1:], ""], strict=True):
        name, given, value = word.replace("_", "-").partition("=")
        value = word.partition("=")[2] if given else following
        if name == "--rest-port":
            port = value
        elif name == "--rest-bind-address":
            host = value
    host = host.split(",")[0].strip()
    if host in EVERYWHERE:
        host = "127.0.0.1"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def main() -> int:
    """Ask the server that is this container's first process."""
    command = Path("/proc/1/cmdline").read_bytes().decode(errors="replace").split("\0")
    url = f"http://{address_of(command, os.environ)}{READY}"
    # A proxy that is set for pulling models has no part in this.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=4):
            return 0
    except OSError as error:
        sys.stdout.write(f"{url}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
