"""The numeric half of a SpeechT5 session: the caches, and the compiled graphs that fill, read and extend them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.models.kv_cache import GROWTH, DecoderCaches
from antiphon.models.layers import NEVER, CacheType, share
from antiphon.models.speecht5.config import SpeechT5Config
from antiphon.models.speecht5.graph import relative_position_rows

Floats = NDArray[np.float32]

# Texts are padded to multiples of this many tokens, and the padding masked: each new shape costs OpenVINO milliseconds.
TEXT_STEP = 32


@dataclass(frozen=True, slots=True)
class SpeechT5Graphs:
    """The compiled graphs (see `graph.py` and `graph_sound.py`), each an OpenVINO CompiledModel."""

    encoder: Any
    step: Any
    postnet: Any
    vocoder: Any


class SpeechT5Runner:
    """Caches and infer requests of one session. Rows in use are always 0 … n - 1."""

    def __init__(self, config: SpeechT5Config, graphs: SpeechT5Graphs, slots: int, cache: CacheType) -> None:
        self._config = config
        self._encoder = graphs.encoder.create_infer_request()
        self._step = graphs.step.create_infer_request()
        self._caches = DecoderCaches(config, slots, cache, self._step)
        self._frames = np.zeros((slots, config.mels), np.float32)  # the last frame of each row
        self._speakers = np.zeros((slots, config.speaker), np.float32)

    def encode(self, ids: list[int], speaker: Floats, row: int) -> None:
        """Start a sentence in `row`, after those in use: its text in the cross-attention cache, no frame made yet.

        `speaker [speaker]` is an embedding of unit length.
        """
        length, cross = len(ids), self._caches.cross
        padded = min(-(-length // TEXT_STEP) * TEXT_STEP, self._config.text_positions)
        padded_ids = np.full((1, padded), self._config.end, np.int32)
        padded_ids[0, :length] = ids
        mask = np.where(np.arange(padded) < length, np.float32(0), np.float32(NEVER)).reshape(1, 1, 1, -1)
        held = {"ids": padded_ids, "distances": relative_position_rows(padded, self._config), "mask": mask}
        for name, array in held.items():
            self._encoder.set_tensor(name, share(array))
        tensor, kv = cross.new_kv(1, padded)
        self._encoder.set_tensor("cross_kv", tensor)
        self._encoder.infer()
        cross.reserve(length, row)
        cross.write(row, kv, length)
        self._caches.past.lengths[row] = 0
        self._frames[row] = 0  # every sentence starts from a frame of zeros
        self._speakers[row] = speaker

    def advance(self, dropout: Floats) -> tuple[Floats, Floats]:
        """One step of rows 0 … b - 1: `dropout [b, pre-net layers, units]` -> `frames [b, reduction, mels]`, `stop [b]`.

        The results are valid until the next step.
        """
        active, past = len(dropout), self._caches.past
        past.reserve(int(past.lengths[:active].max()) + 1, active)
        self._caches.bind_step(active)
        # Copies where a view would change under the request; all are held until it is over.
        held = {
            "frame": self._frames[:active],
            "positions": past.lengths[:active].copy(),
            "speaker": self._speakers[:active],
            "dropout": dropout,
            "mask": past.mask(0, active, new=1),
            "text_mask": self._caches.cross.mask(0, active),
        }
        for name, array in held.items():
            self._step.set_tensor(name, share(array))
        self._step.infer()
        frames, stop = (self._step.get_tensor(name).data for name in ("frames", "stop"))
        past.append(self._caches.new_kv)
        self._frames[:active] = frames[:, -1]
        return frames, stop

    def move(self, source: int, target: int) -> None:
        """Row `target` becomes what row `source` is."""
        self._caches.move(source, target)
        self._frames[target] = self._frames[source]
        self._speakers[target] = self._speakers[source]

    def clear(self) -> None:
        """Free what long sentences needed; only when no row is in use."""
        for cache in (self._caches.past, self._caches.cross):
            if cache.capacity > GROWTH:
                cache.release()
