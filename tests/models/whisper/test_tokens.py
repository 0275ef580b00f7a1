"""Prompts, text, and windows split into pieces."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from antiphon.errors import ConfigError
from antiphon.models.whisper.config import read_config
from antiphon.models.whisper.tokens import WhisperTokenizer, read_tokenizer
from tests.support.tiny_whisper import FIRST_TIMESTAMP, IDS, write_tiny

START, EN, TRANSCRIBE, TRANSLATE, PREVIOUS, PLAIN = (
    IDS[f"<|{name}|>"] for name in ("startoftranscript", "en", "transcribe", "translate", "startofprev", "notimestamps")
)


@pytest.fixture(scope="module")
def tokenizer(tiny_folder: Path) -> WhisperTokenizer:
    return read_tokenizer(tiny_folder, read_config(tiny_folder))


def ids(tokenizer: WhisperTokenizer, *parts: str | float) -> tuple[int, ...]:
    """Text as letters, numbers as timestamps."""
    tokens: list[int] = []
    for part in parts:
        tokens += tokenizer.encode(part) if isinstance(part, str) else [FIRST_TIMESTAMP + round(part / 0.02)]
    return tuple(tokens)


def test_prefix_has_language_task_and_timestamps(tokenizer: WhisperTokenizer) -> None:
    assert tokenizer.prefix("en", "transcribe", None, timestamps=False) == ([START, EN, TRANSCRIBE, PLAIN], 0)
    assert tokenizer.prefix("en", "translate", None, timestamps=True) == ([START, EN, TRANSLATE], 0)
    assert tokenizer.prefix(None, "transcribe", None, timestamps=False) == ([START, PLAIN], 0)


@pytest.mark.parametrize("length", [0, 1, 221, 222, 223, 224, 1000])
def test_end_of_a_long_prompt_is_kept(tokenizer: WhisperTokenizer, length: int) -> None:
    prompt = "".join(chr(97 + index % 26) for index in range(length))
    prefix, start = tokenizer.prefix("en", "transcribe", prompt, timestamps=False)
    expected = tokenizer.encode(" " + prompt)[-223:] if length else []
    assert prefix == [*([PREVIOUS] if length else []), *expected, START, EN, TRANSCRIBE, PLAIN]
    assert prefix[start] == START
    assert len(prefix) <= 228


@pytest.mark.parametrize(
    ("prompted", "history_length"), [(0, 5), (3, 5), (0, 1000), (100, 1000), (223, 5), (1000, 1000)]
)
def test_history_gets_the_room_that_the_prompt_leaves(
    tokenizer: WhisperTokenizer, prompted: int, history_length: int
) -> None:
    """The whole prompt, then the end of the history; together never more than 223 tokens."""
    prompt = "p" * prompted
    history = tuple(100 + index % 26 for index in range(history_length))
    prefix, start = tokenizer.prefix("en", "transcribe", prompt, timestamps=False, history=history)
    before = tokenizer.encode(" " + prompt)[-223:] if prompted else []
    room = 223 - len(before)
    assert prefix[:start] == [PREVIOUS, *before, *history[max(0, history_length - room) :][: max(0, room)]]
    assert start <= 224


def test_history_keeps_timestamps_only_for_windows_with_timestamps(tokenizer: WhisperTokenizer) -> None:
    history = (FIRST_TIMESTAMP, 100, FIRST_TIMESTAMP + 50)
    for timestamps, kept in ((True, list(history)), (False, [100])):
        prefix, start = tokenizer.prefix("en", "transcribe", None, timestamps=timestamps, history=history)
        assert prefix[:start] == [PREVIOUS, *kept]
    prefix, start = tokenizer.prefix("en", "transcribe", None, timestamps=False, history=history[:1])
    assert start == 0


def test_only_the_end_of_a_huge_prompt_is_encoded(tokenizer: WhisperTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    lengths: list[int] = []
    encode = WhisperTokenizer.encode
    monkeypatch.setattr(
        WhisperTokenizer, "encode", lambda self, text: (lengths.append(len(text)), encode(self, text))[1]
    )
    prefix, start = tokenizer.prefix("en", "transcribe", "y" * 1_000_000 + "end", timestamps=False)
    assert tokenizer.decode(prefix[1:start]).endswith("yend")
    assert start == 224
    assert lengths == [223 * 64]


@pytest.mark.parametrize("prompt", ["<|translate|>", "<|endoftext|><|0.00|>", "🎻 \ud800 \x00", "  \n "])
def test_control_tokens_in_a_prompt_are_plain_text(tokenizer: WhisperTokenizer, prompt: str) -> None:
    prefix, start = tokenizer.prefix("en", "transcribe", prompt, timestamps=True)
    assert all(token < 256 for token in prefix[1:start])
    assert prefix[start:] == [START, EN, TRANSCRIBE]


def test_text_is_decoded_together(tokenizer: WhisperTokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode(" ældre 🎻")) == " ældre 🎻"
    assert tokenizer.decode((*tokenizer.encode(" a"), FIRST_TIMESTAMP, IDS["<|endoftext|>"])) == " a"


def test_window_without_timestamps_is_one_piece(tokenizer: WhisperTokenizer) -> None:
    split = tokenizer.split(ids(tokenizer, " a b"), 7.5, timestamps=False)
    assert [(piece.start, piece.end, piece.text) for piece in split.pieces] == [(0.0, 7.5, " a b")]
    assert split.resume == 7.5


@pytest.mark.parametrize(
    ("parts", "pieces", "resume"),
    [
        ((0.0, " a", 2.0), [(0.0, 2.0, " a")], 2.0),
        ((0.0, " a", 2.0, 2.4, " b", 5.0), [(0.0, 2.0, " a"), (2.4, 5.0, " b")], 5.0),
        ((0.0, " a", 2.0, 2.0), [(0.0, 2.0, " a")], 2.0),
        ((0.0, " a", 2.0, 2.0, " b"), [(0.0, 2.0, " a"), (2.0, 10.0, " b")], 2.0),
        ((0.0, " a"), [(0.0, 10.0, " a")], 10.0),
        ((0.0,), [], 10.0),
        ((), [], 10.0),
        ((0.0, " a", 28.0), [(0.0, 10.0, " a")], 10.0),
        ((0.0, "  ", 2.0, 2.0, " b", 4.0), [(2.0, 4.0, " b")], 4.0),
    ],
)
def test_pieces_end_between_consecutive_timestamps(
    tokenizer: WhisperTokenizer,
    parts: tuple[str | float, ...],
    pieces: list[tuple[float, float, str]],
    resume: float,
) -> None:
    split = tokenizer.split(ids(tokenizer, *parts), 10.0, timestamps=True)
    assert [(piece.start, piece.end, piece.text) for piece in split.pieces] == pieces
    assert split.resume == resume


def test_vocab_and_merges_replace_tokenizer_json(
    tiny_folder: Path, tokenizer: WhisperTokenizer, tmp_path: Path
) -> None:
    model = json.loads((tiny_folder / "tokenizer.json").read_text())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n")
    other = read_tokenizer(tmp_path, read_config(tiny_folder))
    assert other.encode(" señor <|en|>") == tokenizer.encode(" señor <|en|>")


def test_special_tokens_elsewhere_are_refused(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path)
    content = json.loads((folder / "tokenizer.json").read_text())
    for token in content["added_tokens"]:
        token["id"] += 1
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"tokenizer\.json: <\|startoftranscript\|> has id 258"):
        read_tokenizer(folder, read_config(folder))


def test_folder_without_tokenizer_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no tokenizer\.json"):
        read_tokenizer(tmp_path, read_config(tiny_folder))
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_tokenizer(tmp_path, read_config(tiny_folder))
