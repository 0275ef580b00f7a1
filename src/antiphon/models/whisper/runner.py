"""The numeric half of a Whisper session: the caches, and the compiled graphs that fill, read and extend them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from antiphon.models.kv_cache import GROWTH, DecoderCaches, kv_name
from antiphon.models.layers import NEVER, CacheType, share
from antiphon.models.whisper.config import SAMPLES_PER_POSITION, WhisperConfig
from antiphon.runtime.memory import trim
from antiphon.types.audio import Samples
from antiphon.types.options import AudioContext

# Windows after which freed memory goes back: an hour's file leaves up to 170 MB of it in the heap. It takes 4 ms.
TRIM_EVERY = 16

Floats = NDArray[np.float32]
Integers = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class WhisperGraphs:
    """The compiled graphs (see `graph.py`), each an OpenVINO CompiledModel; calling `align` compiles that one.

    With the context "auto" they take audio of any length, else whole windows of 30 s only.
    """

    features: Any
    encoder: Any
    step: Any
    align: Callable[[], Any]
    context: AudioContext = "full"


@dataclass(frozen=True, slots=True)
class DecoderOutput:
    """The results of one decoder pass over b rows; valid until the next pass.

    `logits [b, vocabulary]` are raw, at each row's start (prefill only); `scores [k, vocabulary]` are logits under the
    rules, of the k rows that sample; `best [b]` is the arg-max under the rules, `logprobs [b]` its log-probability.
    """

    logits: Floats
    scores: Floats
    best: Integers
    logprobs: Floats


@dataclass(frozen=True, slots=True)
class Alignment:
    """Where the tokens of an answer attend to the audio, and how likely they are; valid until the next pass.

    `attention [alignment heads, n, encoder positions]`, one row for each token fed; `logprobs [k]` of the k target tokens.
    """

    attention: Floats
    logprobs: Floats


class WhisperRunner:
    """Caches and infer requests of one session. Rows in use are always 0 … n - 1."""

    def __init__(self, config: WhisperConfig, graphs: WhisperGraphs, slots: int, cache: CacheType) -> None:
        self._features = graphs.features.create_infer_request()
        self._encoder = graphs.encoder.create_infer_request()
        self._step = graphs.step.create_infer_request()
        self._compile_align = graphs.align
        self._align: Any = None  # its infer request, once it was needed
        self._positions = config.source_positions
        self._caches = DecoderCaches(config, slots, cache, self._step, self._positions)
        self._waveform = np.zeros((1, self._positions * SAMPLES_PER_POSITION), np.float32)  # the features graph's input
        self._any_length = graphs.context == "auto"
        self._encoded_windows = 0

    def log_mel(self, samples: Samples, positions: int | None = None) -> Floats:
        """Log-mel features `[1, mels, 2 * positions]` of one window, padded with zeros to 30 s, or to `positions`."""
        self._waveform[0, : len(samples)] = samples
        self._waveform[0, len(samples) :] = 0.0
        count = (positions or self._positions) * SAMPLES_PER_POSITION
        self._features.set_tensor("waveform", share(self._waveform[:, :count]))
        self._features.infer()
        features: Floats = self._features.get_tensor("features").data
        return features

    def reserve_audio(self, active: int, positions: int) -> None:
        """Make room for `active` rows and windows that join, none of more than `positions`, and for no more than that."""
        if self._any_length:
            self._caches.cross.fit(positions, active)

    def encode(self, samples: Samples, row: int, positions: int | None = None) -> None:
        """Encode one window into `row`'s cross-attention cache.

        `positions`, for which there must be room, are encoder positions to compute instead of all 1,500.
        """
        self._encoded_windows += 1
        if self._encoded_windows % TRIM_EVERY == 0:
            trim()
        self._encoder.set_tensor("features", share(self.log_mel(samples, positions)))
        cross = self._caches.cross
        cross.lengths[row] = positions or self._positions
        arrays = cross.row_arrays(row)
        for index, array in enumerate(arrays):
            self._encoder.set_tensor(kv_name(index), share(array))
        self._encoder.infer()
        cross.write_row(row, arrays)

    def prefill(
        self, first: int, ids: Integers, starts: Sequence[int], rules: Integers, sampled: Sequence[int] = ()
    ) -> DecoderOutput:
        """Start rows `first`… with whole prefixes `ids [b, n]`; `sampled` are the rows, from 0, that need their scores."""
        batch, length = ids.shape
        self._caches.past.reserve(length + 1, self._caches.past.rows)
        self._caches.bind_prefill(first, first + batch, length)
        positions = np.broadcast_to(np.arange(length, dtype=np.int32), ids.shape)
        mask = np.broadcast_to(_causal_mask(length), (batch, 1, length, length))
        logits_at = np.array([[length - 1, start] for start in starts], np.int32)
        output = self._run(first, ids, positions, mask, logits_at, rules, sampled)
        self._caches.past.write(first, self._caches.new_kv, length)
        return output

    def advance(self, ids: Integers, rules: Integers, sampled: Sequence[int] = ()) -> DecoderOutput:
        """Feed one token to each of the rows 0 … b - 1: `ids [b, 1]`; `sampled` are the rows that need their scores."""
        active, past = len(ids), self._caches.past
        past.reserve(int(past.lengths[:active].max()) + 1, active)
        self._caches.bind_step(active)
        positions, mask = past.lengths[:active, None], past.mask(0, active, new=1)
        output = self._run(0, ids, positions, mask, np.zeros((active, 1), np.int32), rules, sampled)
        past.append(self._caches.new_kv)
        return output

    def prepare_align(self) -> None:
        """Compile what `align` needs, if it is not there yet: half a second for whisper-base."""
        if self._align is None:
            self._align = self._compile_align().create_infer_request()

    def align(self, row: int, ids: Sequence[int], first: int, targets: Sequence[int]) -> Alignment:
        """Decode a whole answer `ids` against the audio of `row` at once; position `first + i` predicts `targets[i]`."""
        self.prepare_align()
        length = len(ids)
        held: dict[str, NDArray[Any]] = {
            "ids": np.array([ids], np.int32),
            "positions": np.arange(length, dtype=np.int32)[None],
            "mask": np.ascontiguousarray(_causal_mask(length)[None, None]),
            "logits_at": np.arange(first, first + len(targets), dtype=np.int32),
            "targets": np.array(targets, np.int32),
        }
        held |= {kv_name(index): array for index, array in enumerate(self._caches.cross.row_arrays(row))}
        for name, array in held.items():
            self._align.set_tensor(name, share(array))
        self._align.infer()
        attention, logprobs = (self._align.get_tensor(name).data for name in ("attention", "logprobs"))
        return Alignment(attention[0], logprobs[:, 0])

    def move(self, source: int, target: int) -> None:
        """Row `target` becomes what row `source` is."""
        self._caches.move(source, target)

    def clear(self) -> None:
        """Free what long sequences needed; only when no row is in use."""
        if self._caches.past.capacity > GROWTH:
            self._caches.past.release()

    def rest(self) -> None:
        """Free what the rows hold and what the graphs keep between two runs; only when no row is in use."""
        self._caches.release()
        for request in (self._features, self._encoder, self._step):
            request.get_compiled_model().release_memory()
        trim()

    def _run(
        self,
        first: int,
        ids: Integers,
        positions: Integers,
        mask: Floats,
        logits_at: Integers,
        rules: Integers,
        sampled: Sequence[int],
    ) -> DecoderOutput:
        inputs = {"ids": ids, "positions": positions, "mask": mask, "logits_at": logits_at, "rules": rules}
        # Copies: broadcast views are read-only, which a shared tensor refuses. Held until the pass is over.
        held = {name: np.array(array, order="C") for name, array in inputs.items()}
        held["sampled"] = np.array(sampled, np.int32)
        if self._any_length:
            held["audio_mask"] = self._caches.cross.mask(first, first + len(ids))
        for name, array in held.items():
            self._step.set_tensor(name, share(array))
        self._step.infer()
        logits, scores, best, logprob = (
            self._step.get_tensor(name).data for name in ("logits", "scores", "best", "logprob")
        )
        return DecoderOutput(logits.reshape(-1, logits.shape[2]), scores, best[:, 0], logprob[:, 0])


def _causal_mask(length: int) -> Floats:
    """`[length, length]`, added to the scores: each position attends to itself and those before it."""
    return np.where(np.tri(length, dtype=np.bool_), np.float32(0), np.float32(NEVER))
