"""Token ids against transformers' SpeechT5Tokenizer, on the same character model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import SpeechT5Tokenizer

from antiphon.models.speecht5 import tokens
from tests.oracle.speecht5_reference import LETTERS, write_pieces
from tests.support.tiny_speecht5 import SHAPE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pieces")
    write_pieces(made)
    (made / "added_tokens.json").write_text(json.dumps({"<mask>": 79, "<ctc_blank>": 80}))
    return made


@pytest.fixture(scope="module")
def theirs(folder: Path) -> SpeechT5Tokenizer:
    return SpeechT5Tokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def ours(folder: Path) -> tokens.SpeechT5Tokenizer:
    return tokens.read_tokenizer(folder, SHAPE)


@pytest.mark.parametrize(
    "text",
    [
        "Hello there, how are you?",
        "",
        " ",
        "  two  spaces  ",
        "line\nbreak\ttab",
        "5 € for ñandú, façade & ﬁne",
        "unknown: 你好 🙂🙂 €€€ end",
        "Ａｂｃ full width",
        "trailing ",
        "a" * 500,
    ],
)
def test_ids_match_transformers(text: str, ours: tokens.SpeechT5Tokenizer, theirs: SpeechT5Tokenizer) -> None:
    assert ours.encode(text) == theirs(text).input_ids


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.text(st.one_of(st.sampled_from(LETTERS), st.characters(exclude_categories=["Cs"])), max_size=40))
def test_ids_of_any_text_match_transformers(
    ours: tokens.SpeechT5Tokenizer, theirs: SpeechT5Tokenizer, text: str
) -> None:
    if not any(token in text for token in theirs.all_special_tokens):
        assert ours.encode(text) == theirs(text).input_ids


def test_control_token_names_in_text_are_letters(ours: tokens.SpeechT5Tokenizer, theirs: SpeechT5Tokenizer) -> None:
    """Deliberately unlike the oracle: control tokens cannot be typed."""
    assert 1 in theirs("a <pad> b").input_ids
    assert 1 not in ours.encode("a <pad> b")
    assert ours.encode("a </s> b").count(2) == 1
    assert 79 not in ours.encode("<mask>")
