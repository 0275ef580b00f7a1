"""The limit of open files, and the number of connections that it allows."""

from __future__ import annotations

import contextlib
import resource
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from antiphon.errors import ConfigError
from antiphon.server.descriptors import (
    MAX_CONNECTIONS,
    MAX_DESCRIPTORS,
    connection_limit,
    raise_descriptor_limit,
)
from tests.support.fake_server import fake_server


@pytest.fixture
def soft_limit() -> Iterator[int]:
    """A soft limit below the hard one, and what it was again afterwards."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
    yield min(MAX_DESCRIPTORS, sys.maxsize if hard == resource.RLIM_INFINITY else hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_soft_limit_of_open_files_is_raised_to_the_hard_one(soft_limit: int) -> None:
    assert raise_descriptor_limit() == soft_limit
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == soft_limit


@pytest.mark.parametrize(
    ("setting", "descriptors", "connections"),
    [
        (None, 65_536, MAX_CONNECTIONS),
        (None, 1024, 944),
        (None, None, MAX_CONNECTIONS),
        (9_000, 65_536, 9_000),
        (1, 81, 1),
    ],
)
def test_connections_leave_64_descriptors_for_other_files(
    setting: int | None, descriptors: int | None, connections: int
) -> None:
    assert connection_limit(setting, descriptors, 16) == connections


@pytest.mark.parametrize(("setting", "descriptors"), [(945, 1024), (None, 80), (1, 16)])
def test_more_connections_than_descriptors_allow_are_a_config_error(setting: int | None, descriptors: int) -> None:
    with pytest.raises(ConfigError, match=rf"^max_connections: .* it is {descriptors}; raise it"):
        connection_limit(setting, descriptors, 16)


def test_300_connections_with_128_descriptors_leave_health_at_200_and_the_log_short(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with fake_server(log, descriptors=128, drain_grace=0) as server, contextlib.ExitStack() as stack:
        for _ in range(300):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))
        for path in ("/v2/health/live", "/v2/health/ready", "/health"):
            assert server.client.get(path).status_code == 200
        refused = server.client.get("/v1/models")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        server.process.terminate()
        assert server.process.wait(60) == 0
    assert len(log.read_text().splitlines()) < 100
