"""How many of the encoder's 1,500 places of 20 ms a window is given when that is as many as its audio needs.

It must not know graphs or caches.
"""

from __future__ import annotations

from antiphon.models.whisper.config import FRAMES, PLACE

PLACES = FRAMES // 2  # of a whole window
# Silence behind the audio tells the model that it is over: 2.56 s of it at least.
MARGIN = 128
# Lengths are multiples of this, 2.56 s, so that a device compiles for a dozen of them.
STEP = 128


def places_for(samples: int) -> int:
    """The places for so many samples at 16 kHz: a multiple of 128, or all 1,500."""
    needed = -(-samples // PLACE) + MARGIN
    return min(-(-needed // STEP) * STEP, PLACES)
