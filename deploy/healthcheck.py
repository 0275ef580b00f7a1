"""Exit with 0 if the server in this container is ready, else with 1 and the reason; for the image's HEALTHCHECK.

The address and port are those that the server was started with.
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
    """host:port from `--rest_port 8000`, `--rest-port=8000` or ANTIPHON_REST_PORT; the last flag takes precedence."""
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
    """Request the health of the server, which is this container's first process."""
    command = Path("/proc/1/cmdline").read_bytes().decode(errors="replace").split("\0")
    url = f"http://{address_of(command, os.environ)}{READY}"
    # Without the proxy that may be set for pulling models.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=4):
            return 0
    except OSError as error:
        sys.stdout.write(f"{url}: {error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
