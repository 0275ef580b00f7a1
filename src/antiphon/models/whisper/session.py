"""A Whisper model on one worker thread: windows join, advance a token a step side by side, and leave.

It must not know requests, queues or files; a unit is all it sees of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np

from antiphon.languages import SPACELESS
from antiphon.models.whisper.alignment import begin_places
from antiphon.models.whisper.audio_context import places_for
from antiphon.models.whisper.config import PLACE, TIMESTAMP_SECONDS, WhisperConfig
from antiphon.models.whisper.logits_rules import Rules
from antiphon.models.whisper.runner import Output, Runner
from antiphon.models.whisper.sampling import language_of, probability, sample
from antiphon.models.whisper.tokens import Tokenizer
from antiphon.models.whisper.word_times import TokenTimings, settle, split_words, time_words
from antiphon.types.audio import SAMPLE_RATE
from antiphon.types.events import Event, Finished, LanguageDetected, Window
from antiphon.types.options import AudioContext
from antiphon.types.results import ModelInfo, Piece, WindowResult


@dataclass(slots=True)
class Decoding:
    """One unit in flight: its prefix, and what was sampled so far."""

    unit: Window
    language: str | None  # None: not heard yet, or the model takes none
    places: int  # of the encoder's 1,500 that it is heard in
    prefix: list[int] = field(default_factory=list)
    start: int = 0  # index of <|startoftranscript|> in the prefix
    limit: int = 0  # sampled tokens at most
    tokens: list[int] = field(default_factory=list)
    logprob: float = 0.0  # sum over sampled tokens and the end token
    no_speech_prob: float = 0.0
    ended: bool = False


class WhisperSession:
    """The session protocol (`models/base.py`) over Whisper's graphs.

    Unit i of those in flight sits in row i of the caches; the last one moves into the row that becomes free.
    """

    def __init__(
        self,
        info: ModelInfo,
        config: WhisperConfig,
        tokenizer: Tokenizer,
        runner: Runner,
        slots: int,
        audio_context: AudioContext = "full",
        twins: Sequence[WhisperSession] = (),
    ) -> None:
        self.info = info
        self.slots = slots
        self.twins = twins
        self.runner = runner
        self._config = config
        self._tokenizer = tokenizer
        self._audio_context = audio_context
        self._rules = Rules(config, slots)
        self._flight: list[Decoding] = []

    def join(self, units: Sequence[Window]) -> list[Event]:
        first = len(self._flight)
        try:
            return self._join(units, first)
        except BaseException:
            # The units handed in hold no slot after a failure; those before them are untouched.
            del self._flight[first:]
            raise

    def step(self) -> list[Event]:
        if not self._flight:
            return []
        active = len(self._flight)
        ids = np.array([[decoding.tokens[-1]] for decoding in self._flight], np.int32)
        output = self.runner.advance(ids, self._rules.rows(0, active), _drawn(self._flight))
        self._accept(0, active, output)
        return self._finish_ended()

    def leave(self, unit: Window) -> None:
        for row, decoding in enumerate(self._flight):
            if decoding.unit is unit:
                self._free(row)
                return

    def rest(self) -> None:
        self.runner.rest()

    def _join(self, units: Sequence[Window], first: int) -> list[Event]:
        if not self._flight:
            self.runner.clear()
        if any(unit.options.words for unit in units):
            self.runner.prepare_align()  # here, where a failure is only that of the units that join
        places = [self._places_for(unit) for unit in units]
        self.runner.make_room(first, max(places, default=0))
        for row, unit in enumerate(units, first):
            language = unit.options.language if self._config.multilingual else None
            self._flight.append(Decoding(unit, language, places[row - first]))
            self.runner.encode(unit.samples[:], row, self._flight[row].places)
        events = self._hear_languages(first)
        for decoding in self._flight[first:]:
            self._prepare(decoding)
        rows = range(first, len(self._flight))
        for _, group in groupby(rows, key=lambda row: len(self._flight[row].prefix)):
            members = list(group)
            self._prefill(members[0], members[-1] + 1)
        return events + self._finish_ended()

    def _places_for(self, unit: Window) -> int:
        return places_for(len(unit.samples)) if self._audio_context == "auto" else self._config.source_positions

    def _hear_languages(self, first: int) -> list[Event]:
        """One pass over <|startoftranscript|> alone for the joined rows, if any of them has no language yet."""
        joined = self._flight[first:]
        if not self._config.multilingual or all(decoding.language for decoding in joined):
            return []
        ids = np.full((len(joined), 1), self._config.tokens.start, np.int32)
        output = self.runner.prefix(first, ids, [0] * len(joined), self._rules.rows(first, len(self._flight)))
        events: list[Event] = []
        for decoding, logits in zip(joined, output.logits, strict=True):
            if decoding.language is None:
                decoding.language, chance = language_of(logits, self._config.tokens.languages)
                events.append(LanguageDetected(decoding.unit, decoding.language, chance))
        return events

    def _prepare(self, decoding: Decoding) -> None:
        unit, options = decoding.unit, decoding.unit.options
        decoding.prefix, decoding.start = self._tokenizer.prefix(
            decoding.language, options.task, options.prompt, timestamps=unit.timestamps, history=unit.history
        )
        room = self._config.target_positions - len(decoding.prefix)
        # The reference gives an answer half of the positions; a caller may ask for more, up to all that are left.
        decoding.limit = min(room, options.max_new_tokens or self._config.target_positions // 2)

    def _prefill(self, first: int, last: int) -> None:
        """Run the prefixes, all of one length, of rows `first` to `last - 1`, and take their first tokens."""
        group = self._flight[first:last]
        for row, decoding in enumerate(group, first):
            self._rules.begin(row, timed=decoding.unit.timestamps, minimum=decoding.unit.options.min_new_tokens)
        ids = np.array([decoding.prefix for decoding in group], np.int32)
        starts = [decoding.start for decoding in group]
        output = self.runner.prefix(first, ids, starts, self._rules.rows(first, last), _drawn(group))
        for decoding, logits in zip(group, output.logits, strict=True):
            decoding.no_speech_prob = probability(logits, self._config.tokens.no_speech)
        self._accept(first, last, output)

    def _accept(self, first: int, last: int, output: Output) -> None:
        """Take each row's next token from the pass that `output` came from."""
        tokens = np.array(output.best, np.int32)
        logprobs = output.logprobs.astype(np.float64)
        scores = iter(output.scores)  # one row for each sequence that is drawn from, in order
        for row, decoding in enumerate(self._flight[first:last]):
            options = decoding.unit.options
            if options.temperature > 0:
                key = (options.seed, decoding.unit.start)
                tokens[row], logprobs[row] = sample(next(scores), options.temperature, key, len(decoding.tokens))
            decoding.logprob += float(logprobs[row])
            if tokens[row] == self._config.tokens.end:
                decoding.ended = True
            else:
                decoding.tokens.append(int(tokens[row]))
                decoding.ended = len(decoding.tokens) >= decoding.limit
        self._rules.advance(first, last, tokens)

    def _finish_ended(self) -> list[Event]:
        events: list[Event] = []
        # From the last row down: the row that moves into a freed one has been looked at.
        for row in reversed(range(len(self._flight))):
            result = self._result_of_ended(row)
            if result is None:
                continue
            unit = self._flight[row].unit
            if unit.options.words:
                result = replace(result, pieces=self._with_words(row, result.pieces))
            events.append(Finished(unit, result))
            self._free(row)
        return events

    def _result_of_ended(self, row: int) -> WindowResult | None:
        """What a row that has ended came to; None if it goes on, or begins again because that leaves it in doubt."""
        decoding = self._flight[row]
        if not decoding.ended:
            return None
        result = self._result(decoding)
        if self._can_try_again(decoding) and result.doubtful:
            self._try_again(row)
            return self._result_of_ended(row)  # its first token may be its last
        return result

    def _can_try_again(self, decoding: Decoding) -> bool:
        """Whether a whole window might do better. What is made to go on (a benchmark's answer) is no sign of anything."""
        short = decoding.places < self._config.source_positions
        return short and not decoding.unit.options.min_new_tokens

    def _try_again(self, row: int) -> None:
        """Hear the whole window of 30 s and decode from the start; the language stands, for it has been told."""
        decoding = self._flight[row]
        decoding.places = self._config.source_positions
        decoding.tokens, decoding.logprob, decoding.ended = [], 0.0, False
        self.runner.make_room(len(self._flight), decoding.places)
        self.runner.encode(decoding.unit.samples[:], row, decoding.places)
        self._prefill(row, row + 1)

    def _free(self, row: int) -> None:
        last = len(self._flight) - 1
        if row != last:
            self.runner.move(last, row)
            self._rules.move(last, row)
            self._flight[row] = self._flight[last]
        self._flight.pop()

    def _result(self, decoding: Decoding) -> WindowResult:
        """What it came to, without the times of words."""
        tokens = tuple(decoding.tokens)
        seconds = len(decoding.unit.samples) / SAMPLE_RATE
        split = self._tokenizer.split(tokens, seconds, timestamps=decoding.unit.timestamps)
        return WindowResult(
            language=decoding.language or self.info.default_language,
            pieces=split.pieces,
            tokens=tokens,
            resume=split.resume,
            avg_logprob=decoding.logprob / (len(tokens) + 1),
            no_speech_prob=decoding.no_speech_prob,
            temperature=decoding.unit.options.temperature,
        )

    def _with_words(self, row: int, pieces: tuple[Piece, ...]) -> tuple[Piece, ...]:
        """The pieces with the times of their words, while the row still holds what was heard. Nothing else changes."""
        decoding = self._flight[row]
        texts = [[token for token in piece.tokens if token < self._config.tokens.end] for piece in pieces]
        said = [token for text in texts for token in text]
        if not said:
            return pieces
        spaces = decoding.unit.options.task == "translate" or decoding.language not in SPACELESS
        words = [split_words(text, self._tokenizer.decode, spaces=spaces) for text in texts]
        timings = time_words(words, self._listen_for(row, said))
        return settle(pieces, timings, len(decoding.unit.samples) / SAMPLE_RATE)

    def _listen_for(self, row: int, said: list[int]) -> TokenTimings:
        """When the tokens of an answer are said, by the attention that all of them at once pay to the audio."""
        decoding = self._flight[row]
        prefix, _ = self._tokenizer.prefix(decoding.language, decoding.unit.options.task, None, timestamps=False)
        # Only the longest answer there can be lacks room for the end, which nothing is read off.
        ids = [*prefix, *said, self._config.tokens.end][: self._config.target_positions]
        first = len(prefix) - 1  # what comes after <|notimestamps|> is the first token
        looks = self.runner.align(row, ids, first, said)
        places = len(decoding.unit.samples) // PLACE
        if places:
            attention = looks.attention[:, :, :places]
            begins = begin_places(attention, first, first + len(said) + 1) * TIMESTAMP_SECONDS
        else:  # audio shorter than one place tells nothing: spread evenly
            begins = np.linspace(0.0, len(decoding.unit.samples) / SAMPLE_RATE, len(said) + 1)
        return TokenTimings(begins.tolist(), np.exp(looks.logprobs.astype(np.float64)).tolist())


def _drawn(decodings: Sequence[Decoding]) -> list[int]:
    """Which of them sample at a temperature, and so need their scores."""
    return [row for row, decoding in enumerate(decodings) if decoding.unit.options.temperature > 0]
