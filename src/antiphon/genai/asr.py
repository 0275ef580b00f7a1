"""Windows asked of `openvino_genai.ASRPipeline`, and its answers as results: Whisper, Qwen3-ASR and Fun-ASR.

It must not know how a pipeline is opened or which thread runs it. The pipeline tells no probabilities: `avg_logprob` and
`no_speech_prob` of every result are 0, and a word's is too.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from antiphon.errors import InvalidParameter
from antiphon.languages import normalise
from antiphon.types.audio import SAMPLE_RATE
from antiphon.types.events import Event, Window, WindowFinished
from antiphon.types.options import Task, TranscribeOptions
from antiphon.types.results import Piece, WindowResult, Word

# The shortest audio a pipeline is given, zeros behind it: Whisper's refuses 200 samples and less.
_LEAST_SAMPLES = SAMPLE_RATE // 2
_LONGEST_TOKEN = 64  # characters; Whisper's longest are runs of that many dashes or spaces
_PREFIX = 5  # ids that stand before an answer besides the prompt's own, at most
_LONGEST_ANSWER = 512  # tokens of a window from a language model, which has no limit of its own

# Scripts that are written without spaces between words: Thai, Lao, Myanmar, Khmer; Chinese and Japanese.
_SPACELESS = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x2E80, 0xA4CF),
    (0xF900, 0xFAFF),
    (0xFF00, 0xFFEF),
)


@dataclass(frozen=True, slots=True)
class WhisperHearing:
    """How Whisper is asked. `languages` gives a code's control token; it is empty for ".en" models.

    `first_pass` makes a streamer (see `Toolkit`).
    """

    languages: Mapping[str, str]
    default_language: str
    target_positions: int
    end: int  # the id of <|endoftext|>; text has those below
    first_pass: Callable[..., Any]

    @property
    def tasks(self) -> tuple[Task, ...]:
        return ("transcribe", "translate") if self.languages else ("transcribe",)

    def check(self, unit: Window) -> None:
        _check_task(unit.options, self.tasks)
        _check_language(unit.options, self.languages)

    def run(self, pipeline: Any, unit: Window) -> list[Event]:
        asked = self._asked(pipeline, unit)
        streamer = None
        if unit.options.timestamps:
            # Left alone, the pipeline goes on from its last segment's end into the silence behind the window. Where
            # decoding goes on is the request's decision, which knows what follows this window in the file. Stopped, it
            # tells no words; then it may go on, and what it says there is left out.
            streamer = asked["streamer"] = self.first_pass(stop=not unit.options.words)
        answer = pipeline.generate(_heard(unit), **asked)
        return [WindowFinished(unit, self._result(pipeline, unit, answer, streamer))]

    def _asked(self, pipeline: Any, unit: Window) -> dict[str, Any]:
        options = unit.options
        asked: dict[str, Any] = {"return_timestamps": unit.options.timestamps}
        if options.words:
            asked["word_timestamps"] = True
        if self.languages:
            asked["task"] = options.task
            if options.language is not None:
                asked["language"] = self.languages[options.language]
        room = self.target_positions - _PREFIX
        said = f"{options.prompt or ''} {pipeline.get_tokenizer().decode(list(unit.history)) if unit.history else ''}"
        if said.strip():
            prompt, length = self._prompt(pipeline.get_tokenizer(), said)
            asked["initial_prompt"] = prompt
            room -= length
        # The reference gives an answer half of the positions; a caller may ask for more, up to all that are left.
        return asked | _sampled(unit, max(1, min(room, options.max_new_tokens or self.target_positions // 2)))

    def _prompt(self, tokenizer: Any, prompt: str) -> tuple[str, int]:
        """The newest tokens of a prompt, as many as the reference keeps, as text, and how many they are."""
        keep = self.target_positions // 2 - 1
        text = _plain(prompt.strip()[-keep * _LONGEST_TOKEN :])
        ids = self._ids(tokenizer, " " + text)
        if len(ids) > keep:
            text = tokenizer.decode(ids[-keep:]).strip()
            ids = self._ids(tokenizer, " " + text)
        return text, len(ids)

    def _ids(self, tokenizer: Any, text: str) -> list[int]:
        """Ids of a text; versions of the tokenizer differ in whether they put control tokens around it."""
        return [token for token in _encode(tokenizer, text) if token < self.end]

    def _result(self, pipeline: Any, unit: Window, answer: Any, streamer: Any) -> WindowResult:
        seconds = len(unit.samples) / SAMPLE_RATE
        tokenizer = pipeline.get_tokenizer()
        if unit.options.timestamps:
            chunks = answer.chunks[0] if answer.chunks else []
            if unit.options.words:
                chunks = _first_chunks(chunks, tokenizer.decode(streamer.tokens or []))
            spans = [(*_span(chunk, seconds, alone=len(chunks) == 1), chunk.text) for chunk in chunks]
            resume = _resume(chunks, seconds)
        else:
            spans, resume = [(0.0, seconds, answer.texts[0])], seconds
        told = answer.words[0] if unit.options.words and answer.words else []
        words = _words_of([text for *_, text in spans], told, seconds)
        pieces = tuple(
            Piece(start, end, text, tuple(self._ids(tokenizer, text)), said)
            for (start, end, text), said in zip(spans, words, strict=True)
            if text.strip() and end > start
        )
        return _result(unit, answer, pieces, resume, self.default_language)


@dataclass(frozen=True, slots=True)
class LanguageModelHearing:
    """How Qwen3-ASR and Fun-ASR are asked. `languages` gives a code's name as the model was trained with it.

    They tell no times: a window is one piece. `takes_context` says whether there is anywhere to put a prompt.
    """

    languages: Mapping[str, str]
    default_language: str
    takes_context: bool

    @property
    def tasks(self) -> tuple[Task, ...]:
        return ("transcribe",)

    def check(self, unit: Window) -> None:
        _check_task(unit.options, self.tasks)
        _check_language(unit.options, self.languages)
        if unit.options.prompt and unit.options.prompt.strip() and not self.takes_context:
            raise InvalidParameter("prompt is not one of the things this model takes; leave it out.", param="prompt")
        if unit.options.condition_on_previous_text:
            name = "condition_on_previous_text"
            raise InvalidParameter(f"{name} is not one of the things this model takes; leave it out.", param=name)

    def run(self, pipeline: Any, unit: Window) -> list[Event]:
        options = unit.options
        asked = _sampled(unit, options.max_new_tokens or _LONGEST_ANSWER)
        if options.language is not None and self.languages:
            asked["language"] = self.languages[options.language]
        if options.prompt and options.prompt.strip():
            asked["context"] = _plain(options.prompt.strip())
        answer = pipeline.generate(_heard(unit), **asked)
        seconds = len(unit.samples) / SAMPLE_RATE
        text = _spaced(answer.texts[0].strip())
        pieces = (Piece(0.0, seconds, text, tuple(_encode(pipeline.get_tokenizer(), text))),) if text else ()
        return [WindowFinished(unit, _result(unit, answer, pieces, seconds, self.default_language))]


def _heard(unit: Window) -> list[float]:
    # As a list: the binding reads an array value by value too, and holds the interpreter's lock five times as long.
    samples = unit.samples[:]
    short = _LEAST_SAMPLES - len(samples)
    values: list[float] = (np.pad(samples, (0, short)) if short > 0 else samples).tolist()
    return values


def _sampled(unit: Window, limit: int) -> dict[str, Any]:
    """How tokens are chosen, and how many."""
    options = unit.options
    asked: dict[str, Any] = {"max_new_tokens": limit, "do_sample": options.temperature > 0}
    if options.min_new_tokens:
        asked["min_new_tokens"] = min(options.min_new_tokens, limit)
    if options.temperature > 0:
        # Every window draws from its own seed, so that windows with the same audio may differ, and a request never does.
        seed = np.random.SeedSequence((options.seed, unit.start)).generate_state(1)[0]
        asked |= {"temperature": options.temperature, "rng_seed": int(seed) % 2**31}
    return asked


def _result(unit: Window, answer: Any, pieces: tuple[Piece, ...], resume: float, default_language: str) -> WindowResult:
    told = answer.languages[0] if answer.languages else ""
    return WindowResult(
        language=unit.options.language or normalise(told) or default_language,
        pieces=pieces,
        tokens=tuple(token for piece in pieces for token in piece.tokens),
        resume=resume,
        avg_logprob=0.0,
        no_speech_prob=0.0,
        temperature=unit.options.temperature,
    )


def _span(chunk: Any, seconds: float, *, alone: bool) -> tuple[float, float]:
    """A segment's times inside a window of `seconds`; an open one ends with it."""
    start = round(chunk.start_ts, 2)
    end = seconds if chunk.end_ts < 0 else round(chunk.end_ts, 2)
    if alone:
        # A time behind the window's end says nothing about when this was said.
        start = start if start < seconds else 0.0
        end = end if end > start else seconds
    return min(seconds, start), min(seconds, end)


