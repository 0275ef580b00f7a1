"""The audio context "auto": how many of the encoder's 1,500 positions of 20 ms a window's audio needs."""

from __future__ import annotations

from antiphon.models.whisper.config import FRAMES, SAMPLES_PER_POSITION

POSITIONS = FRAMES // 2  # of a whole window of 30 s
# Silence after the audio shows the model where it ends: at least 2.56 s of it.
MARGIN_POSITIONS = 128
# Counts are multiples of this (2.56 s), so that OpenVINO compiles for a dozen lengths only.
STEP_POSITIONS = 128


def positions_for(samples: int) -> int:
    """The encoder positions for `samples` samples at 16 kHz: a multiple of 128, or all 1,500."""
    needed = -(-samples // SAMPLES_PER_POSITION) + MARGIN_POSITIONS
    return min(-(-needed // STEP_POSITIONS) * STEP_POSITIONS, POSITIONS)
