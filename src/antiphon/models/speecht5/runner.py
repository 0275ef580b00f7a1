"""The numeric half of a SpeechT5 decoder: rows of caches, and the graphs that fill, read and extend them.

It must not know units, text or sound; the session does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.models.layers import NEVER, CacheType, share
from antiphon.models.speecht5.config import SpeechT5Config
from antiphon.models.speecht5.graph import table_rows
from antiphon.models.speecht5.slots import Slots

Floats = NDArray[np.float32]

# Texts are read at lengths of this many tokens, the rest masked: every new shape costs OpenVINO milliseconds.
TEXT_STEP = 32


@dataclass(frozen=True, slots=True)
class Graphs:
    """The compiled graphs (see `graph.py` and `graph_sound.py`), each an OpenVINO CompiledModel."""

    read: Any
    step: Any
    postnet: Any
    vocoder: Any


class Runner:
    """Caches and infer requests of one session. Rows in use are always 0 … n - 1."""

    def __init__(self, config: SpeechT5Config, graphs: Graphs, slots: int, cache: CacheType) -> None:
        self._config = config
        self._read = graphs.read.create_infer_request()
        self._step = graphs.step.create_infer_request()
        self._slots = Slots(config, slots, cache)
        self._frames = np.zeros((slots, config.mels), np.float32)  # each row's last
        self._speakers = np.zeros((slots, config.speaker), np.float32)
        self._bound = (0, (0, 0))  # rows and capacities that the step request's cache tensors are set for
        self._fresh: NDArray[Any] = np.empty(0)

    def read(self, ids: list[int], speaker: Floats, row: int) -> Floats:
        """Start a sentence in `row`: its tokens read, no frame made. Returns the encoder's states `[n, width]`."""
        length = len(ids)
        padded = min(-(-length // TEXT_STEP) * TEXT_STEP, self._config.text_positions)
        given = np.full((1, padded), self._config.end, np.int32)
        given[0, :length] = ids
        mask = np.where(np.arange(padded) < length, np.float32(0), np.float32(NEVER)).reshape(1, 1, 1, -1)
        held = {"ids": given, "distances": table_rows(padded, self._config), "mask": mask}
        for name, array in held.items():
            self._read.set_tensor(name, share(array))
        tensor, caches = self._slots.read_tensor(padded)
        self._read.set_tensor("caches", tensor)
        self._read.infer()
        self._bound = (0, (0, 0))  # the text cache may move
        self._slots.start(row, caches, length)
        self._frames[row] = 0  # what every sentence starts from
        self._speakers[row] = speaker
        states: Floats = self._read.get_tensor("states").data[0, :length]
        return states

    def advance(self, dropout: Floats) -> tuple[Floats, Floats]:
        """One step of rows 0 … b - 1: `dropout [b, pre-net layers, units]` -> `frames [b, reduction, mels]`, `stop [b]`.

        What is returned is valid until the next step.
        """
        active = len(dropout)
        self._slots.reserve(int(self._slots.lengths[:active].max()) + 1, active)
        if self._bound != (active, self._slots.capacity):
            self._bind(active)
        mask, text_mask = self._slots.masks(active)
        # Copies where a view would change under the request; all are held until it is over.
        held = {
            "frame": self._frames[:active],
            "positions": self._slots.lengths[:active].copy(),
            "speaker": self._speakers[:active],
            "dropout": dropout,
            "mask": mask,
            "text_mask": text_mask,
        }
        for name, array in held.items():
            self._step.set_tensor(name, share(array))
        self._step.infer()
        frames, stop = (self._step.get_tensor(name).data for name in ("frames", "stop"))
        self._slots.append(active, self._fresh)
        self._frames[:active] = frames[:, -1]
        return frames, stop

    def move(self, source: int, target: int) -> None:
        """Row `target` becomes what row `source` is."""
        self._slots.move(source, target)
        self._frames[target] = self._frames[source]
        self._speakers[target] = self._speakers[source]

    def clear(self) -> None:
        """No row is in use: give back what long sentences needed."""
        self._slots.shrink()
        self._bound = (0, (0, 0))

    def _bind(self, active: int) -> None:
        """Hand the step request the cache rows it reads and the room it writes to."""
        for side, (past, text) in enumerate(self._slots.batch_tensors(active)):
            name = f"{'value' if side % 2 else 'key'}.{side // 2}"
            self._step.set_tensor(f"past_{name}", past)
            self._step.set_tensor(name, text)
        tensor, self._fresh = self._slots.fresh_tensor(active)
        self._step.set_tensor("fresh", tensor)
        self._bound = (active, self._slots.capacity)
