"""Text to ids: both tokenizer files, the end token, unknown characters, and errors."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import sentencepiece

from antiphon.errors import ConfigError
from antiphon.models.speecht5.tokens import read_tokenizer
from tests.support.tiny_speecht5 import LETTERS, SHAPE, write_tokenizer

UNKNOWN, END = 3, 2


@pytest.fixture
def fast(tmp_path: Path) -> Path:
    write_tokenizer(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def trained() -> bytes:
    """A character model with SpeechT5's control tokens at their ids."""
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["abc def ghi. Hello, you!"] * 3),
        model_writer=content,
        model_type="char",
        vocab_size=40,
        hard_vocab_limit=False,
        bos_id=0,
        pad_id=1,
        eos_id=END,
        unk_id=UNKNOWN,
        minloglevel=2,
    )
    return content.getvalue()


@pytest.fixture
def pieces(tmp_path: Path, trained: bytes) -> Path:
    (tmp_path / "spm_char.model").write_bytes(trained)
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<mask>": 79, "<ctc_blank>": 80}))
    return tmp_path


def test_ids_end_with_the_end_token(fast: Path) -> None:
    ids = read_tokenizer(fast, SHAPE).encode("ab c")
    assert ids == [4 + LETTERS.index(letter) for letter in "ab c"] + [END]


def test_character_model_ids_begin_with_the_word_mark(pieces: Path) -> None:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(pieces / "spm_char.model"))
    expected = [processor.piece_to_id(piece) for piece in ("▁", "a", "b", "c", "▁", "d")]
    assert read_tokenizer(pieces, SHAPE).encode("abc d") == [*expected, END]


@pytest.mark.parametrize("kind", ["fast", "pieces"])
def test_unknown_character_is_the_unknown_token(kind: str, request: pytest.FixtureRequest) -> None:
    tokenizer = read_tokenizer(request.getfixturevalue(kind), SHAPE)
    assert UNKNOWN in tokenizer.encode("a€b")
    assert len(tokenizer.encode("a\ud800b")) > 2  # a lone surrogate is not valid UTF-8
    assert tokenizer.encode("") == [END]


@pytest.mark.parametrize("kind", ["fast", "pieces"])
def test_control_token_names_in_text_are_letters(kind: str, request: pytest.FixtureRequest) -> None:
    ids = read_tokenizer(request.getfixturevalue(kind), SHAPE).encode("a </s> <pad> <mask> b")
    assert ids.count(END) == 1
    assert not {0, 1, 79, 80} & set(ids)


def test_tokenizer_json_comes_before_the_character_model(pieces: Path) -> None:
    write_tokenizer(pieces)
    assert read_tokenizer(pieces, SHAPE).encode("z") == [4 + LETTERS.index("z"), END]


def test_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no spm_char\.model \(or tokenizer\.json\) in this folder"):
        read_tokenizer(tmp_path, SHAPE)


@pytest.mark.parametrize("content", ["", "{}", "[1]", '{"version": "1.0", "model": {"type": "WordLevel"}}'])
def test_broken_tokenizer_json_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ConfigError, match=r"tokenizer\.json: cannot be read"):
        read_tokenizer(tmp_path, SHAPE)


@pytest.mark.parametrize("content", [b"", b"not a model", bytes(100)])
def test_broken_character_model_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "spm_char.model").write_bytes(content)
    with pytest.raises(ConfigError, match=r"spm_char\.model or added_tokens\.json: cannot be read"):
        read_tokenizer(tmp_path, SHAPE)


@pytest.mark.parametrize("content", ["", "[]", '{"<mask>": "x"}'])
def test_broken_added_tokens_are_named(pieces: Path, content: str) -> None:
    (pieces / "added_tokens.json").write_text(content)
    with pytest.raises(ConfigError, match=r"added_tokens\.json: cannot be read"):
        read_tokenizer(pieces, SHAPE)


@pytest.mark.parametrize("kind", ["fast", "pieces"])
def test_ids_beyond_the_vocabulary_are_refused(kind: str, request: pytest.FixtureRequest) -> None:
    with pytest.raises(ConfigError, match="vocabulary of 20"):
        read_tokenizer(request.getfixturevalue(kind), replace(SHAPE, vocabulary=20))


@pytest.mark.parametrize("kind", ["fast", "pieces"])
def test_another_end_token_is_refused(kind: str, request: pytest.FixtureRequest) -> None:
    with pytest.raises(ConfigError, match=r"config\.json says .*5"):
        read_tokenizer(request.getfixturevalue(kind), replace(SHAPE, end=5))
