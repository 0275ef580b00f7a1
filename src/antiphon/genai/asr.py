"""Transcription with `openvino_genai.ASRPipeline`: calls and results of Whisper, Qwen3-ASR and Fun-ASR.

The pipeline returns no probabilities: `avg_logprob`, `no_speech_prob` and the probability of every word are 0.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from types import MappingProxyType
from typing import Any

import numpy as np

from antiphon.errors import ConfigError, InvalidParameter, quoted
from antiphon.genai.runtime import Runtime
from antiphon.languages import normalise
from antiphon.models.folder import ModelFolder
from antiphon.types.audio import SAMPLE_RATE
from antiphon.types.events import Event, Window, WindowFinished
from antiphon.types.options import Task, TranscribeOptions
from antiphon.types.results import Piece, WindowResult, Word

_MIN_SAMPLES = SAMPLE_RATE // 2  # shorter audio is padded with zeros: Whisper's pipeline rejects 200 samples and less
_MAX_TOKEN_CHARACTERS = 64  # the longest tokens of Whisper are that many dashes or spaces
_MAX_PREFIX_TOKENS = 5  # before an answer, besides the prompt
_MAX_ANSWER_TOKENS = 512  # for a window of a language model, which sets no limit

# Qwen3-ASR's languages by the names it was trained with, for folders whose config.json does not list them.
_QWEN_LANGUAGES = (
    "Chinese, English, Cantonese, Arabic, German, French, Spanish, Portuguese, Indonesian, Italian, Korean, Russian, Thai, "
    "Vietnamese, Japanese, Turkish, Hindi, Malay, Dutch, Swedish, Danish, Finnish, Polish, Czech, Filipino, Persian, Greek, "
    "Romanian, Hungarian, Macedonian"
)

# Scripts without spaces between words: Thai, Lao, Myanmar, Khmer; Chinese and Japanese.
_SPACELESS = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x2E80, 0xA4CF),
    (0xF900, 0xFAFF),
    (0xFF00, 0xFFEF),
)


@dataclass(frozen=True, slots=True)
class WhisperAdapter:
    """Transcribes windows with Whisper. `languages` maps codes to language tokens; it is empty for ".en" models."""

    languages: Mapping[str, str]
    default_language: str
    target_positions: int
    end: int  # the id of <|endoftext|>; the ids of text are below it
    first_pass: Callable[..., Any]  # makes a streamer: see `Runtime`

    @property
    def tasks(self) -> tuple[Task, ...]:
        return ("transcribe", "translate") if self.languages else ("transcribe",)

    def check(self, unit: Window) -> None:
        _check_task(unit.options, self.tasks)
        _check_language(unit.options, self.languages)

    def run(self, pipeline: Any, unit: Window) -> list[Event]:
        options = self._options(pipeline, unit)
        streamer = None
        if unit.options.timestamps:
            # Left alone, the pipeline continues from the end of its last segment into the silence after the window. The
            # request decides where to continue, as it has the window's successor. Stopped early, the pipeline returns no
            # words; so it continues if words are requested, and the later passes are left out of the result.
            streamer = options["streamer"] = self.first_pass(stop=not unit.options.words)
        answer = pipeline.generate(_samples_of(unit), **options)
        return [WindowFinished(unit, self._result(pipeline, unit, answer, streamer))]

    def _options(self, pipeline: Any, unit: Window) -> dict[str, Any]:
        options: dict[str, Any] = {"return_timestamps": unit.options.timestamps}
        if unit.options.words:
            options["word_timestamps"] = True
        if self.languages:
            options["task"] = unit.options.task
            if unit.options.language is not None:
                options["language"] = self.languages[unit.options.language]
        room = self.target_positions - _MAX_PREFIX_TOKENS
        history = pipeline.get_tokenizer().decode(list(unit.history)) if unit.history else ""
        prompt = f"{unit.options.prompt or ''} {history}"
        if prompt.strip():
            options["initial_prompt"], length = self._prompt(pipeline.get_tokenizer(), prompt)
            room -= length
        # As in openai/whisper, an answer has half of the positions; a request can raise that to all that are left.
        limit = max(1, min(room, unit.options.max_new_tokens or self.target_positions // 2))
        return options | _sampling_options(unit, limit)

    def _prompt(self, tokenizer: Any, prompt: str) -> tuple[str, int]:
        """The newest tokens of a prompt, as many as openai/whisper keeps, as text, and their number."""
        keep = self.target_positions // 2 - 1
        text = _plain(prompt.strip()[-keep * _MAX_TOKEN_CHARACTERS :])
        ids = self._ids(tokenizer, " " + text)
        if len(ids) > keep:
            text = tokenizer.decode(ids[-keep:]).strip()
            ids = self._ids(tokenizer, " " + text)
        return text, len(ids)

    def _ids(self, tokenizer: Any, text: str) -> list[int]:
        """The ids of a text without control tokens, which only some versions of the tokenizer add."""
        return [token for token in _encode(tokenizer, text) if token < self.end]

    def _result(self, pipeline: Any, unit: Window, answer: Any, streamer: Any) -> WindowResult:
        seconds = len(unit.samples) / SAMPLE_RATE
        tokenizer = pipeline.get_tokenizer()
        if unit.options.timestamps:
            chunks = answer.chunks[0] if answer.chunks else []
            if unit.options.words:
                chunks = _first_pass(chunks, tokenizer.decode(streamer.tokens or []))
            spans = [(*_span(chunk, seconds, alone=len(chunks) == 1), chunk.text) for chunk in chunks]
            resume = _resume(chunks, seconds)
        else:
            spans, resume = [(0.0, seconds, answer.texts[0])], seconds
        timed = answer.words[0] if unit.options.words and answer.words else []
        words = _split_words([text for *_, text in spans], timed, seconds)
        pieces = tuple(
            Piece(start, end, text, tuple(self._ids(tokenizer, text)), timed_words)
            for (start, end, text), timed_words in zip(spans, words, strict=True)
            if text.strip() and end > start
        )
        return _result(unit, answer, pieces, resume, self.default_language)


@dataclass(frozen=True, slots=True)
class LanguageModelAdapter:
    """Transcribes windows with Qwen3-ASR or Fun-ASR, which return no times: a window is one piece.

    `languages` maps codes to the names that the model was trained with; `takes_context` is whether it accepts a prompt.
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
            raise InvalidParameter("prompt is not supported by this model; leave it out.", param="prompt")
        if unit.options.condition_on_previous_text:
            name = "condition_on_previous_text"
            raise InvalidParameter(f"{name} is not supported by this model; leave it out.", param=name)

    def run(self, pipeline: Any, unit: Window) -> list[Event]:
        options = _sampling_options(unit, unit.options.max_new_tokens or _MAX_ANSWER_TOKENS)
        if unit.options.language is not None and self.languages:
            options["language"] = self.languages[unit.options.language]
        if unit.options.prompt and unit.options.prompt.strip():
            options["context"] = _plain(unit.options.prompt.strip())
        answer = pipeline.generate(_samples_of(unit), **options)
        seconds = len(unit.samples) / SAMPLE_RATE
        text = _spaced(answer.texts[0].strip())
        pieces = (Piece(0.0, seconds, text, tuple(_encode(pipeline.get_tokenizer(), text))),) if text else ()
        return [WindowFinished(unit, _result(unit, answer, pieces, seconds, self.default_language))]


