"""The logit rules against transformers' processors and openai-whisper's filters, on rows of random logits.

A vocabulary of 100 stands for Whisper's: all three sides take the ids as parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import openvino as ov
import pytest
import torch
from numpy.typing import NDArray
from openvino import opset13 as ops
from transformers import (
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
    WhisperTimeStampLogitsProcessor,
)
from whisper.decoding import ApplyTimestampRules, SuppressBlank, SuppressTokens

from antiphon.models.layers import NEVER
from antiphon.models.whisper.alignment_heads import AlignmentHeads
from antiphon.models.whisper.config import Tokens, WhisperConfig
from antiphon.models.whisper.graph import _apply_rules, _arg_max
from antiphon.models.whisper.logits_rules import TEXT, LogitsRules
from antiphon.runtime.openvino import open_device

Floats = NDArray[np.float32]
Filter = Callable[[Floats, NDArray[np.int64]], Floats]  # logits, all ids so far -> filtered logits

END, NO_TIMESTAMPS, VOCABULARY = 40, 49, 100
FIRST = NO_TIMESTAMPS + 1  # 50 timestamps
SUPPRESS, BEGIN_SUPPRESS = (1, 2, 17, 41, 44, 45, 46, 47, 48), (22, END)
PREFIX = [41, 42, 45]
WALKERS, STEPS = 500, 25


def config_of(limit: int | None) -> WhisperConfig:
    tokens = Tokens(END, 41, {"en": 42, "es": 43}, 44, 45, 47, 48, NO_TIMESTAMPS, FIRST)
    return WhisperConfig(
        vocabulary=VOCABULARY,
        mels=80,
        width=8,
        encoder_layers=1,
        encoder_heads=1,
        encoder_ffn=8,
        decoder_layers=1,
        decoder_heads=1,
        decoder_ffn=8,
        source_positions=1500,
        target_positions=448,
        tokens=tokens,
        suppress=SUPPRESS,
        begin_suppress=BEGIN_SUPPRESS,
        max_initial_timestamp=limit,
        alignment=AlignmentHeads(((0, 0),), guessed=False),
    )


class Judge:
    """Our rules alone: the part of the step graph that turns logits and rules rows into scores."""

    def __init__(self, config: WhisperConfig) -> None:
        logits = ops.parameter([-1, VOCABULARY], np.float32)
        rules = ops.parameter([-1, 6], np.int32)
        scores = _apply_rules(logits, rules, config)
        outputs = [ops.result(node) for node in (scores, *_arg_max(scores))]
        self._compiled = open_device("CPU", "f32").compile(ov.Model(outputs, [logits, rules]))

    def __call__(self, logits: Floats, rows: NDArray[np.int32]) -> tuple[Floats, NDArray[np.int32], Floats]:
        """Scores, the best id and its log-probability, of each row."""
        found = self._compiled([logits, rows])
        return found[0], found[1][:, 0], found[2][:, 0]


def transformers_filter(limit: int | None, *, timed: bool) -> Filter:
    begin = len(PREFIX)
    processors = [
        SuppressTokensAtBeginLogitsProcessor(list(BEGIN_SUPPRESS), begin_index=begin),
        SuppressTokensLogitsProcessor(list(SUPPRESS)),
    ]
    if timed:
        names = {"no_timestamps_token_id": NO_TIMESTAMPS, "eos_token_id": END, "max_initial_timestamp_index": limit}
        processors.append(WhisperTimeStampLogitsProcessor(SimpleNamespace(**names), begin_index=begin))

    def apply(logits: Floats, ids: NDArray[np.int64]) -> Floats:
        scores = torch.from_numpy(logits.copy())
        for processor in processors:
            scores = processor(torch.from_numpy(ids), scores)
        return scores.numpy()

    return apply


def openai_filter(limit: int | None, *, timed: bool) -> Filter:
    names = SimpleNamespace(
        no_timestamps=NO_TIMESTAMPS, timestamp_begin=FIRST, eot=END, encode=lambda text: [BEGIN_SUPPRESS[0]]
    )
    filters = [SuppressBlank(names, len(PREFIX)), SuppressTokens(SUPPRESS)]
    if timed:
        filters.append(ApplyTimestampRules(names, len(PREFIX), limit))

    def apply(logits: Floats, ids: NDArray[np.int64]) -> Floats:
        scores = torch.from_numpy(logits.copy())
        for one in filters:
            one.apply(scores, torch.from_numpy(ids))
        return scores.numpy()

    return apply


@dataclass
class RequestCount:
    """How often rule 7 had a say (text and timestamps both possible before it), and how often it spoke."""

    eligible: int = 0
    forced: int = 0


@pytest.mark.parametrize("timed", [True, False], ids=["timed", "plain"])
@pytest.mark.parametrize("limit", [None, 0, 5, 49])
def test_allowed_tokens_match_transformers_and_openai_whisper(limit: int | None, timed: bool) -> None:
    """500 random walks of 25 tokens through the rules, 12,500 rows; every score is compared, not only the best."""
    random = np.random.default_rng(7 + (limit or 0))
    config = config_of(limit)
    judge, rules, tally = Judge(config), LogitsRules(config, WALKERS), RequestCount()
    oracles = [transformers_filter(limit, timed=timed), openai_filter(limit, timed=timed)]
    for walker in range(WALKERS):
        rules.begin(walker, timed=timed)
    ids = np.tile(np.array(PREFIX, np.int64), (WALKERS, 1))
    for _ in range(STEPS):
        logits, rows = lively_logits(random), rules.rows(0, WALKERS)
        scores, best, logprobs = judge(logits, rows)
        for oracle in oracles:
            compare(scores, best, logprobs, oracle(logits, ids))
        count_rule_seven(tally, scores, rows)
        chosen = walk_on(random, scores)
        rules.advance(0, WALKERS, chosen)
        ids = np.concatenate([ids, chosen[:, None]], axis=1)
    if timed:
        assert 0.2 < tally.forced / tally.eligible < 0.8


def lively_logits(random: np.random.Generator) -> Floats:
    """Rows of different spread, their timestamps moved against the text, so that rule 7 is a close call."""
    logits = random.standard_normal((WALKERS, VOCABULARY)) * random.choice([0.5, 2, 4, 8], (WALKERS, 1))
    logits[:, FIRST:] -= random.normal(2, 3, (WALKERS, 1))
    return logits.astype(np.float32)


def compare(ours: Floats, best: NDArray[np.int32], logprobs: Floats, theirs: Floats) -> None:
    allowed = theirs > -np.inf
    assert np.array_equal(ours > NEVER / 2, allowed)
    assert np.array_equal(ours[allowed], theirs[allowed])
    assert np.array_equal(best, theirs.argmax(1))
    expected = torch.log_softmax(torch.from_numpy(theirs), -1).max(-1).values.numpy()
    np.testing.assert_allclose(logprobs, expected, rtol=0, atol=1e-5)  # float32 sums of a hundred terms


def count_rule_seven(tally: RequestCount, scores: Floats, rows: NDArray[np.int32]) -> None:
    stamps = (scores[:, FIRST:] > NEVER / 2).any(1)
    others = (scores[:, :FIRST] > NEVER / 2).any(1)
    eligible = (rows[:, TEXT] == 1) & stamps
    tally.eligible += int(eligible.sum())
    tally.forced += int((eligible & ~others).sum())


def walk_on(random: np.random.Generator, scores: Floats) -> NDArray[np.int32]:
    """A random allowed token each; the end only where nothing else is allowed. Early timestamps, so that walks last."""
    wish = random.random(scores.shape)
    wish[:, FIRST:] += 0.4 - 0.05 * np.arange(VOCABULARY - FIRST)
    wish[:, END] = -8
    wish[scores < NEVER / 2] = -np.inf
    return wish.argmax(1).astype(np.int32)


def test_tied_probabilities_allow_text() -> None:
    """Rule 7 asks for more, not for as much: one timestamp as likely as the best text token forces nothing."""
    config = config_of(None)
    rules = LogitsRules(config, 1)
    rules.begin(0, timed=True)
    ids = np.array([[*PREFIX, FIRST + 10, 5]], np.int64)
    for token in ids[0, len(PREFIX) :]:
        rules.advance(0, 1, np.array([token], np.int32))
    logits = np.full((1, VOCABULARY), -200, np.float32)
    for level, forced in ((2.0, False), (np.nextafter(np.float32(2), np.float32(3)), True)):
        logits[0, 7], logits[0, FIRST + 20] = 2.0, level
        scores, best, _ = Judge(config)(logits, rules.rows(0, 1))
        assert bool(scores[0, 7] < NEVER / 2) == forced
        assert best[0] == (FIRST + 20 if forced else 7)
        if not forced:
            for oracle in (transformers_filter(None, timed=True), openai_filter(None, timed=True)):
                assert np.isfinite(oracle(logits, ids)[0, 7])


def test_large_logits_do_not_overflow() -> None:
    """exp(89) is infinite in float32; sums over timestamps must not be."""
    config = config_of(None)
    rules = LogitsRules(config, 1)
    rules.begin(0, timed=True)
    rules.advance(0, 1, np.array([FIRST], np.int32))
    rules.advance(0, 1, np.array([5], np.int32))
    logits = np.full((1, VOCABULARY), 300, np.float32)
    logits[0, 6] = 340
    scores, best, logprobs = Judge(config)(logits, rules.rows(0, 1))
    oracle = transformers_filter(None, timed=True)(logits, np.array([[*PREFIX, FIRST, 5]], np.int64))
    compare(scores, best, logprobs, oracle)
    assert best[0] == 6
