"""AudioStream: samples from a thread to a task, and whether too many are waiting."""

from __future__ import annotations

import asyncio
import threading

import numpy as np

from antiphon.synthesis.stream import AudioStream


def test_samples_put_in_a_thread_arrive_in_order() -> None:
    async def listen() -> list[float]:
        stream = AudioStream(1000, lambda: None)

        def put() -> None:
            for value in range(100):
                stream.put(np.full(2, value, np.float32))
            loop.call_soon_threadsafe(stream.end)

        loop = asyncio.get_running_loop()
        threading.Thread(target=put).start()
        return [float(samples[0]) async for samples in stream]

    assert asyncio.run(listen()) == list(map(float, range(100)))


def test_stream_is_full_above_its_limit_until_samples_are_taken() -> None:
    async def listen() -> None:
        calls: list[bool] = []
        stream = AudioStream(10, lambda: calls.append(stream.full))
        for count, full in ((5, False), (5, False), (1, True), (9, True)):
            stream.put(np.zeros(count, np.float32))
            assert stream.full == full
        samples = aiter(stream)
        for full, called in ((True, []), (False, [False]), (False, [False]), (False, [False])):
            await anext(samples)
            assert (stream.full, calls) == (full, called)
        stream.end()
        assert [each async for each in samples] == []

    asyncio.run(listen())
