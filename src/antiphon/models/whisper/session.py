"""The Whisper session: windows join, are decoded a token a step in one batch, and leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import numpy as np

from antiphon.languages import SPACELESS
from antiphon.models.whisper.alignment import begin_positions
from antiphon.models.whisper.audio_context import positions_for
from antiphon.models.whisper.config import SAMPLES_PER_POSITION, TIMESTAMP_SECONDS, WhisperConfig
from antiphon.models.whisper.logits_rules import LogitsRules
from antiphon.models.whisper.runner import DecoderOutput, WhisperRunner
from antiphon.models.whisper.sampling import language_of, probability, sample
from antiphon.models.whisper.tokens import WhisperTokenizer
from antiphon.models.whisper.word_times import TokenTimings, settle, split_words, time_words
from antiphon.types.audio import SAMPLE_RATE
from antiphon.types.events import Event, LanguageDetected, Window, WindowFinished
from antiphon.types.options import AudioContext
from antiphon.types.results import ModelInfo, Piece, WindowResult


@dataclass(slots=True)
class Decoding:
    """One unit in flight: its prefix, and the tokens sampled so far."""

    unit: Window
    language: str | None  # None: not detected yet, or the model is English-only
    positions: int  # encoder positions that its audio is encoded in
    prefix: list[int] = field(default_factory=list)
    start: int = 0  # index of <|startoftranscript|> in the prefix
    limit: int = 0  # sampled tokens at most
    tokens: list[int] = field(default_factory=list)
    logprob: float = 0.0  # sum over sampled tokens and the end token
    no_speech_prob: float = 0.0
    ended: bool = False


class WhisperSession:
    """The session protocol (`models/session.py`) over Whisper's graphs.

    Unit i of those in flight uses row i of the caches; when a row becomes free, the last unit moves into it.
    """

    def __init__(
        self,
        info: ModelInfo,
        config: WhisperConfig,
        tokenizer: WhisperTokenizer,
        runner: WhisperRunner,
        slots: int,
        audio_context: AudioContext = "full",
    ) -> None:
        self.info = info
        self.slots = slots
        self.runner = runner
        self._config = config
        self._tokenizer = tokenizer
        self._audio_context = audio_context
        self._rules = LogitsRules(config, slots)
        self._flight: list[Decoding] = []

    def join(self, units: Sequence[Window]) -> list[Event]:
        first = len(self._flight)
        try:
            return self._join(units, first)
        except BaseException:
            # After a failure these units hold no slot; those that joined before are untouched.
            del self._flight[first:]
            raise

    def step(self) -> list[Event]:
        if not self._flight:
            return []
        active = len(self._flight)
        ids = np.array([[decoding.tokens[-1]] for decoding in self._flight], np.int32)
        output = self.runner.advance(ids, self._rules.rows(0, active), _sampled_rows(self._flight))
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
            self.runner.prepare_align()  # here, so that a failure fails only the units that join
        positions = [self._positions_for(unit) for unit in units]
        self.runner.reserve_audio(first, max(positions, default=0))
        for row, unit in enumerate(units, first):
            language = unit.options.language if self._config.multilingual else None
            self._flight.append(Decoding(unit, language, positions[row - first]))
            self.runner.encode(unit.samples[:], row, self._flight[row].positions)
        events = self._detect_languages(first)
        for decoding in self._flight[first:]:
            self._prepare(decoding)
        rows = range(first, len(self._flight))
        for _, group in groupby(rows, key=lambda row: len(self._flight[row].prefix)):
            members = list(group)
            self._prefill(members[0], members[-1] + 1)
        return events + self._finish_ended()

    def _positions_for(self, unit: Window) -> int:
        return positions_for(len(unit.samples)) if self._audio_context == "auto" else self._config.source_positions

    def _detect_languages(self, first: int) -> list[Event]:
        """One pass over <|startoftranscript|> alone for the rows that joined, if any of them has no language yet."""
        joined = self._flight[first:]
        if not self._config.multilingual or all(decoding.language for decoding in joined):
            return []
        ids = np.full((len(joined), 1), self._config.tokens.start, np.int32)
        output = self.runner.prefill(first, ids, [0] * len(joined), self._rules.rows(first, len(self._flight)))
        events: list[Event] = []
        for decoding, logits in zip(joined, output.logits, strict=True):
            if decoding.language is None:
                decoding.language, confidence = language_of(logits, self._config.tokens.languages)
                events.append(LanguageDetected(decoding.unit, decoding.language, confidence))
        return events

    def _prepare(self, decoding: Decoding) -> None:
        unit, options = decoding.unit, decoding.unit.options
        decoding.prefix, decoding.start = self._tokenizer.prefix(
            decoding.language, options.task, options.prompt, timestamps=unit.options.timestamps, history=unit.history
        )
        room = self._config.target_positions - len(decoding.prefix)
        # openai-whisper limits an answer to half of the positions; a request may ask for more, up to all that are left.
        decoding.limit = min(room, options.max_new_tokens or self._config.target_positions // 2)

    def _prefill(self, first: int, last: int) -> None:
        """Run the prefixes of rows `first` to `last - 1`, all of one length, and accept their first tokens."""
        group = self._flight[first:last]
        for row, decoding in enumerate(group, first):
            self._rules.begin(row, timed=decoding.unit.options.timestamps, minimum=decoding.unit.options.min_new_tokens)
        ids = np.array([decoding.prefix for decoding in group], np.int32)
        starts = [decoding.start for decoding in group]
        output = self.runner.prefill(first, ids, starts, self._rules.rows(first, last), _sampled_rows(group))
        for decoding, logits in zip(group, output.logits, strict=True):
            decoding.no_speech_prob = probability(logits, self._config.tokens.no_speech)
        self._accept(first, last, output)

    def _accept(self, first: int, last: int, output: DecoderOutput) -> None:
        """Append the next token of each of the rows `first` to `last - 1`: the best one, or a sampled one."""
        tokens = np.array(output.best, np.int32)
        logprobs = output.logprobs.astype(np.float64)
        scores = iter(output.scores)  # one row for each sequence that samples, in order
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
        # From the last row down: the row that moves into a freed one has been checked already.
        for row in reversed(range(len(self._flight))):
            result = self._result_of_ended(row)
            if result is None:
                continue
            unit = self._flight[row].unit
            if unit.options.words:
                result = replace(result, pieces=self._with_words(row, result.pieces))
            events.append(WindowFinished(unit, result))
            self._free(row)
        return events

    def _result_of_ended(self, row: int) -> WindowResult | None:
        """The result of a row that has ended; None if it goes on, or starts again because its result is doubtful."""
        decoding = self._flight[row]
        if not decoding.ended:
            return None
        result = self._result(decoding)
        if self._can_try_again(decoding) and result.is_unreliable:
            self._try_again(row)
            return self._result_of_ended(row)  # the first token of the new attempt may already end it
        return result

    def _can_try_again(self, decoding: Decoding) -> bool:
        """Whether the audio was encoded in part only. With a forced length (benchmarks) a doubtful answer means nothing."""
        short = decoding.positions < self._config.source_positions
        return short and not decoding.unit.options.min_new_tokens

    def _try_again(self, row: int) -> None:
        """Encode the whole window of 30 s and decode from the start; the language stays, since its event was emitted."""
        decoding = self._flight[row]
        decoding.positions = self._config.source_positions
        decoding.tokens, decoding.logprob, decoding.ended = [], 0.0, False
        self.runner.reserve_audio(len(self._flight), decoding.positions)
        self.runner.encode(decoding.unit.samples[:], row, decoding.positions)
        self._prefill(row, row + 1)

    def _free(self, row: int) -> None:
        last = len(self._flight) - 1
        if row != last:
            self.runner.move(last, row)
            self._rules.move(last, row)
            self._flight[row] = self._flight[last]
        self._flight.pop()

    def _result(self, decoding: Decoding) -> WindowResult:
        """The result, without word timestamps."""
        tokens = tuple(decoding.tokens)
        seconds = len(decoding.unit.samples) / SAMPLE_RATE
        split = self._tokenizer.split(tokens, seconds, timestamps=decoding.unit.options.timestamps)
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
        """The pieces with word timestamps; `row` must still hold the encoded audio."""
        decoding = self._flight[row]
        texts = [[token for token in piece.tokens if token < self._config.tokens.end] for piece in pieces]
        tokens = [token for text in texts for token in text]
        if not tokens:
            return pieces
        spaces = decoding.unit.options.task == "translate" or decoding.language not in SPACELESS
        words = [split_words(text, self._tokenizer.decode, spaces=spaces) for text in texts]
        timings = time_words(words, self._time_tokens(row, tokens))
        return settle(pieces, timings, len(decoding.unit.samples) / SAMPLE_RATE)

    def _time_tokens(self, row: int, tokens: list[int]) -> TokenTimings:
        """When each of an answer's text tokens begins, from the attention of the whole answer to the audio."""
        decoding = self._flight[row]
        prefix, _ = self._tokenizer.prefix(decoding.language, decoding.unit.options.task, None, timestamps=False)
        # Only the longest possible answer has no room for the end token, from which nothing is read.
        ids = [*prefix, *tokens, self._config.tokens.end][: self._config.target_positions]
        first = len(prefix) - 1  # the position of <|notimestamps|> predicts the first token
        alignment = self.runner.align(row, ids, first, tokens)
        positions = len(decoding.unit.samples) // SAMPLES_PER_POSITION
        if positions:
            attention = alignment.attention[:, :, :positions]
            begins = begin_positions(attention, first, first + len(tokens) + 1) * TIMESTAMP_SECONDS
        else:  # audio shorter than one position: spread evenly
            begins = np.linspace(0.0, len(decoding.unit.samples) / SAMPLE_RATE, len(tokens) + 1)
        return TokenTimings(begins.tolist(), np.exp(alignment.logprobs.astype(np.float64)).tolist())


def _sampled_rows(decodings: Sequence[Decoding]) -> list[int]:
    """The rows that sample at a temperature, and so need their scores."""
    return [row for row, decoding in enumerate(decodings) if decoding.unit.options.temperature > 0]
