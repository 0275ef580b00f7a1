"""Planning long files: on threads of its own, and only while its caller is there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event as Gate
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from antiphon.testing.fake import FakeSession, FakeVoice
from antiphon.types.audio import Samples
from antiphon.types.options import SpeakOptions, TranscribeOptions
from tests.support.service import serving, speak_async, transcribe_async
from tests.support.speech_map import SOUND, SPEECH, Map

PLAIN = TranscribeOptions(language="en")
FILE = Map(((SPEECH, 100), (SOUND, 500)) * 2)  # 192 s


class SlowDetectors:
    """Detectors that do not return before `go_on` is set. `calls` counts the stretches that they were given."""

    def __init__(self) -> None:
        self.calls = 0
        self.reached, self.go_on = Gate(), Gate()

    @contextmanager
    def borrow(self) -> Iterator[Any]:
        yield self

    def probabilities(self, samples: Samples) -> NDArray[np.float32]:
        self.calls += 1
        self.reached.set()
        assert self.go_on.wait(60)
        return np.zeros(-(-len(samples) // 512), np.float32)


def test_speech_goes_on_while_many_long_files_are_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    detectors = SlowDetectors()

    async def main(service: Any) -> float:
        files = [asyncio.create_task(transcribe_async(service, FILE, PLAIN)) for _ in range(50)]
        await asyncio.to_thread(detectors.reached.wait, 60)
        faster = SpeakOptions(speed=2.0)  # time stretching takes a thread
        pieces = [samples async for samples in speak_async(service, "One sentence.", faster)]
        detectors.go_on.set()
        await asyncio.gather(*files)
        return float(sum(map(len, pieces)))

    with serving(FakeSession(), FakeVoice()) as service:
        monkeypatch.setattr(service, "_detectors", detectors)
        assert asyncio.run(asyncio.wait_for(main(service), 60)) > 0


def test_planning_ends_when_its_caller_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    detectors = SlowDetectors()

    async def main(service: Any) -> None:
        file = asyncio.create_task(transcribe_async(service, FILE, PLAIN))
        await asyncio.to_thread(detectors.reached.wait, 60)
        file.cancel()
        await asyncio.gather(file, return_exceptions=True)
        detectors.go_on.set()

    with serving(FakeSession()) as service:
        monkeypatch.setattr(service, "_detectors", detectors)
        asyncio.run(main(service))
        service._planners.shutdown()  # waits for the thread
    assert detectors.calls == 1
