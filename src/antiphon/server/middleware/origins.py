"""Protects the server from web pages: refuses foreign host names (DNS rebinding) and requests of other origins."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterator

from starlette.types import ASGIApp, Receive, Scope, Send

from antiphon.errors import ConfigError, HostNotAllowed, OriginNotAllowed, quoted
from antiphon.server.middleware.auth import is_health
from antiphon.settings import Settings, listed

ANY = "*"
# Not in the public DNS, so no web page can be loaded from such a name and then have it point to this machine.
PRIVATE_SUFFIXES = (".localhost", ".internal", ".svc", ".svc.cluster.local")
_PORT = re.compile(r":\d*$")
_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://[^/\s]+", re.IGNORECASE)
_SAFE_METHODS = ("GET", "HEAD", "OPTIONS")  # they change nothing, and a browser hides their answers from other origins


class HostNames:
    """The names by which clients may address the server.

    IP addresses, names without a dot and names with a private suffix always pass: a public DNS server cannot give their address.
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        wrong = next((name for name in names if "/" in name), None)
        if wrong is not None:
            raise ConfigError(f"{wrong} is not a host name such as speech.example.com.", setting="allowed_hosts")
        plain = tuple(host_of(name) for name in names)
        self._any = ANY in plain
        self._names = frozenset(name for name in plain if not name.startswith("*."))
        self._suffixes = (*PRIVATE_SUFFIXES, *(name[1:] for name in plain if name.startswith("*.")))

    def allow(self, host: str) -> bool:
        """Whether a Host header, with or without a port, may be used."""
        name = host_of(host)
        return self._any or "." not in name or name in self._names or name.endswith(self._suffixes) or _is_address(name)


def host_names(settings: Settings) -> HostNames:
    """The names in the settings, and this machine's own."""
    own = socket.gethostname()
    return HostNames((*listed(settings.allowed_hosts or ""), *listed(settings.rest_bind_address), own, f"{own}.local"))


def allowed_origins(settings: Settings) -> tuple[str, ...]:
    """The other origins in the settings. ConfigError if a browser sends none of that form."""
    origins = listed(settings.allowed_origins or "")
    wrong = next((origin for origin in origins if origin != ANY and not _ORIGIN.fullmatch(origin)), None)
    if wrong is not None:
        reason = f"{wrong} is not an origin such as https://speech.example.com, without a path and a final slash."
        raise ConfigError(reason, setting="allowed_origins")
    return origins


class CheckOrigin:
    """Raises `HostNotAllowed` for a Host that is not the server's, and `OriginNotAllowed` for another origin's requests.

    Requests without an Origin, which only browsers send, and of the server's own origin pass, as do GET, HEAD and OPTIONS.
    The health routes can be requested under any name.
    """

    def __init__(self, app: ASGIApp, *, names: HostNames, origins: tuple[str, ...]) -> None:
        self.app = app
        self._names = names
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and not is_health(scope):
            hosts = tuple(_values(scope, b"host"))
            for host in hosts:
                if not self._names.allow(host):
                    raise HostNotAllowed(
                        f"This server is not known as {quoted(host_of(host))}; start it with --allowed_hosts and "
                        "that name, or use its IP address."
                    )
            if scope["type"] == "websocket" or scope["method"] not in _SAFE_METHODS:
                self._check_origins(scope, hosts)
        await self.app(scope, receive, send)

    def _check_origins(self, scope: Scope, hosts: tuple[str, ...]) -> None:
        for origin in _values(scope, b"origin"):
            own = origin.partition("://")[2] in hosts
            if not own and origin not in self._origins and ANY not in self._origins:
                raise OriginNotAllowed(
                    f"Web pages of {quoted(origin)} may not use this server; --allowed_origins allows them."
                )


def host_of(host: str) -> str:
    """The name or address in a Host header: in lower case, without port, brackets and final dot."""
    name = host.strip().lower()
    if _is_address(name):
        return name  # IPv6 without brackets, as in rest_bind_address
    return _PORT.sub("", name).removeprefix("[").removesuffix("]").removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _values(scope: Scope, header: bytes) -> Iterator[str]:
    return (value.decode("latin-1").strip() for name, value in scope["headers"] if name.lower() == header)
