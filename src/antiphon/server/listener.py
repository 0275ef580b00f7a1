"""Binds the addresses that the server listens on."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterable

from antiphon.errors import ConfigError
from antiphon.settings import listed


def bind(addresses: str, port: int) -> list[socket.socket]:
    """A listening socket for each of the comma-separated addresses. ConfigError names the one that cannot be used."""
    sockets: list[socket.socket] = []
    for address in listed(addresses):
        try:
            family, kind, protocol, _, endpoint = socket.getaddrinfo(
                address, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            listener = socket.socket(family, kind, protocol)
            sockets.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # Otherwise [::] takes the port of 0.0.0.0 too, and the two cannot be used together.
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(endpoint)
            listener.listen()  # with SO_REUSEADDR, an address in use may fail only here
        except (OSError, UnicodeError) as error:  # UnicodeError: a name that cannot be a host's, such as a..b
            for opened in sockets:
                opened.close()
            taken = isinstance(error, OSError) and error.errno in (errno.EADDRINUSE, errno.EACCES)
            reason = error.strerror if isinstance(error, OSError) else "not a host name"
            raise ConfigError(
                f"cannot listen on {address} port {port} ({reason}); choose another {'port' if taken else 'address'}.",
                setting="rest_port" if taken else "rest_bind_address",
            ) from error
    if not sockets:
        raise ConfigError("no address is given; 0.0.0.0 is every IPv4 address.", setting="rest_bind_address")
    return sockets


def is_loopback(listeners: Iterable[socket.socket]) -> bool:
    """Whether only programs on this machine can reach the listeners."""
    return all(ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback for listener in listeners)


def url_of(listener: socket.socket) -> str:
    """The address at which a client on this machine reaches the listener."""
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
