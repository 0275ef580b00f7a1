"""AudioFileWriter: closing it while a thread encodes, as when a caller hangs up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event as Gate
from typing import Any

import numpy as np
import pytest

from antiphon.errors import Cancelled
from antiphon.synthesis import output
from antiphon.synthesis.output import AudioFileWriter


class SlowEncoder:
    """An encoder that does not return before `go_on` is set, and must not be closed before."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.reached, self.go_on = Gate(), Gate()
        self.encoding = self.closed = False

    def encode(self, _samples: Any) -> bytes:
        self.encoding = True
        self.reached.set()
        assert self.go_on.wait(60)
        assert not self.closed
        self.encoding = False
        return b"data"

    def close(self) -> None:
        assert not self.encoding
        self.closed = True


def test_encoder_is_closed_only_after_the_thread_that_encodes_has_left_it(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = SlowEncoder()
    monkeypatch.setattr(output, "Encoder", lambda *_, **__: encoder)
    writer = AudioFileWriter("mp3", 16_000)
    with ThreadPoolExecutor() as pool:
        adding = pool.submit(writer.add, np.zeros(10, np.float32))
        assert encoder.reached.wait(60)
        writer.close()
        assert not encoder.closed
        encoder.go_on.set()
        assert adding.result() == b"data"
    assert encoder.closed


def test_closed_writer_encodes_nothing() -> None:
    for close_first in (True, False):
        writer = AudioFileWriter("mp3", 16_000)
        if not close_first:
            writer.add(np.zeros(10, np.float32))
        writer.close()
        with pytest.raises(Cancelled):
            writer.add(np.zeros(10, np.float32))
        writer.close()
