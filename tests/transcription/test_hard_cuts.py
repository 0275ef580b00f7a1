"""Speech in one breath through the whole service, heard by an ear that makes no mistakes: a cut loses and doubles no word.

The words are in the samples, so whatever is cut off, skipped or given twice shows in the text.
"""

from __future__ import annotations

import numpy as np
import pytest

from antiphon.testing.fake import FakeSession
from antiphon.types.audio import SAMPLE_RATE, WINDOW_SECONDS, Samples
from antiphon.types.events import Window
from antiphon.types.options import TranscribeOptions, VadOptions
from antiphon.types.results import Piece, WindowResult
from tests.support.service import serving, transcribe

LENGTHS = np.array([0.31, 0.17, 0.43, 0.23, 0.59])  # seconds of the words, over and over
WHOLE = 0.9  # of a word's samples, by which it is known; of less a fragment is heard
STEP = 1e-3  # each word is louder than the one before it by so much
GRID = 0.02  # seconds: Whisper's times


def breath(seconds: float) -> tuple[Samples, list[tuple[float, float]]]:
    """Words without any pause, cut off after so many seconds; and when each of them is said."""
    lengths = np.resize(LENGTHS, int(seconds / LENGTHS.mean()) + 5)
    ends = np.round(np.cumsum(lengths) * SAMPLE_RATE).astype(int)
    numbers = np.searchsorted(ends, np.arange(round(seconds * SAMPLE_RATE)), side="right")
    times = [(begin / SAMPLE_RATE, end / SAMPLE_RATE) for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
    return (0.1 + STEP * numbers).astype(np.float32), times


def whole(number: int, heard: int) -> bool:
    return heard >= WHOLE * LENGTHS[number % len(LENGTHS)] * SAMPLE_RATE


class Ear:
    """Gives every word it hears, a fragment where it hears a part of one, and the times of `group` words at a time.

    Asked for times, it leaves what is cut off at the window's end open, as Whisper does, and stops after `patience`
    groups in a window, if there are more.
    """

    def __init__(self, group: int, patience: int) -> None:
        self._group, self._patience = group, patience
        self.windows: list[tuple[float, float, bool]] = []

    def __call__(self, unit: Window) -> WindowResult:
        samples = unit.samples[0 : len(unit.samples)]
        seconds = len(samples) / SAMPLE_RATE
        self.windows.append((unit.start / SAMPLE_RATE, seconds, unit.options.timestamps))
        numbers, counts = np.unique(np.rint((samples - 0.1) / STEP).astype(int), return_counts=True)
        said = [
            (number, count)
            for number, count in zip(numbers.tolist(), counts.tolist(), strict=True)
            if count > 2 * GRID * SAMPLE_RATE  # no more than the grid allows
        ]
        ends = np.cumsum(counts)[np.isin(numbers, [number for number, _ in said])] / SAMPLE_RATE
        texts = [f" {number}" if whole(number, count) else f" part-of-{number}" for number, count in said]
        if not unit.options.timestamps or len(said) == 1:
            return result(Piece(0.0, seconds, "".join(texts), (1,)), resume=seconds)
        closed = len(said) if whole(*said[-1]) else len(said) - 1
        edges = list(range(0, closed, self._group))[: self._patience]
        closed = min(closed, edges[-1] + self._group)
        times = [0.0, *(round(round(end / GRID) * GRID, 2) for end in ends)]
        pieces = [
            Piece(times[edge], min(times[stop], seconds), "".join(texts[edge:stop]), (1,))
            for edge, stop in zip(edges, [*edges[1:], closed], strict=True)
        ]
        resume = min(times[closed], seconds)
        if closed < len(said):
            pieces.append(Piece(resume, seconds, "".join(texts[closed : closed + 1]), (1,)))
        return result(*pieces, resume=resume)


def result(*pieces: Piece, resume: float) -> WindowResult:
    return WindowResult("en", pieces, (1,), resume, -0.2, 0.01, 0.0)


def hear(
    ear: Ear, samples: Samples, *, timestamps: bool, mode: str = "energy"
) -> tuple[str, list[tuple[float, float, str]]]:
    options = TranscribeOptions(language="en", timestamps=timestamps, vad=VadOptions(mode))  # type: ignore[arg-type]
    with serving(FakeSession(script=ear)) as service:
        transcript = transcribe(service, samples, options)
    return transcript.text, [(segment.start, segment.end, segment.text) for segment in transcript.segments]


@pytest.mark.parametrize("mode", ["energy", "none"])
@pytest.mark.parametrize("timestamps", [False, True], ids=["plain", "timed"])
@pytest.mark.parametrize("seconds", [29.0, 29.98, 30.0, 30.02, 45.0, 59.9, 95.0])
def test_every_word_is_heard_once(seconds: float, timestamps: bool, mode: str) -> None:
    """T17."""
    samples, times = breath(seconds)
    ear = Ear(group=4, patience=100)
    text, segments = hear(ear, samples, timestamps=timestamps, mode=mode)
    last = round((float(samples[-1]) - 0.1) / STEP)
    heard = seconds - times[last][0]  # of the word that the file ends in
    ending = [f"{last}" if whole(last, round(heard * SAMPLE_RATE)) else f"part-of-{last}"] if heard > 2 * GRID else []
    assert text.split() == [str(number) for number in range(last)] + ending

    assert len(ear.windows) >= -(-seconds // WINDOW_SECONDS)
    for (start, length, timed), (following, _, _) in zip(ear.windows, ear.windows[1:], strict=False):
        assert timed  # a hard cut: how far the window came is asked for
        assert 0.5 < following - start <= length  # and there the next one begins
    for start, end, said in segments:
        numbers = [int(word.removeprefix("part-of-")) for word in said.split()]
        assert start == pytest.approx(times[numbers[0]][0], abs=0.3)
        assert end == pytest.approx(min(times[numbers[-1]][1], seconds), abs=0.3)


@pytest.mark.parametrize("seconds", [29.0, 45.0, 59.9])
def test_an_impatient_ear_is_asked_again(seconds: float) -> None:
    """A1: it stops after a third of each window; what it left is heard all the same, and once."""
    samples, _ = breath(seconds)
    ear = Ear(group=5, patience=6)
    text, _ = hear(ear, samples, timestamps=True)
    numbers = [word for word in text.split() if not word.startswith("part-of-")]
    assert numbers == [str(number) for number in range(len(numbers))]
    assert len(numbers) >= np.unique(samples).size - 1
    assert len(ear.windows) > 2
