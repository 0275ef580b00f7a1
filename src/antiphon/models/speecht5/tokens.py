"""SpeechT5's character tokenizer: a sentence to token ids, the end token last."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from sentencepiece import SentencePieceProcessor
from tokenizers import Tokenizer

from antiphon.errors import ConfigError
from antiphon.models.speecht5.config import SpeechT5Config

_FAST = "tokenizer.json"
_PIECES = "spm_char.model"
_ADDED = "added_tokens.json"


class SpeechT5Tokenizer:
    """The characters of one checkpoint. The names of control tokens ("<pad>", "<mask>") in a text are plain letters."""

    def __init__(self, encode: Callable[[str], list[int]], end: int) -> None:
        self._encode = encode
        self._end = end

    def encode(self, text: str) -> list[int]:
        """Ids of a text, then the end token; characters the model does not have become its unknown token."""
        # Lone surrogates are not valid UTF-8.
        clean = text.encode("utf-8", "replace").decode("utf-8")
        return [*self._encode(clean), self._end]


def read_tokenizer(folder: Path, config: SpeechT5Config) -> SpeechT5Tokenizer:
    """Read `tokenizer.json`, or `spm_char.model` and `added_tokens.json`, of a checkpoint folder.

    Raises ConfigError if neither exists or can be read, or if their ids disagree with config.json.
    """
    if (folder / _FAST).is_file():
        return SpeechT5Tokenizer(_fast(folder / _FAST, config), config.end)
    if (folder / _PIECES).is_file():
        return SpeechT5Tokenizer(_pieces(folder, config), config.end)
    raise ConfigError(
        f"{folder}: no {_PIECES} (or {_FAST}) in this folder; copy the tokenizer files of the checkpoint."
    )


def _fast(path: Path, config: SpeechT5Config) -> Callable[[str], list[int]]:
    try:
        content = json.loads(path.read_text("utf-8"))
        named = {token["content"]: token["id"] for token in content.get("added_tokens") or ()}
        # Without the added tokens no input text can become a control token; `encode` adds the end token itself.
        content |= {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
        encoder = Tokenizer.from_str(json.dumps(content))
    except Exception as error:  # the tokenizers library raises bare Exception
        raise ConfigError(f"{path}: cannot be read ({error}); copy the file again.") from error
    ids = {**named, **encoder.get_vocab()}
    if max(ids.values(), default=0) >= config.vocabulary:
        raise ConfigError(f"{path}: has ids beyond the vocabulary of {config.vocabulary} in config.json.")
    if ids.get("</s>", config.end) != config.end:
        raise ConfigError(f"{path}: </s> has id {ids['</s>']}, but config.json says eos_token_id {config.end}.")

    def encode(text: str) -> list[int]:
        ids: list[int] = encoder.encode(text, add_special_tokens=False).ids
        return ids

    return encode


def _pieces(folder: Path, config: SpeechT5Config) -> Callable[[str], list[int]]:
    path, added_path = folder / _PIECES, folder / _ADDED
    processor = SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(path.read_bytes())
        added = json.loads(added_path.read_text("utf-8")) if added_path.is_file() else {}
        highest = max([processor.get_piece_size() - 1, *added.values()])
    except (OSError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise ConfigError(f"{path} or {_ADDED}: cannot be read ({error}); copy the files again.") from error
    if highest >= config.vocabulary:
        raise ConfigError(f"{path}: has ids up to {highest}, but config.json a vocabulary of {config.vocabulary}.")
    if processor.eos_id() != config.end:
        raise ConfigError(f"{path}: the end token is {processor.eos_id()}, but config.json says {config.end}.")

    def encode(text: str) -> list[int]:
        ids: list[int] = processor.encode(text, out_type=int)
        return ids

    return encode
