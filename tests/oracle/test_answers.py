"""Greedy answers, token for token, against transformers `generate` at batch 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from antiphon.types.events import Window
from antiphon.types.options import Task
from tests.oracle.reference import Comparison, ask_oracle
from tests.oracle.shapes import (
    BANNED,
    BRAIN,
    DISTILLED,
    EAGER,
    ENGLISH,
    HALF,
    ODD,
    PLAIN,
    THIN,
    UNEVEN,
    UNLIMITED,
    UNSUPPRESSED,
    UNTIED,
)
from tests.oracle.signals import chirps
from tests.support.drive_session import drive, make_unit
from tests.support.whisper_checkpoint import Shape


@dataclass(frozen=True)
class Case:
    """One question to both sides; `language` None is detected, `words` is the length of the prompt in tokens."""

    shape: Shape
    seconds: float
    language: str | None = None
    task: Task = "transcribe"
    timestamps: bool = False
    words: int = 0
    limit: int = 40

    def __str__(self) -> str:
        times = "timed" if self.timestamps else "plain"
        return f"{self.shape.name}-{self.seconds}s-{self.language}-{self.task}-{times}-{self.words}"

    def unit(self) -> Window:
        return make_unit(
            chirps(self.seconds, seed=round(self.seconds * 10)),
            timestamps=self.timestamps,
            language=self.language,
            task=self.task,
            prompt=prompt_of(self.words),
            max_new_tokens=self.limit,
        )


def prompt_of(words: int) -> str:
    """`words` words of one token each, none like its neighbours."""
    return " ".join(("one", "two", "red", "house", "sea", "time")[index % 6] for index in range(words))


CASES = [
    Case(PLAIN, 0.2, "en"),
    Case(PLAIN, 5, "de", "translate", timestamps=True),
    Case(PLAIN, 30, None, timestamps=True, limit=60),
    Case(ODD, 1, "es", timestamps=True),
    Case(ODD, 12, None, "translate", words=9),
    Case(UNEVEN, 0.2, None, timestamps=True, words=3),
    Case(UNEVEN, 30, "fr"),
    Case(DISTILLED, 2, "yue", timestamps=True),
    Case(DISTILLED, 20, None, words=30),
    Case(ENGLISH, 0.2, timestamps=True, words=5),
    Case(ENGLISH, 7, timestamps=True),
    Case(ENGLISH, 30),
    Case(THIN, 3, None, timestamps=True, limit=60),
    Case(THIN, 10, "ja"),
    Case(UNTIED, 4, "ru", timestamps=True),
    Case(HALF, 6, None, timestamps=True),
    Case(HALF, 0.5, "en", words=12),
    Case(BRAIN, 9, "pl", "translate", timestamps=True),
    Case(UNLIMITED, 15, "it", timestamps=True),
    Case(EAGER, 15, "it", timestamps=True),
    Case(BANNED, 5, "ko", timestamps=True),
    Case(BANNED, 5, "ko"),
    Case(UNSUPPRESSED, 5, None, timestamps=True),
    Case(UNSUPPRESSED, 1, None),
    # Every position but one: prompt, prefix and answer together fill 448.
    Case(ODD, 10, "en", timestamps=True, words=222, limit=221),
    Case(THIN, 4, "en", words=223, limit=60),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_tokens_match_transformers(case: Case, comparison_of: Callable[[Shape], Comparison]) -> None:
    comparison, unit = comparison_of(case.shape), case.unit()
    prompt = comparison.tokenizer.encode(" " + prompt_of(case.words)) if case.words else []
    assert len(prompt) == case.words
    theirs = ask_oracle(comparison, unit, prompt)
    (ours,) = drive(comparison.session, [unit])

    assert list(ours.tokens) == theirs.tokens
    prefix, start = comparison.tokenizer.prefix(
        ours.language if comparison.config.multilingual else None,
        case.task,
        unit.options.prompt,
        timestamps=case.timestamps,
    )
    assert prefix == theirs.prefix
    assert prefix[start] == comparison.config.tokens.start


@pytest.mark.parametrize("words", [224, 1000])
@pytest.mark.parametrize("timestamps", [False, True])
def test_long_prompt_is_cut_to_its_last_223_tokens(
    words: int, timestamps: bool, comparison_of: Callable[[Shape], Comparison]
) -> None:
    """transformers refuses what does not fit; openai-whisper keeps the newest half of the context less one."""
    comparison = comparison_of(THIN)
    unit = make_unit(chirps(4), timestamps=timestamps, language="en", prompt=prompt_of(words), max_new_tokens=30)
    kept = comparison.tokenizer.encode(" " + prompt_of(words))[-223:]
    (ours,) = drive(comparison.session, [unit])
    assert list(ours.tokens) == ask_oracle(comparison, unit, kept).tokens


def test_cases_differ(comparison_of: Callable[[Shape], Comparison]) -> None:
    """Random weights can fall into one token for ever; then equality above would say little."""
    tokens, ended, second_stamps = [], 0, 0
    for case in CASES:
        comparison = comparison_of(case.shape)
        (result,) = drive(comparison.session, [case.unit()])
        tokens.append(result.tokens)
        ended += len(result.tokens) < case.limit
        stamps = [token >= comparison.config.tokens.timestamp_begin for token in result.tokens]
        second_stamps += case.timestamps and 2 < sum(stamps) < len(stamps) - 2
    assert len(set(tokens)) == len(CASES)
    assert sum(len(set(answer)) for answer in tokens) / len(tokens) > 10
    assert 4 <= ended <= len(CASES) - 4
    assert second_stamps >= 6
