"""From a sentence's mel frames to its samples in chunks: when the next chunk can be made, and making it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.models.layers import share
from antiphon.models.speecht5.config import SpeechT5Config, VocoderConfig
from antiphon.models.speecht5.receptive_field import (
    Interval,
    plan_vocoder,
    postnet_context,
    vocoder_context,
    with_context,
)

Floats = NDArray[np.float32]

FIRST_CHUNK_SECONDS = (
    0.25  # short, for a low latency; later chunks grow, since the frames around a chunk are computed twice
)
LONGEST_CHUNK_SECONDS = 2.05  # eight times the first, in whole frames; other sentences wait while a chunk is computed
LAST_CHUNK_LENGTHS = 8  # that a sentence's last chunk may have: OpenVINO spends 0.1 s and more on each new length


class Vocoder:
    """The post-net and the HiFi-GAN vocoder (Kong et al. 2020) over chunks of a sentence."""

    def __init__(self, config: SpeechT5Config, sound: VocoderConfig, postnet: Any, vocoder: Any) -> None:
        self.hop = sound.hop
        self.sizes = tuple(_sizes(sound))  # frames
        self._sound = sound
        self._postnet = postnet.create_infer_request()
        self._vocoder = vocoder.create_infer_request()
        self._postnet_context = postnet_context(config)
        self._context = vocoder_context(sound) + self._postnet_context

    def next_chunk(self, done: int, chunks: int, made: int, *, ended: bool, sentences: int = 1) -> Interval | None:
        """The frames of the next chunk, or None if it cannot be made yet (or no frame is left).

        `done` frames have become samples, in `chunks` chunks; `made` frames exist, all of the sentence's if `ended`. The
        larger a chunk, the smaller the share of the frames around it. So a sentence that waited for others gets all frames
        made meanwhile in one chunk, and with many `sentences` in flight, which get the vocoder less often, chunks after
        the first grow sooner.
        """
        known = made if ended else made - self._context
        size = max((size for size in self.sizes if done + size <= known), default=0)
        index = chunks + sentences.bit_length() - 1 if chunks else 0
        last = done + max(size, self.sizes[min(index, len(self.sizes) - 1)])
        if ended:
            return (done, min(last, made)) if done < made else None
        return (done, last) if last <= known else None

    def samples(self, frames: Floats, chunk: Interval, *, ended: bool) -> Floats:
        """The samples of the frames `chunk`, equal to those of a run over the whole sentence.

        `frames [made, mels]` are the decoder's, before the post-net.
        """
        total = len(frames) if ended else None
        # The last chunk can have any length. Making one of a common length, whose beginning was made before, costs less
        # than OpenVINO spends on a new shape.
        length = chunk[1] - chunk[0]
        step = -(-self.sizes[-1] // LAST_CHUNK_LENGTHS)
        common = max(length, min(-(-length // step) * step, self.sizes[-1]))
        whole = (max(0, chunk[1] - common), chunk[1]) if ended else chunk
        plan = plan_vocoder(self._sound, whole, total)
        samples = self._run(self._refined(frames, plan.frames, total), np.array(plan.cuts, np.int32))
        first = plan.samples[0] + (chunk[0] - whole[0]) * self.hop
        kept: Floats = samples[first : plan.samples[1]].copy()
        return kept

    def refined(self, frames: Floats) -> Floats:
        """All `frames [n, mels]` of a sentence after the post-net."""
        return self._refined(frames, (0, len(frames)), len(frames)).copy()

    def _refined(self, frames: Floats, chunk: Interval, total: int | None) -> Floats:
        first, last = with_context(chunk, self._postnet_context, total)
        if last > len(frames):
            raise ValueError(f"frames up to {last} are needed, but only {len(frames)} are made")
        held = np.ascontiguousarray(frames[None, first:last])
        self._postnet.set_tensor("frames", share(held))
        self._postnet.infer()
        refined: Floats = self._postnet.get_tensor("refined").data
        inner: Floats = refined[0, chunk[0] - first : chunk[1] - first]
        return inner

    def _run(self, refined: Floats, cuts: NDArray[np.int32]) -> Floats:
        held = np.ascontiguousarray(refined[None])
        self._vocoder.set_tensor("frames", share(held))
        self._vocoder.set_tensor("cuts", share(cuts))
        self._vocoder.infer()
        samples: Floats = self._vocoder.get_tensor("samples").data[0]
        return samples


def _sizes(sound: VocoderConfig) -> Iterator[int]:
    """The frames of the first chunk, the second, … up to the longest, each twice those of the previous."""
    frames = max(1, round(FIRST_CHUNK_SECONDS * sound.sample_rate / sound.hop))
    longest = LONGEST_CHUNK_SECONDS * sound.sample_rate / sound.hop
    yield frames
    while frames * 2 <= longest:
        frames *= 2
        yield frames