def _whisper(folder: ModelFolder, pipeline: Any, runtime: Runtime) -> WhisperAdapter:
    generation = pipeline.get_generation_config()
    tokens = sorted(generation.lang_to_id, key=generation.lang_to_id.get) if generation.is_multilingual else []
    languages = {token.strip("<|>"): token for token in tokens}
    if generation.is_multilingual and not languages:
        file = folder.path / "generation_config.json"
        raise ConfigError(f"{file}: multilingual, but without lang_to_id; use the model's original file.")
    return WhisperAdapter(
        languages=languages,
        default_language="en" if "en" in languages or not languages else next(iter(languages)),
        target_positions=int(folder.config.get("max_target_positions", 448)),
        end=int(generation.eos_token_id),
        first_pass=runtime.first_pass,
    )


def _qwen3_asr(folder: ModelFolder, pipeline: Any, runtime: Runtime) -> LanguageModelAdapter:
    listed = folder.config.get("support_languages") or _QWEN_LANGUAGES.split(", ")
    codes = {normalise(str(language)): str(language) for language in listed}
    languages = {code: language for code, language in codes.items() if code is not None}
    default = "en" if "en" in languages else next(iter(languages), "en")
    return LanguageModelAdapter(languages, default, takes_context=True)


def _fun_asr(folder: ModelFolder, pipeline: Any, runtime: Runtime) -> LanguageModelAdapter:
    # It transcribes mixed languages and reports none, so a request cannot choose one.
    return LanguageModelAdapter({}, "zh", takes_context=False)


