"""Throughput under full load, in seconds of audio per second, as an exponential average."""

from __future__ import annotations

HALF_LIFE_S = 15.0  # of work; a batch of 16 windows of whisper-base takes 6 s on two cores


class ThroughputEstimate:
    """The ratio of two decayed sums, audio and time; work done `half_life_s` seconds of work ago counts half.

    A ratio of sums, not a mean of ratios: an iteration of the worker is short, and audio is finished in lumps.
    """

    def __init__(self, half_life_s: float = HALF_LIFE_S) -> None:
        self._half_life_s = half_life_s
        self._audio_s = 0.0
        self._work_s = 0.0

    def add(self, audio_s: float, work_s: float) -> None:
        """Count `audio_s` seconds of audio that took `work_s` seconds of work."""
        decay = 0.5 ** (work_s / self._half_life_s)
        self._audio_s = self._audio_s * decay + audio_s
        self._work_s = self._work_s * decay + work_s

    def time_for(self, audio_s: float) -> float | None:
        """Seconds of work that `audio_s` seconds of audio take; None until something was measured."""
        if self._audio_s <= 0.0 or self._work_s <= 0.0:
            return None
        return audio_s * self._work_s / self._audio_s
