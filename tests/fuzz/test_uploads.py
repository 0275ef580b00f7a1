"""Damaged files of all kinds are decoded or refused, and the process that serves them goes on."""

from __future__ import annotations

import asyncio
import io
import logging
import time
from collections import Counter
from random import Random

from antiphon.errors import InvalidAudio, TooLarge
from antiphon.server.requests.upload import Decoders
from tests.support.fuzzing import mutate, whole_files

CALLERS = 3
MOST_SECONDS = 20.0  # of one upload, as a client's time limit


class DeathCounter(logging.Handler):
    """Counts what the log says about uploads that ended their helper or made it fail."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        self.counts[record.getMessage().partition(" bytes ")[2] or record.getMessage()] += 1


async def fuzz(seconds: float, random: Random, outcomes: Counter[str]) -> None:
    files = whole_files()
    names, others = list(files), list(files.values())
    decoders = Decoders(2 * CALLERS)
    end = time.monotonic() + seconds

    async def caller(random: Random) -> None:
        while time.monotonic() < end:
            name = random.choice(names)
            data = mutate(files[name], others, random)
            try:
                async with asyncio.timeout(MOST_SECONDS):
                    await decoders.decode(io.BytesIO(data), max_seconds=600.0)
                outcomes["decoded"] += 1
            except (InvalidAudio, TooLarge, TimeoutError) as error:
                outcomes[type(error).__name__] += 1

    try:
        for data in files.values():  # as they are, none but the forged ones is refused
            try:
                await decoders.decode(io.BytesIO(data), max_seconds=600.0)
                outcomes["whole"] += 1
            except InvalidAudio:
                outcomes["whole but refused"] += 1
        async with asyncio.TaskGroup() as callers:
            for _ in range(CALLERS):
                callers.create_task(caller(Random(random.getrandbits(64))))
    finally:
        await asyncio.to_thread(decoders.close)


def test_mutated_uploads_are_decoded_or_refused(fuzz_budget: tuple[float, Random]) -> None:
    seconds, random = fuzz_budget
    outcomes: Counter[str] = Counter()
    deaths = DeathCounter()
    logger = logging.getLogger("antiphon")
    logger.addHandler(deaths)
    try:
        asyncio.run(fuzz(seconds, random, outcomes))
    finally:
        logger.removeHandler(deaths)
        print(dict(outcomes), "helpers:", dict(deaths.counts))
    assert outcomes["whole"] >= 30
    assert outcomes["whole but refused"] <= 5
    assert outcomes["decoded"] + outcomes["InvalidAudio"] + outcomes["TooLarge"] > 0
    assert outcomes["TimeoutError"] == 0