AsrAdapter = WhisperAdapter | LanguageModelAdapter
ADAPTERS: Mapping[str, Callable[[ModelFolder, Any, Runtime], AsrAdapter]] = MappingProxyType(
    {"whisper": _whisper, "qwen3_asr": _qwen3_asr, "fun_asr": _fun_asr}
)


def _samples_of(unit: Window) -> list[float]:
    # As a list: the binding reads an array value by value too, and holds the interpreter's lock five times as long.
    samples = unit.samples[:]
    short = _MIN_SAMPLES - len(samples)
    values: list[float] = (np.pad(samples, (0, short)) if short > 0 else samples).tolist()
    return values


def _sampling_options(unit: Window, limit: int) -> dict[str, Any]:
    """How tokens are chosen, and how many at most."""
    request = unit.options
    options: dict[str, Any] = {"max_new_tokens": limit, "do_sample": request.temperature > 0}
    if request.min_new_tokens:
        options["min_new_tokens"] = min(request.min_new_tokens, limit)
    if request.temperature > 0:
        # A seed for each window: windows with the same audio may differ, and repeated requests do not.
        seed = np.random.SeedSequence((request.seed, unit.start)).generate_state(1)[0]
        options |= {"temperature": request.temperature, "rng_seed": int(seed) % 2**31}
    return options


def _result(unit: Window, answer: Any, pieces: tuple[Piece, ...], resume: float, default_language: str) -> WindowResult:
    detected = answer.languages[0] if answer.languages else ""
    return WindowResult(
        language=unit.options.language or normalise(detected) or default_language,
        pieces=pieces,
        tokens=tuple(token for piece in pieces for token in piece.tokens),
        resume=resume,
        avg_logprob=0.0,
        no_speech_prob=0.0,
        temperature=unit.options.temperature,
    )


def _span(chunk: Any, seconds: float, *, alone: bool) -> tuple[float, float]:
    """The times of a segment in a window of `seconds`; a segment without an end ends with the window."""
    start = round(chunk.start_ts, 2)
    end = seconds if chunk.end_ts < 0 else round(chunk.end_ts, 2)
    if alone:
        # A time after the end of the window carries no information.
        start = start if start < seconds else 0.0
        end = end if end > start else seconds
    return min(seconds, start), min(seconds, end)


def _first_pass(chunks: list[Any], text: str) -> list[Any]:
    """The chunks of the first pass, whose texts make up `text`."""
    left = len(text)
    for count, chunk in enumerate(chunks):
        if left <= 0:
            return chunks[:count]
        left -= len(chunk.text)
    return chunks


def _split_words(texts: list[str], timed: list[Any], seconds: float) -> list[tuple[Word, ...]]:
    """The words of each of the consecutive `texts`, with times in a window of `seconds`."""
    words: list[list[Word]] = [[] for _ in texts]
    ends = list(accumulate(map(len, texts)))
    position = 0  # in all texts, where the word begins
    for word in timed:
        index = bisect_right(ends, position)
        if index == len(texts):
            break
        start, end = (min(seconds, round(float(time), 2)) for time in (word.start_ts, word.end_ts))
        words[index].append(Word(word.text, start, end, probability=0.0))
        position += len(word.text)
    return [tuple(group) for group in words]


def _resume(chunks: list[Any], seconds: float) -> float:
    if not chunks or chunks[-1].end_ts < 0:
        return seconds
    return min(seconds, round(float(chunks[-1].end_ts), 2))


def _encode(tokenizer: Any, text: str) -> list[int]:
    """The ids of a text: the pipeline does not return the ones it sampled."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False).input_ids.data.reshape(-1).tolist()
    return ids


def _plain(text: str) -> str:
    """Text without control tokens, such as "<|translate|>", and without lone surrogates, which UTF-8 does not have."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("<|", "< |")


def _spaced(text: str) -> str:
    """As Whisper spells it: with a space before the first word, in scripts with spaces between words."""
    spaceless = bool(text) and any(first <= ord(text[0]) <= last for first, last in _SPACELESS)
    return f" {text}" if text and not spaceless else text


def _check_task(options: TranscribeOptions, tasks: tuple[Task, ...]) -> None:
    if options.task not in tasks:
        raise InvalidParameter(f"This model cannot {options.task}; it can: {', '.join(tasks)}.", param="model")


def _check_language(options: TranscribeOptions, languages: Mapping[str, str]) -> None:
    if options.language is not None and languages and options.language not in languages:
        raise InvalidParameter(
            f"language {quoted(options.language)} is not one of this model's; valid: {', '.join(languages)}.",
            param="language",
        )
