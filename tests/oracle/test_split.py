"""A window's tokens cut into pieces, against transformers' `_retrieve_segment`, and what must hold of any.

Where we differ on purpose, the reference is changed in `expected`, and each change says why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from transformers import WhisperForConditionalGeneration

from antiphon.models.whisper.config import WhisperConfig
from antiphon.models.whisper.logits_rules import HIGH, LOW, SPECIAL, TEXT, LogitsRules
from tests.oracle.reference import Comparison
from tests.oracle.shapes import PLAIN
from tests.support.whisper_checkpoint import Shape

SEQUENCES = 4000
WORDS = [1002, 257, 11, 640, 15044, 300]
SPACE = 220  # text that says nothing


@pytest.fixture(scope="module")
def comparison(comparison_of: Callable[[Shape], Comparison]) -> Comparison:
    return comparison_of(PLAIN)


def sequences(config: WhisperConfig) -> Iterator[tuple[tuple[int, ...], float]]:
    """Random walks through the rules (which `test_rules` compares with both oracles), and windows of whole 20 ms."""
    random = np.random.default_rng(3)
    for _ in range(SEQUENCES):
        seconds = float(random.choice([0.1, 1.0, 8.0, 30.0, round(random.uniform(0.1, 30) * 50) / 50]))
        yield walk(random, config, int(random.integers(0, 24))), seconds
    first = config.tokens.timestamp_begin
    stamp = {time: first + round(time * 50) for time in (0.0, 0.02, 8.0, 29.98, 30.0)}
    a, b = WORDS[:2]
    for fixed in (
        (),
        (stamp[0.0],),
        (stamp[0.0], a),
        (stamp[0.0], a, stamp[8.0]),
        (stamp[8.0], a, b),
        (stamp[0.0], a, stamp[30.0], stamp[30.0]),
        (stamp[0.0], a, stamp[30.0], stamp[30.0], b),
        (stamp[0.0], a, stamp[0.02], stamp[29.98], b, stamp[30.0]),
        (stamp[0.0], SPACE, stamp[8.0], stamp[8.0], b, stamp[30.0]),
        (stamp[0.0], a, stamp[8.0], stamp[8.0]),
    ):
        for seconds in (4.0, 8.0, 30.0):
            yield fixed, seconds


def walk(random: np.random.Generator, config: WhisperConfig, length: int) -> tuple[int, ...]:
    """At most `length` tokens that the rules allow."""
    rules, tokens = LogitsRules(config, 1), list[int]()
    rules.begin(0, timed=True)
    for _ in range(length):
        row = rules.rows(0, 1)[0]
        choices = []
        if row[TEXT]:
            choices += [random.choice(WORDS), random.choice(WORDS), SPACE]
        if row[LOW] <= row[HIGH]:
            choices += [min(int(row[LOW]) + int(random.geometric(0.02)) - 1, int(row[HIGH]))] * 2
        if row[SPECIAL] and random.random() < 0.1:
            break
        tokens.append(int(random.choice(choices)))
        rules.advance(0, 1, np.array(tokens[-1:], np.int32))
    return tuple(tokens)


def reference(config: WhisperConfig, tokens: tuple[int, ...], seconds: float) -> tuple[list[dict[str, Any]], float]:
    """Segments (start, end, tokens) and seek in seconds as transformers sees them, in a file that is this window."""
    segments, offset = WhisperForConditionalGeneration._retrieve_segment(
        seek_sequence=torch.tensor(tokens, dtype=torch.long),
        seek_outputs=[None],
        time_offset=torch.zeros(1, dtype=torch.float64),
        timestamp_begin=config.tokens.timestamp_begin,
        seek_num_frames=torch.tensor([round(seconds * 100)]),
        time_precision=0.02,
        time_precision_features=0.01,
        input_stride=2,
        prev_idx=0,
        idx=0,
        return_token_timestamps=False,
        decoder_input_ids=torch.zeros((1, 3), dtype=torch.long),
    )
    return segments, float(offset) / 100


def pairs_of(config: WhisperConfig, tokens: tuple[int, ...]) -> list[int]:
    first = config.tokens.timestamp_begin
    return [i for i in range(1, len(tokens)) if tokens[i - 1] >= first and tokens[i] >= first]


def ends_with_single_timestamp(config: WhisperConfig, tokens: tuple[int, ...]) -> bool:
    """Where the reference skips to the window's end, and we resume at that timestamp."""
    stamps = [token >= config.tokens.timestamp_begin for token in tokens[-2:]]
    return stamps == [False, True]


