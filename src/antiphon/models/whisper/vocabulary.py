"""Byte-level BPE from a bare vocabulary: `vocabulary.json` or `vocabulary.txt` of a CTranslate2 folder.

Those list the tokens in the order of their ids, and no merges. A byte-level BPE's ids follow its training, so a token's
merge is the pair that earlier merges leave of it (the same rule by which tiktoken's ranks are turned into merges).
"""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from antiphon.errors import ConfigError

FILES = ("vocabulary.json", "vocabulary.txt")


def read_vocabulary(folder: Path) -> list[str]:
    """The tokens in the order of their ids. ConfigError if the folder has no vocabulary, or a damaged one."""
    path = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if path is None:
        return _from_tokenizer(folder)
    try:
        text = path.read_text("utf-8")
        tokens: Any = json.loads(text) if path.suffix == ".json" else text.removesuffix("\n").split("\n")
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); download it again.") from error
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise ConfigError(f"{path}: is not a list of tokens.")
    return tokens


def build_tokenizer(tokens: list[str], end: int) -> Tokenizer:
    """A byte-level BPE tokenizer of the first `end` tokens; what follows them is special."""
    text_tokens = tokens[:end]
    ids = {token: index for index, token in enumerate(text_tokens)}
    merges = [pair for token in text_tokens if (pair := _last_merge(token, ids)) is not None]
    return byte_level_tokenizer(models.BPE(ids, merges))


def byte_level_tokenizer(model: models.BPE) -> Tokenizer:
    """A tokenizer that splits text as GPT-2 does, and works on the printable characters that stand for bytes."""
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _from_tokenizer(folder: Path) -> list[str]:
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ConfigError(f"{folder}: no {' or '.join(FILES)} in this folder, and no tokenizer.json either.")
    try:
        ids = Tokenizer.from_file(str(path)).get_vocab(with_added_tokens=True)
    except Exception as error:  # the tokenizers library raises bare Exception
        raise ConfigError(f"{path}: cannot be read ({error}); download it again.") from error
    return [token for token, _ in sorted(ids.items(), key=lambda item: item[1])]


def _last_merge(token: str, ids: dict[str, int]) -> tuple[str, str] | None:
    """The two parts that a token was merged of, None for a single byte: merge by the lowest id until two are left."""
    if len(token) < 2:
        return None
    parts = list(token)
    rank = ids[token]
    while len(parts) > 2:
        joined = [ids.get(first + second, rank) for first, second in pairwise(parts)]
        lowest = min(joined)
        if lowest >= rank:
            return None
        index = joined.index(lowest)
        parts[index : index + 2] = [parts[index] + parts[index + 1]]
    return parts[0], parts[1]
