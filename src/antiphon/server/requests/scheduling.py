"""What a request's headers say of its priority and of the time it has, and how that time ends what comes before the queue.

It knows headers and settings; it must not know queues, audio or models.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request

from antiphon.errors import InvalidParameter
from antiphon.scheduling.policy import PRIORITIES, Deadline, SchedulingPolicy
from antiphon.settings import Settings

PRIORITY = "x-antiphon-priority"
# Not the OpenAI SDKs' own x-stainless-read-timeout: that is the longest silence between two bytes, it says 600 whether or
# not anybody chose it, and a client whose time is over hangs up, which ends the work too.
TIMEOUT = "x-request-timeout"
FLAG = "--request_timeout"


def scheduling_policy(request: Request) -> SchedulingPolicy:
    """The terms of a request that has just come. InvalidParameter names the header that cannot be used."""
    settings: Settings = request.app.state.settings
    wanted = request.headers.get(PRIORITY, "normal").strip().lower()
    priority = next((each for each in PRIORITIES if each == wanted), None)
    if priority is None:
        raise InvalidParameter(f"{PRIORITY} {wanted!r} is not one of: {', '.join(PRIORITIES)}.", param=PRIORITY)
    allowed = [(seconds, TIMEOUT) for seconds in _asked_for(request)]
    allowed += [(settings.request_timeout, FLAG)] if settings.request_timeout else []
    if not allowed:
        return SchedulingPolicy(priority)
    seconds, source = min(allowed)  # a caller may shorten what the server allows, not stretch it
    return SchedulingPolicy(priority, Deadline(time.monotonic() + seconds, seconds, None if source == FLAG else source))


@asynccontextmanager
async def in_time(terms: SchedulingPolicy) -> AsyncIterator[None]:
    """What is done inside is cancelled at the deadline, and `DeadlineMissed` is raised for it."""
    deadline = terms.deadline
    left = None if deadline is None else deadline.at - time.monotonic()
    try:
        async with asyncio.timeout(left) as limit:
            yield
    except TimeoutError:
        if deadline is None or not limit.expired():
            raise
        raise deadline.missed() from None


def _asked_for(request: Request) -> list[float]:
    text = request.headers.get(TIMEOUT)
    if text is None:
        return []
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0.0 < seconds < math.inf:
        raise InvalidParameter(f"{TIMEOUT} {text!r} is not a number of seconds above 0.", param=TIMEOUT)
    return [seconds]
