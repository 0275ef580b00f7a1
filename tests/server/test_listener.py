"""The addresses that the server listens on."""

from __future__ import annotations

import socket

import pytest

from antiphon.errors import ConfigError
from antiphon.server.listener import bind, is_loopback, url_of
from tests.support.serving import free_port


def test_port_in_use_is_a_config_error() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(
            ConfigError, match=rf"^rest_port: cannot listen on 127.0.0.1 port {port} \(.*\); choose another port\.$"
        ):
            bind("127.0.0.1", port)


def test_several_addresses_are_bound() -> None:
    sockets = bind("127.0.0.1, localhost", 0)
    try:
        assert len(sockets) == 2
        assert url_of(sockets[0]) == f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    finally:
        for listener in sockets:
            listener.close()


def ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.skipif(not ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("addresses", ["0.0.0.0,::", "::,0.0.0.0", "127.0.0.1,::1"])
def test_ipv4_and_ipv6_share_a_port(addresses: str) -> None:
    port = free_port()
    sockets = bind(addresses, port)
    try:
        assert {listener.family for listener in sockets} == {socket.AF_INET, socket.AF_INET6}
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), timeout=10).close()
    finally:
        for listener in sockets:
            listener.close()


def test_address_given_twice_is_a_config_error_and_leaves_no_socket_open() -> None:
    port = free_port()
    with pytest.raises(ConfigError, match=f"127.0.0.1 port {port}"):
        bind("127.0.0.1,127.0.0.1", port)
    for listener in bind("127.0.0.1", port):
        listener.close()


@pytest.mark.parametrize(
    ("addresses", "loopback"), [("127.0.0.1", True), ("127.0.0.2,localhost", True), ("0.0.0.0", False)]
)
def test_is_loopback(addresses: str, loopback: bool) -> None:
    sockets = bind(addresses, 0)
    assert is_loopback(sockets) is loopback
    for listener in sockets:
        listener.close()


def test_empty_address_list_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"^rest_bind_address: no address is given; "):
        bind(" , ", 0)


def test_unusable_address_is_a_config_error() -> None:
    with pytest.raises(
        ConfigError, match=r"^rest_bind_address: cannot listen on 203\.0\.113\.1 .*; choose another address\.$"
    ):
        bind("203.0.113.1", 0)


@pytest.mark.parametrize("address", ["a..b", "x" * 64 + ".org"])
def test_address_that_cannot_be_a_host_name_is_an_error_in_one_line(address: str) -> None:
    with pytest.raises(ConfigError, match=r"^rest_bind_address: cannot listen on .*; choose another address\.$"):
        bind(address, 0)
