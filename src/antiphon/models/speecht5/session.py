"""The SpeechT5 session: sentences join, advance a decoder step in one batch, and become audio chunk by chunk."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from antiphon.errors import InvalidParameter, quoted
from antiphon.models.speecht5.config import SpeechT5Config
from antiphon.models.speecht5.receptive_field import Interval
from antiphon.models.speecht5.runner import SpeechT5Runner
from antiphon.models.speecht5.tokens import SpeechT5Tokenizer
from antiphon.models.speecht5.vocoder import Vocoder
from antiphon.models.speecht5.voices import SpeakerEmbeddings
from antiphon.runtime.memory import trim
from antiphon.types.events import AudioChunk, Event, Failed, Sentence, SentenceFinished
from antiphon.types.results import ModelInfo

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class StopRule:
    """When a sentence ends, as in transformers' `generate_speech`, and whether the pre-net drops units on the way.

    It ends once the stop probabilities of a step's frames add up to `threshold`; the ratios are of frames to tokens.
    """

    threshold: float = 0.5
    minlenratio: float = 0.0
    maxlenratio: float = 20.0
    dropout: bool = True


@dataclass(slots=True, eq=False)
class SentenceState:
    """One unit in flight: the frames made so far, and how many of them have become samples."""

    unit: Sentence
    generator: np.random.Generator  # its own, so that the rest of the batch changes nothing
    minimum: int  # steps
    limit: int  # steps
    frames: list[Floats] = field(default_factory=list)  # `[reduction, mels]` a step
    ended: bool = False  # all frames are made
    done: int = 0  # frames that have become samples
    chunks: int = 0
    waiting_since: int | None = None  # the step at which its next chunk became possible


class SpeechT5Session:
    """The session protocol (`models/session.py`) over SpeechT5's graphs.

    Sentence i of those still making frames uses row i of the caches; when a row becomes free, the last sentence moves into
    it. A sentence whose last frame is made needs no row, but keeps its slot until its last chunk is out.
    """

    def __init__(
        self,
        info: ModelInfo,
        config: SpeechT5Config,
        tokenizer: SpeechT5Tokenizer,
        voices: SpeakerEmbeddings,
        runner: SpeechT5Runner,
        vocoder: Vocoder,
        stop_rule: StopRule,
        slots: int,
    ) -> None:
        self.info = info
        self.slots = slots
        self.runner = runner
        self.vocoder = vocoder
        self._config = config
        self._tokenizer = tokenizer
        self._voices = voices
        self._stop_rule = stop_rule
        self._rows: list[SentenceState] = []
        self._ended: list[SentenceState] = []
        self._steps = 0

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
            # After a failure these units hold no slot; those that joined before are untouched.
            del self._rows[first:]
            raise
        return events

    def step(self) -> list[Event]:
        self._steps += 1
        if self._rows:
            frames, stop = self.runner.advance(self._dropout())
            self._accept(frames.copy(), stop)
        # At most one chunk a step: the decoder waits while the vocoder runs.
        chosen = self._next_for_vocoder()
        return [] if chosen is None else self._vocode(*chosen)

    def leave(self, unit: Sentence) -> None:
        for row, sentence in enumerate(self._rows):
            if sentence.unit is unit:
                self._free(row)
                return
        self._ended = [sentence for sentence in self._ended if sentence.unit is not unit]

    def rest(self) -> None:
        self.runner.clear()
        trim()

    def _begin(self, unit: Sentence) -> InvalidParameter | None:
        """Encode the sentence into the next row, or return the error of a voice or text the model does not take."""
        if unit.voice not in self._voices.embeddings:
            names = ", ".join(self._voices.names)
            return InvalidParameter(f"The model has no voice {quoted(unit.voice)}; it has {names}.", param="voice")
        ids = self._tokenizer.encode(unit.text)
        if len(ids) > self._config.text_positions:
            most = self._config.text_positions - 1
            return InvalidParameter(
                f"A sentence of {len(ids) - 1} letters is too long for this model; it reads {most}.", param="input"
            )
        self.runner.encode(ids, self._voices.embeddings[unit.voice], len(self._rows))
        self._rows.append(
            SentenceState(
                unit,
                _generator(unit),
                minimum=int(len(ids) * self._stop_rule.minlenratio / self._config.reduction),
                limit=int(len(ids) * self._stop_rule.maxlenratio / self._config.reduction),
            )
        )
        return None

    def _dropout(self) -> Floats:
        """The factors of the pre-net's units in the next step, `[rows, layers, units]`."""
        config = self._config
        shape = (config.prenet_layers, config.prenet_units)
        kept = config.prenet_dropout
        factors = np.ones((len(self._rows), *shape), np.float32)
        # transformers keeps a unit with the probability that is called that of dropping it. At 0 it would keep none,
        # which cannot be meant: then all are kept.
        if self._stop_rule.dropout and kept > 0:
            for row, sentence in enumerate(self._rows):
                stays = sentence.generator.random(shape, np.float32) < kept
                factors[row] = stays * np.float32(1 / (1 - kept))
        return factors

    def _accept(self, frames: Floats, stop: Floats) -> None:
        """Append each row's frames, and free the rows of the sentences that end."""
        # From the last row down: the row that moves into a freed one has been checked already.
        for row in reversed(range(len(self._rows))):
            sentence = self._rows[row]
            sentence.frames.append(frames[row])
            if self._is_over(sentence, float(stop[row])):
                sentence.ended = True
                self._ended.append(sentence)
                self._free(row)

    def _is_over(self, sentence: SentenceState, stop: float) -> bool:
        steps = len(sentence.frames)
        if steps >= self._config.speech_positions:
            return True  # the decoder has no position vector for another step
        if steps < sentence.minimum:
            return False
        return steps >= sentence.limit or stop >= self._stop_rule.threshold

    def _next_for_vocoder(self) -> tuple[SentenceState, Interval] | None:
        """The sentence whose chunk is made next: first one without any chunk yet, else the one waiting longest."""
        possible = [
            (sentence, chunk) for sentence in self._flight() if (chunk := self._next_chunk(sentence)) is not None
        ]
        for sentence, _ in possible:
            if sentence.waiting_since is None:
                sentence.waiting_since = self._steps
        return min(possible, key=lambda pair: (pair[0].chunks > 0, pair[0].waiting_since), default=None)

    def _next_chunk(self, sentence: SentenceState) -> Interval | None:
        made = len(sentence.frames) * self._config.reduction
        sentences = len(self._rows) + len(self._ended)
        return self.vocoder.next_chunk(sentence.done, sentence.chunks, made, ended=sentence.ended, sentences=sentences)

    def _vocode(self, sentence: SentenceState, chunk: Interval) -> list[Event]:
        frames = np.concatenate(sentence.frames)
        samples = self.vocoder.samples(frames, chunk, ended=sentence.ended)
        sentence.done, sentence.chunks, sentence.waiting_since = chunk[1], sentence.chunks + 1, None
        events: list[Event] = [AudioChunk(sentence.unit, samples)]
        if sentence.ended and sentence.done == len(frames):
            self._ended.remove(sentence)
            events.append(SentenceFinished(sentence.unit))
        return events

    def _flight(self) -> Iterable[SentenceState]:
        return [*self._ended, *self._rows]

    def _free(self, row: int) -> None:
        last = len(self._rows) - 1
        if row != last:
            self.runner.move(last, row)
            self._rows[row] = self._rows[last]
        self._rows.pop()


def _generator(unit: Sentence) -> np.random.Generator:
    """Keyed by the seed, the sentence's index and its text, so that the rest of the batch changes nothing."""
    text = unit.text.encode("utf-8", "replace")
    return np.random.default_rng((unit.options.seed % 2**64, unit.index, zlib.crc32(text)))
