"""Sets up logging, and keeps a flood of equal lines out of the log."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from antiphon.errors import ConfigError

TRACE = 5  # OVMS's level below DEBUG
FLOOD_PERIOD_S = 60.0
MAX_FLOODS = 64  # messages that are counted at the same time
# A client can cause any number of their lines: a bad request, a socket that accepts no connection.
_FLOODED = ("asyncio", "uvicorn.error")


class FloodFilter(logging.Filter):
    """Passes the first of equal warnings in a period, counts the rest, and adds the number to the next one that passes.

    Records are equal if their logger and the first line of their message are. `clock` gives seconds.
    """

    def __init__(self, period_s: float = FLOOD_PERIOD_S, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._period_s = period_s
        self._clock = clock
        self._seen: dict[tuple[str, str], tuple[float, int]] = {}  # when one passed, and how many did not since

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        key, now = (record.name, str(record.msg).partition("\n")[0]), self._clock()
        passed_at, left_out = self._seen.get(key, (-self._period_s, 0))
        if now - passed_at < self._period_s:
            self._seen[key] = (passed_at, left_out + 1)
            return False
        if left_out:
            record.msg, record.args = f"{record.getMessage()} ({left_out} more like it were left out)", None
        self._seen.pop(key, None)
        self._seen[key] = (now, 0)  # at the end: the first one is the one that passed longest ago
        if len(self._seen) > MAX_FLOODS:
            del self._seen[next(iter(self._seen))]
        return True


def set_up_logging(level: str, path: Path | None) -> None:
    """Log to stderr, and to `path` if there is one. ConfigError if it cannot be written."""
    logging.addLevelName(TRACE, "TRACE")
    number = logging.getLevelNamesMapping()[level]
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if path is not None:
        try:
            # Readable by the user and the group only; FileHandler would make it readable by all.
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640))
            handlers.append(logging.FileHandler(path, encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"cannot write {path} ({error.strerror}).", setting="log_path") from error
    logging.basicConfig(level=number, handlers=handlers, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("python_multipart").setLevel(max(number, logging.ERROR))  # warns about each malformed form
    logging.getLogger("uvicorn").setLevel(max(number, logging.WARNING) if number > logging.DEBUG else number)
    flood = FloodFilter()
    for name in _FLOODED:
        logging.getLogger(name).addFilter(flood)