def _first_chunks(chunks: list[Any], text: str) -> list[Any]:
    """Those of the first pass, whose texts make up `text`."""
    left = len(text)
    for count, chunk in enumerate(chunks):
        if left <= 0:
            return chunks[:count]
        left -= len(chunk.text)
    return chunks


def _words_of(texts: list[str], told: list[Any], seconds: float) -> list[tuple[Word, ...]]:
    """The words of each of the texts that follow one another; times inside a window of `seconds`."""
    words: list[list[Word]] = [[] for _ in texts]
    ends = list(accumulate(map(len, texts)))
    place = 0  # where in the texts a word begins
    for each in told:
        index = bisect_right(ends, place)
        if index == len(texts):
            break
        start, end = (min(seconds, round(float(time), 2)) for time in (each.start_ts, each.end_ts))
        words[index].append(Word(each.text, start, end, probability=0.0))
        place += len(each.text)
    return [tuple(each) for each in words]


def _resume(chunks: list[Any], seconds: float) -> float:
    if not chunks or chunks[-1].end_ts < 0:
        return seconds
    return min(seconds, round(float(chunks[-1].end_ts), 2))


def _encode(tokenizer: Any, text: str) -> list[int]:
    """The ids a text is cut into: the pipeline does not tell which it sampled."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).input_ids.data.reshape(-1).tolist()
    return ids


def _plain(text: str) -> str:
    """Text that stays text: the tokenizer would read "<|translate|>" as the control token; lone surrogates are no UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("<|", "< |")


def _spaced(text: str) -> str:
    """As Whisper has it: a space before the first word, where words have spaces between them."""
    spaceless = bool(text) and any(first <= ord(text[0]) <= last for first, last in _SPACELESS)
    return f" {text}" if text and not spaceless else text


def _check_task(options: TranscribeOptions, tasks: tuple[Task, ...]) -> None:
    if options.task not in tasks:
        raise InvalidParameter(f"This model cannot {options.task}; it can: {', '.join(tasks)}.", param="model")


def _check_language(options: TranscribeOptions, languages: Mapping[str, str]) -> None:
    if options.language is not None and languages and options.language not in languages:
        raise InvalidParameter(
            f"language {options.language!r} is not one this model knows; valid: {', '.join(languages)}.",
            param="language",
        )
