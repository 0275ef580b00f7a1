"""How fast a model works when it has its hands full: seconds of audio a second, as an exponential average.

Pure arithmetic; whoever works tells it how long that took. It must not know clocks, units or queues.
"""

from __future__ import annotations

HALF_LIFE = 15.0  # seconds of work; a batch of 16 windows of whisper-base comes and goes in 6 on two cores


class ThroughputEstimate:
    """Two sums, audio and time, in which what is `half_life` seconds of work ago counts half; their ratio is the pace.

    The ratio of decayed sums, not the average of ratios: turns are short, and audio ends in lumps.
    """

    def __init__(self, half_life: float = HALF_LIFE) -> None:
        self._half_life = half_life
        self._audio = 0.0
        self._time = 0.0

    def add(self, audio: float, elapsed: float) -> None:
        """So many seconds of audio were worked off in so many seconds of work."""
        kept = 0.5 ** (elapsed / self._half_life)
        self._audio = self._audio * kept + audio
        self._time = self._time * kept + elapsed

    def time_for(self, audio: float) -> float | None:
        """Seconds of work that so many seconds of audio take; None while nothing is known."""
        return audio * self._time / self._audio if self._audio > 0.0 and self._time > 0.0 else None
