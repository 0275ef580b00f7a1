"""The numeric half of a Whisper session: rows of caches, and the graphs that fill, read and extend them.

It must not know units, text or which token means what; the session does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.models.layers import NEVER, CacheType, share
from antiphon.models.whisper.config import PLACE, WhisperConfig
from antiphon.models.whisper.slots import Slots
from antiphon.runtime.memory import trim
from antiphon.types.audio import Samples
from antiphon.types.options import AudioContext

# Windows after which freed memory goes back: an hour's file leaves up to 170 MB of it in the heap. It takes 4 ms.
TRIM_EVERY = 16

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Graphs:
    """The compiled graphs (see `graph.py`), each an OpenVINO CompiledModel; `align` compiles it when it is wanted.

    With the context "auto" all of them are made for any length, else for whole windows only.
    """

    features: Any
    hear: Any
    step: Any
    align: Callable[[], Any]
    context: AudioContext = "full"


@dataclass(frozen=True, slots=True)
class Output:
    """What one decoder pass says of b rows; valid until the next pass.

    `logits [b, vocabulary]` raw, of each row's start (prefixes only); `scores [k, vocabulary]` under the rules, of the rows
    asked for; `best [b]` the arg-max under the rules, `logprobs [b]` its log-probability.
    """

    logits: Floats
    scores: Floats
    best: Integers
    logprobs: Floats


@dataclass(frozen=True, slots=True)
class Alignment:
    """What an answer's tokens say of when they were said; valid until the next pass.

    `attention [alignment heads, n, places]`, one row for each token that went in, over the places of 20 ms that were heard;
    `logprobs [k]` of the k tokens that were asked about.
    """

    attention: Floats
    logprobs: Floats


class Runner:
    """Caches and infer requests of one session. Rows in use are always 0 … n - 1."""

    def __init__(self, config: WhisperConfig, graphs: Graphs, slots: int, cache: CacheType) -> None:
        self._features = graphs.features.create_infer_request()
        self._hear = graphs.hear.create_infer_request()
        self._step = graphs.step.create_infer_request()
        self._compile_align = graphs.align
        self._align: Any = None  # its infer request, once it was wanted
        self._slots = Slots(config, slots, cache)
        self._bound = (0, 0)  # rows and capacity that the step request's cache tensors are set for
        self._fresh: NDArray[Any] = np.empty(0)
        self._waveform = np.zeros((1, config.source_positions * PLACE), np.float32)  # what the features graph reads
        self._places = config.source_positions
        self._any_length = graphs.context == "auto"
        self._heard = 0  # windows

    def log_mel(self, samples: Samples, places: int | None = None) -> Floats:
        """Log-mel features `[1, mels, 3000]` of one window, the waveform padded with zeros to 30 s, or to `places`."""
        self._waveform[0, : len(samples)] = samples
        self._waveform[0, len(samples) :] = 0.0
        self._features.set_tensor("waveform", share(self._waveform[:, : (places or self._places) * PLACE]))
        self._features.infer()
        features: Floats = self._features.get_tensor("features").data
        return features

    def make_room(self, active: int, places: int) -> None:
        """Before `active` rows and some that join are heard, none in more than `places`: room for them, and no more."""
        if self._any_length and self._slots.fit(active, places):
            self._bound = (0, 0)

    def encode(self, samples: Samples, row: int, places: int | None = None) -> Floats:
        """Hear one window into `row`'s cross-attention cache; returns the encoder's states `[1, 1500, width]`.

        `places`, for which there must be room, are as many as it is heard in instead of all 1,500.
        """
        self._heard += 1
        if self._heard % TRIM_EVERY == 0:
            trim()
        features = self.log_mel(samples, places)
        self._hear.set_tensor("features", share(features))
        self._slots.heard[row] = places or self._places
        sides = self._slots.cross(row)
        for side, array in enumerate(sides):
            self._hear.set_tensor(_side_name(side), share(array))
        self._hear.infer()
        self._slots.write_cross(row, sides)
        states: Floats = self._hear.get_tensor("states").data
        return states

    def prefix(
        self, first: int, ids: Integers, starts: Sequence[int], rules: Integers, drawn: Sequence[int] = ()
    ) -> Output:
        """Start rows `first`… with whole prefixes `ids [b, n]`; `drawn` says whose scores are wanted, from 0."""
        batch, length = ids.shape
        self._bound = (0, 0)  # even if this pass fails: the next step must bind its own rows again
        self._slots.reserve(length + 1)
        self._bind(first, first + batch, length, past=False)
        positions = np.broadcast_to(np.arange(length, dtype=np.int32), ids.shape)
        causal = np.where(np.tri(length, dtype=np.bool_), np.float32(0), np.float32(NEVER))
        mask = np.broadcast_to(causal, (batch, 1, length, length))
        rows = np.array([[length - 1, start] for start in starts], np.int32)
        output = self._run(first, ids, positions, mask, rows, rules, drawn)
        self._slots.write_prefix(first, self._fresh)
        return output

    def advance(self, ids: Integers, rules: Integers, drawn: Sequence[int] = ()) -> Output:
        """Feed one token to each of the rows 0 … b - 1: `ids [b, 1]`; `drawn` says whose scores are wanted."""
        active = len(ids)
        lengths = self._slots.lengths[:active]
        if self._slots.reserve(int(lengths.max()) + 1) or self._bound != (active, self._slots.capacity):
            self._bind(0, active, 1, past=True)
            self._bound = (active, self._slots.capacity)
        visible = np.arange(self._slots.capacity + 1) < lengths[:, None]
        visible[:, -1] = True  # the token itself, which stands behind the cache
        mask = np.where(visible, np.float32(0), np.float32(NEVER))[:, None, None]
        output = self._run(0, ids, lengths[:, None], mask, np.zeros((active, 1), np.int32), rules, drawn)
        self._slots.append(active, self._fresh)
        return output

    def prepare_align(self) -> None:
        """Compile what `align` needs, if it is not there yet: half a second for whisper-base."""
        if self._align is None:
            self._align = self._compile_align().create_infer_request()

    def align(self, row: int, ids: Sequence[int], first: int, said: Sequence[int]) -> Alignment:
        """Put the whole of an answer `ids` to what `row` heard; token `first + i` is asked about `said[i]`."""
        self.prepare_align()
        length = len(ids)
        causal = np.where(np.tri(length, dtype=np.bool_), np.float32(0), np.float32(NEVER))
        held = {
            "ids": np.array([ids], np.int32),
            "positions": np.arange(length, dtype=np.int32)[None],
            "mask": np.ascontiguousarray(causal[None, None]),
            "rows": np.arange(first, first + len(said), dtype=np.int32),
            "said": np.array(said, np.int32),
        }
        for name, array in held.items():
            self._align.set_tensor(name, share(array))
        sides = self._slots.cross(row)
        for side, array in enumerate(sides):
            self._align.set_tensor(_side_name(side), share(array))
        self._align.infer()
        attention, logprobs = (self._align.get_tensor(name).data for name in ("attention", "logprobs"))
        return Alignment(attention[0], logprobs[:, 0])

    def move(self, source: int, target: int) -> None:
        """Row `target` becomes what row `source` is."""
        self._slots.move(source, target)

    def clear(self) -> None:
        """No row is in use: give back what long sequences needed."""
        self._slots.shrink()
        self._bound = (0, 0)

    def rest(self) -> None:
        """No row is in use, and none soon: give back what rows hold and what the graphs keep between two runs."""
        self._slots.release()
        self._fresh = np.empty(0)
        self._bound = (0, 0)
        for request in (self._features, self._hear, self._step):
            request.get_compiled_model().release_memory()
        trim()

    def _bind(self, first: int, last: int, length: int, *, past: bool) -> None:
        """Hand the step request the cache rows it reads and the room it writes to."""
        for side, (own, cross) in enumerate(self._slots.batch_tensors(first, last, past=past)):
            name = _side_name(side)
            self._step.set_tensor(f"past_{name}", own)
            self._step.set_tensor(name, cross)
        tensor, self._fresh = self._slots.fresh_tensor(last - first, length)
        self._step.set_tensor("fresh", tensor)

    def _run(
        self,
        first: int,
        ids: Integers,
        positions: Integers,
        mask: Floats,
        rows: Integers,
        rules: Integers,
        drawn: Sequence[int],
    ) -> Output:
        inputs = {"ids": ids, "positions": positions, "mask": mask, "rows": rows, "rules": rules}
        # Copies: broadcast views are read-only, which a shared tensor refuses. Held until the pass is over.
        held = {name: np.array(array, order="C") for name, array in inputs.items()}
        held["drawn"] = np.array(drawn, np.int32)
        if self._any_length:
            heard = np.arange(self._slots.places) < self._slots.heard[first : first + len(ids), None]
            held["heard"] = np.where(heard, np.float32(0), np.float32(NEVER))[:, None, None]
        for name, array in held.items():
            self._step.set_tensor(name, share(array))
        self._step.infer()
        logits, scores, best, score = (
            self._step.get_tensor(name).data for name in ("logits", "scores", "best", "score")
        )
        return Output(logits.reshape(-1, logits.shape[2]), scores, best[:, 0], score[:, 0])


def _side_name(side: int) -> str:
    """What the graphs call the caches of a side: key and value of layer 0, then of layer 1, and so on."""
    return f"{'value' if side % 2 else 'key'}.{side // 2}"
