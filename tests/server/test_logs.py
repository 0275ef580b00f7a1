"""A flood of equal lines is one line in the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from antiphon.server.logs import MAX_FLOODS, FloodFilter


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def flooded(now: list[float]) -> Iterator[logging.Logger]:
    logger = logging.getLogger("tests.flooded")
    flood = FloodFilter(60.0, lambda: now[0])
    logger.addFilter(flood)
    yield logger
    logger.removeFilter(flood)


def test_equal_warnings_are_logged_once_a_minute_with_their_number(
    flooded: logging.Logger, now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    for moment in (0.0, 1.0, 59.9, 60.0, 61.0, 120.0):
        now[0] = moment
        flooded.warning("out of %s\nsocket %s", "files", moment)
    assert caplog.messages == [
        "out of files\nsocket 0.0",
        "out of files\nsocket 60.0 (2 more like it were left out)",
        "out of files\nsocket 120.0 (1 more like it were left out)",
    ]


def test_other_warnings_and_lines_below_warning_pass(flooded: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(2):
        flooded.warning("one")
        flooded.warning("two")
        flooded.info("three")
    assert caplog.messages == ["one", "two", "three", "three"]


def test_number_of_counted_messages_is_bounded(flooded: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    for index in (*range(MAX_FLOODS + 1), 0, MAX_FLOODS):
        flooded.warning(str(index))
    assert len(caplog.messages) == MAX_FLOODS + 2