def test_pieces_and_resume_match_the_references_segments_and_seek(comparison: Comparison) -> None:
    compared = 0
    for tokens, seconds in sequences(comparison.config):
        ends = pairs_of(comparison.config, tokens)
        segments, seek = reference(comparison.config, tokens, seconds)
        split = comparison.tokenizer.split(tokens, seconds, timestamps=True)
        if not ends_with_single_timestamp(comparison.config, tokens):
            assert split.resume == pytest.approx(min(seconds, seek)), (tokens, seconds)
        ours = [(piece.start, piece.end, piece.tokens) for piece in split.pieces]
        if ends and tokens[-1] < comparison.config.tokens.timestamp_begin and split.pieces:
            # The text after the last pair, which the reference leaves to the next window.
            ours = [piece for piece in ours if piece[2] != tokens[ends[-1] :]]
        assert ours == expected(comparison, segments, tokens, seconds), (tokens, seconds)
        compared += len(ours)
    assert compared > SEQUENCES // 2


def expected(
    comparison: Comparison, segments: list[dict[str, Any]], tokens: tuple[int, ...], seconds: float
) -> list[tuple[float, float, tuple[int, ...]]]:
    """The reference's segments, kept inside the window and without those that say nothing or start after its end."""
    first, found = comparison.config.tokens.timestamp_begin, []
    ends = pairs_of(comparison.config, tokens)
    for segment in segments:
        ids = tuple(segment["tokens"].tolist())
        start, end = float(segment["start"]), float(segment["end"])
        if not comparison.tokenizer.decode(ids).strip():
            continue
        if not ends:
            # One segment without a pair: the reference starts it with the window, though the model may have predicted its start,
            # and takes an opening timestamp that stands alone for its end.
            predicted = (ids[0] - first) * 0.02 if ids[0] >= first else 0.0
            start, end = (predicted if predicted < seconds else 0.0), (end if end > predicted else seconds)
        elif len(ids) > 1 and ids[-2] >= first:
            ids = ids[:-1]  # the opening timestamp of the segment that follows, kept by transformers as a mark
        start, end = round(min(start, seconds), 2), round(min(end, seconds), 2)
        if start < end:
            found.append((start, end, ids))
    return found


def test_pieces_are_in_order_inside_the_window_and_lose_nothing(comparison: Comparison) -> None:
    tails = 0
    for tokens, seconds in sequences(comparison.config):
        split = comparison.tokenizer.split(tokens, seconds, timestamps=True)
        at, clock = 0, 0.0
        for piece in split.pieces:
            begin = find(tokens, piece.tokens, at)
            assert_silent_or_late(comparison, tokens[at:begin], seconds)
            assert clock <= piece.start <= piece.end <= seconds, (tokens, seconds)
            assert piece.text == comparison.tokenizer.decode(piece.tokens)
            assert piece.text.strip()
            at, clock = begin + len(piece.tokens), piece.end
        assert_silent_or_late(comparison, tokens[at:], seconds)
        ends = pairs_of(comparison.config, tokens)
        tails += bool(ends) and bool(split.pieces) and split.pieces[-1].tokens == tokens[ends[-1] :]
    assert tails > 100


def find(tokens: tuple[int, ...], part: tuple[int, ...], at: int) -> int:
    """Where `part` stands in `tokens`, from `at` on."""
    return next(i for i in range(at, len(tokens)) if tokens[i : i + len(part)] == part)


def assert_silent_or_late(comparison: Comparison, skipped: tuple[int, ...], seconds: float) -> None:
    """Tokens outside all pieces have no text, or begin after the end of the window."""
    if skipped and comparison.tokenizer.decode(skipped).strip():
        # Segment by segment, each opened by its timestamp.
        first = comparison.config.tokens.timestamp_begin
        time = 0.0
        for token in skipped:
            if token >= first:
                time = (token - first) * 0.02
            else:
                assert time >= seconds - 1e-9 or not comparison.tokenizer.decode([token]).strip(), (skipped, seconds)


def test_resume_always_advances(comparison: Comparison) -> None:
    """A window that is decoded again from `resume`, however often, comes to its end."""
    for tokens, seconds in sequences(comparison.config):
        split = comparison.tokenizer.split(tokens, seconds, timestamps=True)
        assert 0 < split.resume <= seconds, (tokens, seconds)
        assert split.resume >= max((piece.start for piece in split.pieces), default=0.0), (tokens, seconds)


def test_window_without_timestamps_is_one_piece(comparison: Comparison) -> None:
    tokens = (WORDS[0], WORDS[3], WORDS[0])
    split = comparison.tokenizer.split(tokens, 7.5, timestamps=False)
    (piece,) = split.pieces
    assert (piece.start, piece.end, piece.tokens) == (0.0, 7.5, tokens)
    assert split.resume == 7.5
    assert comparison.tokenizer.split((SPACE,), 7.5, timestamps=False).pieces == ()
