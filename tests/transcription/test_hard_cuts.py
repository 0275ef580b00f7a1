"""Speech without pauses through the whole service, with a perfect model: hard cuts lose and double no word.

The words are encoded in the samples, so audio that is cut off, skipped or sent twice shows in the text.
"""

from __future__ import annotations

import numpy as np
import pytest

from antiphon.testing.fake import FakeSession
from antiphon.types.audio import SAMPLE_RATE, WINDOW_SECONDS, Samples
from antiphon.types.events import Window
from antiphon.types.options import TranscribeOptions, VadOptions
from antiphon.types.results import Piece, WindowResult
from tests.support import service as support

LENGTHS = np.array([0.31, 0.17, 0.43, 0.23, 0.59])  # seconds of the words, repeated
WHOLE = 0.9  # share of a word's samples that identifies it; with fewer it is a fragment
STEP = 1e-3  # difference in level between consecutive words
GRID = 0.02  # seconds, the resolution of Whisper's timestamps


def continuous_speech(seconds: float) -> tuple[Samples, list[tuple[float, float]]]:
    """Words without any pause, cut off after `seconds`, and the times of each word."""
    lengths = np.resize(LENGTHS, int(seconds / LENGTHS.mean()) + 5)
    ends = np.round(np.cumsum(lengths) * SAMPLE_RATE).astype(int)
    numbers = np.searchsorted(ends, np.arange(round(seconds * SAMPLE_RATE)), side="right")
    times = [(begin / SAMPLE_RATE, end / SAMPLE_RATE) for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
    return (0.1 + STEP * numbers).astype(np.float32), times


def whole(number: int, covered: int) -> bool:
    return covered >= WHOLE * LENGTHS[number % len(LENGTHS)] * SAMPLE_RATE


class PerfectModel:
    """Transcribes every word, a part of a word as a fragment, in segments of `group` words.

    With timestamps it leaves a word cut off by the end of the window open, as Whisper does, and stops after `patience`
    segments.
    """

    def __init__(self, group: int, patience: int) -> None:
        self._group, self._patience = group, patience
        self.windows: list[tuple[float, float, bool]] = []

    def __call__(self, unit: Window) -> WindowResult:
        samples = unit.samples[0 : len(unit.samples)]
        seconds = len(samples) / SAMPLE_RATE
        self.windows.append((unit.start / SAMPLE_RATE, seconds, unit.options.timestamps))
        numbers, counts = np.unique(np.rint((samples - 0.1) / STEP).astype(int), return_counts=True)
        numbered = [
            (number, count)
            for number, count in zip(numbers.tolist(), counts.tolist(), strict=True)
            if count > 2 * GRID * SAMPLE_RATE  # the resolution of the timestamps
        ]
        ends = np.cumsum(counts)[np.isin(numbers, [number for number, _ in numbered])] / SAMPLE_RATE
        texts = [f" {number}" if whole(number, count) else f" part-of-{number}" for number, count in numbered]
        if not unit.options.timestamps or len(numbered) == 1:
            return result(Piece(0.0, seconds, "".join(texts), (1,)), resume=seconds)
        closed = len(numbered) if whole(*numbered[-1]) else len(numbered) - 1
        edges = list(range(0, closed, self._group))[: self._patience]
        closed = min(closed, edges[-1] + self._group)
        times = [0.0, *(round(round(end / GRID) * GRID, 2) for end in ends)]
        pieces = [
            Piece(times[edge], min(times[stop], seconds), "".join(texts[edge:stop]), (1,))
            for edge, stop in zip(edges, [*edges[1:], closed], strict=True)
        ]
        resume = min(times[closed], seconds)
        if closed < len(numbered):
            pieces.append(Piece(resume, seconds, "".join(texts[closed : closed + 1]), (1,)))
        return result(*pieces, resume=resume)


def result(*pieces: Piece, resume: float) -> WindowResult:
    return WindowResult("en", pieces, (1,), resume, -0.2, 0.01, 0.0)


def transcribe(
    model: PerfectModel, samples: Samples, *, timestamps: bool, mode: str = "energy"
) -> tuple[str, list[tuple[float, float, str]]]:
    options = TranscribeOptions(language="en", timestamps=timestamps, vad=VadOptions(mode))  # type: ignore[arg-type]
    with support.serving(FakeSession(script=model)) as service:
        transcript = support.transcribe(service, samples, options)
    return transcript.text, [(segment.start, segment.end, segment.text) for segment in transcript.segments]


@pytest.mark.parametrize("mode", ["energy", "none"])
@pytest.mark.parametrize("timestamps", [False, True], ids=["plain", "timed"])
@pytest.mark.parametrize("seconds", [29.0, 29.98, 30.0, 30.02, 45.0, 59.9, 95.0])
def test_every_word_is_transcribed_once(seconds: float, timestamps: bool, mode: str) -> None:
    samples, times = continuous_speech(seconds)
    model = PerfectModel(group=4, patience=100)
    text, segments = transcribe(model, samples, timestamps=timestamps, mode=mode)
    last = round((float(samples[-1]) - 0.1) / STEP)
    covered = seconds - times[last][0]  # of the last word of the file
    ending = (
        [f"{last}" if whole(last, round(covered * SAMPLE_RATE)) else f"part-of-{last}"] if covered > 2 * GRID else []
    )
    assert text.split() == [str(number) for number in range(last)] + ending

    assert len(model.windows) >= -(-seconds // WINDOW_SECONDS)
    for (start, length, timed), (following, _, _) in zip(model.windows, model.windows[1:], strict=False):
        assert timed  # a hard cut needs timestamps
        assert 0.5 < following - start <= length  # the next window starts where this one ended
    for start, end, numbered in segments:
        numbers = [int(word.removeprefix("part-of-")) for word in numbered.split()]
        assert start == pytest.approx(times[numbers[0]][0], abs=0.3)
        assert end == pytest.approx(min(times[numbers[-1]][1], seconds), abs=0.3)


@pytest.mark.parametrize("seconds", [29.0, 45.0, 59.9])
def test_rest_of_abandoned_windows_is_transcribed_once(seconds: float) -> None:
    """The model stops after a third of each window."""
    samples, _ = continuous_speech(seconds)
    model = PerfectModel(group=5, patience=6)
    text, _ = transcribe(model, samples, timestamps=True)
    numbers = [word for word in text.split() if not word.startswith("part-of-")]
    assert numbers == [str(number) for number in range(len(numbers))]
    assert len(numbers) >= np.unique(samples).size - 1
    assert len(model.windows) > 2
