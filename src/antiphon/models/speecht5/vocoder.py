"""From a sentence's mel frames to its samples, chunk by chunk: when a chunk can be made, and making it.

It must not know text, slots or who asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.models.layers import share
from antiphon.models.speecht5.config import SpeechT5Config, VocoderConfig
from antiphon.models.speecht5.receptive_field import Stretch, plan_vocoder, postnet_reach, vocoder_reach, widened

Floats = NDArray[np.float32]

FIRST_CHUNK_SECONDS = 0.25  # soon heard; what follows grows, since the frames around a chunk are worked on twice
LONGEST_CHUNK_SECONDS = 2.05  # eight times the first, in whole frames; others wait for as long as one chunk takes
LAST_CHUNKS = 8  # lengths that a sentence's last chunk may have: OpenVINO spends 0.1 s and more on each that is new


class Vocoder:
    """The post-net, the vocoder, and the sizes of the chunks they work in."""

    def __init__(self, config: SpeechT5Config, sound: VocoderConfig, postnet: Any, vocoder: Any) -> None:
        self.hop = sound.hop
        self.sizes = tuple(_sizes(sound))  # frames
        self._mels = config.mels
        self._sound = sound
        self._postnet = postnet.create_infer_request()
        self._vocoder = vocoder.create_infer_request()
        self._postnet_reach = postnet_reach(config)
        self._reach = vocoder_reach(sound) + self._postnet_reach

    def next_chunk(self, done: int, chunks: int, made: int, *, ended: bool, crowd: int = 1) -> Stretch | None:
        """The frames of the next chunk, or None if it cannot be made yet (or nothing is left).

        `done` frames have become sound, in `chunks` chunks; `made` frames exist, all of the sentence's if `ended`. The
        larger a chunk, the less is spent on the frames around it. So a sentence that had to wait for others gets all that
        has been made meanwhile at once, and where a `crowd` of sentences is spoken side by side, so that each has the
        vocoder less often, chunks behind the first grow sooner.
        """
        known = made if ended else made - self._reach
        size = max((size for size in self.sizes if done + size <= known), default=0)
        place = chunks + crowd.bit_length() - 1 if chunks else 0
        last = done + max(size, self.sizes[min(place, len(self.sizes) - 1)])
        if ended:
            return (done, min(last, made)) if done < made else None
        return (done, last) if last <= known else None

    def samples(self, frames: Floats, stretch: Stretch, *, ended: bool) -> Floats:
        """The samples of frames `stretch`, as they are in the whole sentence; `frames [made, mels]` are the decoder's."""
        total = len(frames) if ended else None
        # At the sentence's end a chunk has any length. Making one of a usual length, whose start was made before, costs
        # less than what OpenVINO spends on every shape that is new to it.
        length = stretch[1] - stretch[0]
        step = -(-self.sizes[-1] // LAST_CHUNKS)
        usual = max(length, min(-(-length // step) * step, self.sizes[-1]))
        whole = (max(0, stretch[1] - usual), stretch[1]) if ended else stretch
        plan = plan_vocoder(self._sound, whole, total)
        samples = self._run(self._refined(frames, plan.frames, total), np.array(plan.cuts, np.int32))
        first = plan.samples[0] + (stretch[0] - whole[0]) * self.hop
        kept: Floats = samples[first : plan.samples[1]].copy()
        return kept

    def refined(self, frames: Floats) -> Floats:
        """All `frames [n, mels]` of a sentence behind the post-net."""
        return self._refined(frames, (0, len(frames)), len(frames)).copy()

    def _refined(self, frames: Floats, stretch: Stretch, total: int | None) -> Floats:
        around = widened(stretch, self._postnet_reach, total)
        if around[1] > len(frames):
            raise ValueError(f"frames up to {around[1]} are needed, but only {len(frames)} are made")
        given = np.ascontiguousarray(frames[None, around[0] : around[1]])
        self._postnet.set_tensor("frames", share(given))
        self._postnet.infer()
        refined: Floats = self._postnet.get_tensor("refined").data
        inner: Floats = refined[0, stretch[0] - around[0] : stretch[1] - around[0]]
        return inner

    def _run(self, refined: Floats, cuts: NDArray[np.int32]) -> Floats:
        given = np.ascontiguousarray(refined[None])
        self._vocoder.set_tensor("frames", share(given))
        self._vocoder.set_tensor("cuts", share(cuts))
        self._vocoder.infer()
        samples: Floats = self._vocoder.get_tensor("samples").data
        made: Floats = samples[0]
        return made


def _sizes(sound: VocoderConfig) -> Iterator[int]:
    """Frames in the first chunk, the second, … up to the longest, each twice the one before."""
    frames = max(1, round(FIRST_CHUNK_SECONDS * sound.sample_rate / sound.hop))
    longest = LONGEST_CHUNK_SECONDS * sound.sample_rate / sound.hop
    yield frames
    while frames * 2 <= longest:
        frames *= 2
        yield frames
