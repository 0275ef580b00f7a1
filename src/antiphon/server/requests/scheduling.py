"""The scheduling policy of a request, from its headers, and the deadline of the work before the queue."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request

from antiphon.errors import DeadlineMissed, InvalidParameter, quoted
from antiphon.scheduling.policy import PRIORITIES, Deadline, SchedulingPolicy
from antiphon.settings import Settings

PRIORITY_HEADER = "x-antiphon-priority"
# Not the OpenAI SDKs' own x-stainless-read-timeout: that is the longest silence between two bytes, it is 600 unless the
# caller chose a value, and a client whose time is over disconnects, which ends the work too.
TIMEOUT_HEADER = "x-request-timeout"


def scheduling_policy(request: Request) -> SchedulingPolicy:
    """The policy of a request that has just arrived. InvalidParameter names the header that cannot be used."""
    settings: Settings = request.app.state.settings
    name = request.headers.get(PRIORITY_HEADER, "normal").strip().lower()
    priority = next((known for known in PRIORITIES if known == name), None)
    if priority is None:
        raise InvalidParameter(
            f"{PRIORITY_HEADER} {quoted(name)} is not one of: {', '.join(PRIORITIES)}.", param=PRIORITY_HEADER
        )
    limits: list[tuple[float, str | None]] = [(seconds, TIMEOUT_HEADER) for seconds in _timeout_header(request)]
    limits += [(settings.request_timeout, None)] if settings.request_timeout else []
    if not limits:
        return SchedulingPolicy(priority)
    seconds, param = min(limits, key=lambda limit: limit[0])  # a client may shorten the server's limit, not extend it
    return SchedulingPolicy(priority, Deadline(time.monotonic() + seconds, seconds, param))


@asynccontextmanager
async def in_time(policy: SchedulingPolicy, grace: float = 0.0) -> AsyncIterator[None]:
    """Cancel the body of the `with` block `grace` seconds after the deadline, and raise `DeadlineMissed`."""
    deadline = policy.deadline
    timeout = None if deadline is None else deadline.at + grace - time.monotonic()
    try:
        async with asyncio.timeout(timeout) as limit:
            yield
    except TimeoutError:
        if deadline is None or not limit.expired():
            raise
        raise DeadlineMissed(deadline.seconds, param=deadline.param) from None


def _timeout_header(request: Request) -> list[float]:
    text = request.headers.get(TIMEOUT_HEADER)
    if text is None:
        return []
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.0 < seconds < math.inf:
        raise InvalidParameter(
            f"{TIMEOUT_HEADER} {quoted(text)} is not a number of seconds above 0.", param=TIMEOUT_HEADER
        )
    return [seconds]
