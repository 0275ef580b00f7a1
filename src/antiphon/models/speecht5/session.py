"""A SpeechT5 model on one worker thread: sentences join, advance a step side by side, become sound chunk by chunk.

It must not know requests, queues or files; a unit is all it sees of one.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from antiphon.errors import InvalidParameter
from antiphon.models.speecht5.config import SpeechT5Config
from antiphon.models.speecht5.receptive_field import Stretch
from antiphon.models.speecht5.runner import Runner
from antiphon.models.speecht5.tokens import Tokenizer
from antiphon.models.speecht5.vocoder import Vocoder
from antiphon.models.speecht5.voices import Voices
from antiphon.runtime.memory import trim
from antiphon.types.events import AudioChunk, Event, Failed, Sentence, Spoken
from antiphon.types.results import ModelInfo

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Rules:
    """When a sentence is over, as transformers' `generate_speech` has it, and whether the pre-net drops units out.

    Over once the stop probabilities of a step's frames add up to `threshold`; ratios are of frames to tokens.
    """

    threshold: float = 0.5
    minlenratio: float = 0.0
    maxlenratio: float = 20.0
    dropout: bool = True


@dataclass(slots=True, eq=False)
class Speaking:
    """One unit in flight: the frames made of it so far, and how much of them has become sound."""

    unit: Sentence
    drawing: np.random.Generator  # its own, so that who else is in the batch changes nothing
    minimum: int  # steps
    limit: int  # steps
    frames: list[Floats] = field(default_factory=list)  # `[reduction, mels]` a step
    ended: bool = False  # no more frames come
    done: int = 0  # frames that have become sound
    chunks: int = 0
    waiting_since: int | None = None  # the turn its next chunk became possible


class SpeechT5Session:
    """The session protocol (`models/base.py`) over SpeechT5's graphs.

    Sentence i of those still making frames sits in row i of the caches; the last one moves into the row that becomes
    free. A sentence whose last frame is made needs no row, but keeps its slot until all of its sound is out.
    """

    def __init__(
        self,
        info: ModelInfo,
        config: SpeechT5Config,
        tokenizer: Tokenizer,
        voices: Voices,
        runner: Runner,
        vocoder: Vocoder,
        rules: Rules,
        slots: int,
        twins: Sequence[SpeechT5Session] = (),
    ) -> None:
        self.info = info
        self.slots = slots
        self.twins = twins
        self.runner = runner
        self.vocoder = vocoder
        self._config = config
        self._tokenizer = tokenizer
        self._voices = voices
        self._rules = rules
        self._rows: list[Speaking] = []
        self._ended: list[Speaking] = []
        self._turn = 0

    def join(self, units: Sequence[Sentence]) -> list[Event]:
        if len(self._rows) + len(self._ended) + len(units) > self.slots:
            raise ValueError(f"{len(units)} sentences join {len(self._rows) + len(self._ended)} in {self.slots} slots")
        first = len(self._rows)
        if not first:
            self.runner.clear()
        events: list[Event] = []
        try:
            for unit in units:
                if (error := self._begin(unit)) is not None:
                    events.append(Failed(unit, error))
        except BaseException:
            # The units handed in hold no slot after a failure; those before them are untouched.
            del self._rows[first:]
            raise
        return events

    def step(self) -> list[Event]:
        self._turn += 1
        if self._rows:
            frames, stop = self.runner.advance(self._dropout())
            self._take(frames.copy(), stop)
        # At most one chunk: the others' frames wait for it.
        chosen = self._next_to_sound()
        return [] if chosen is None else self._sound(*chosen)

    def leave(self, unit: Sentence) -> None:
        for row, speaking in enumerate(self._rows):
            if speaking.unit is unit:
                self._free(row)
                return
        self._ended = [speaking for speaking in self._ended if speaking.unit is not unit]

    def rest(self) -> None:
        self.runner.clear()
        trim()

    def _begin(self, unit: Sentence) -> InvalidParameter | None:
        """Read the sentence into the next row, or say what is wrong with it."""
        if unit.voice not in self._voices.embeddings:
            names = ", ".join(self._voices.names)
            return InvalidParameter(f"The model has no voice {unit.voice!r}; it has {names}.", param="voice")
        ids = self._tokenizer.encode(unit.text)
        if len(ids) > self._config.text_positions:
            most = self._config.text_positions - 1
            return InvalidParameter(
                f"A sentence of {len(ids) - 1} letters is too long for this model; it reads {most}.", param="input"
            )
        self.runner.read(ids, self._voices.embeddings[unit.voice], len(self._rows))
        self._rows.append(
            Speaking(
                unit,
                _drawing(unit),
                minimum=int(len(ids) * self._rules.minlenratio / self._config.reduction),
                limit=int(len(ids) * self._rules.maxlenratio / self._config.reduction),
            )
        )
        return None

    def _dropout(self) -> Floats:
        """What the pre-net multiplies its units by in the coming step, `[rows, layers, units]`."""
        config = self._config
        shape = (config.prenet_layers, config.prenet_units)
        kept = config.prenet_dropout
        factors = np.ones((len(self._rows), *shape), np.float32)
        # transformers keeps a unit with the probability it is named to drop it with; at 0 it would keep none at all,
        # which nobody can mean.
        if self._rules.dropout and kept > 0:
            for row, speaking in enumerate(self._rows):
                drawn = speaking.drawing.random(shape, np.float32) < kept
                factors[row] = drawn * np.float32(1 / (1 - kept))
        return factors

    def _take(self, frames: Floats, stop: Floats) -> None:
        """Give each row its frames, and take those that are over out of the rows."""
        # From the last row down: the row that moves into a freed one has been looked at.
        for row in reversed(range(len(self._rows))):
            speaking = self._rows[row]
            speaking.frames.append(frames[row])
            if self._is_over(speaking, float(stop[row])):
                speaking.ended = True
                self._ended.append(speaking)
                self._free(row)

    def _is_over(self, speaking: Speaking, stop: float) -> bool:
        made = len(speaking.frames)
        if made >= self._config.speech_positions:
            return True  # the decoder cannot place another frame in time
        if made < speaking.minimum:
            return False
        return made >= speaking.limit or stop >= self._rules.threshold

    def _next_to_sound(self) -> tuple[Speaking, Stretch] | None:
        """Of the sentences with a chunk to be made: one that has not been heard yet, else the one that waits longest."""
        possible = [
            (speaking, chunk) for speaking in self._flight() if (chunk := self._next_chunk(speaking)) is not None
        ]
        for speaking, _ in possible:
            if speaking.waiting_since is None:
                speaking.waiting_since = self._turn
        return min(possible, key=lambda pair: (pair[0].chunks > 0, pair[0].waiting_since), default=None)

    def _next_chunk(self, speaking: Speaking) -> Stretch | None:
        made = len(speaking.frames) * self._config.reduction
        crowd = len(self._rows) + len(self._ended)
        return self.vocoder.next_chunk(speaking.done, speaking.chunks, made, ended=speaking.ended, crowd=crowd)

    def _sound(self, speaking: Speaking, chunk: Stretch) -> list[Event]:
        frames = np.concatenate(speaking.frames)
        samples = self.vocoder.samples(frames, chunk, ended=speaking.ended)
        speaking.done, speaking.chunks, speaking.waiting_since = chunk[1], speaking.chunks + 1, None
        events: list[Event] = [AudioChunk(speaking.unit, samples)]
        if speaking.ended and speaking.done == len(frames):
            self._ended.remove(speaking)
            events.append(Spoken(speaking.unit))
        return events

    def _flight(self) -> Iterable[Speaking]:
        return [*self._ended, *self._rows]

    def _free(self, row: int) -> None:
        last = len(self._rows) - 1
        if row != last:
            self.runner.move(last, row)
            self._rows[row] = self._rows[last]
        self._rows.pop()


def _drawing(unit: Sentence) -> np.random.Generator:
    """The same for the same seed and text in the same place, whatever else is spoken."""
    text = unit.text.encode("utf-8", "replace")
    return np.random.default_rng((unit.options.seed % 2**64, unit.index, zlib.crc32(text)))
