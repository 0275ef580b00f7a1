"""Whisper's tokenizer: prompt ids, ids back to text, and a window's ids split into timed pieces."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer, models

from antiphon.errors import ConfigError
from antiphon.models.whisper.config import TIMESTAMP_SECONDS, WhisperConfig
from antiphon.models.whisper.vocabulary import FILES as VOCABULARY_FILES
from antiphon.models.whisper.vocabulary import build_tokenizer, byte_level_tokenizer, read_vocabulary
from antiphon.types.options import Task
from antiphon.types.results import Piece

_LONGEST_TOKEN = 64  # characters; Whisper's longest are runs of that many dashes or spaces


@dataclass(frozen=True, slots=True)
class Split:
    """A window's tokens as pieces.

    `resume`, in seconds from the window's start, is the end of the last closed segment: where a decoder that does not
    trust the rest of the window goes on. After a single closing timestamp openai-whisper skips to the window's end instead.
    """

    pieces: tuple[Piece, ...]
    resume: float


class WhisperTokenizer:
    """Byte-level BPE of one checkpoint. Control tokens are ids in `WhisperConfig`, never text."""

    def __init__(self, encoder: Tokenizer, config: WhisperConfig) -> None:
        self._encoder = encoder
        self._config = config

    def encode(self, text: str) -> list[int]:
        """Ids of plain text; a control token's name such as "<|translate|>" is encoded letter by letter."""
        # Lone surrogates are not valid UTF-8; openai-whisper replaces them too.
        clean = text.encode("utf-8", "replace").decode("utf-8")
        ids: list[int] = self._encoder.encode(clean, add_special_tokens=False).ids
        return ids

    def decode(self, tokens: tuple[int, ...] | list[int]) -> str:
        """Text of the ids below <|endoftext|>, decoded together because a character may span tokens."""
        text: str = self._encoder.decode([token for token in tokens if token < self._config.tokens.end])
        return text

    def prefix(
        self, language: str | None, task: Task, prompt: str | None, *, timestamps: bool, history: Sequence[int] = ()
    ) -> tuple[list[int], int]:
        """The prefix of a window's answer, and the index of <|startoftranscript|> in it.

        `[<|startofprev|> prompt… history…] <|startoftranscript|> [language, task] [<|notimestamps|>]`. The last
        `target_positions // 2 - 1` prompt ids are kept, as in openai-whisper, and the last of the history (ids of earlier
        windows) that fit after them; its timestamps are kept only if this window has timestamps too.
        """
        tokens = self._config.tokens
        before: list[int] = []
        keep = self._config.target_positions // 2 - 1
        if prompt and prompt.strip():
            # Only the last ids are kept; encoding a prompt of megabytes would hold up the batch.
            end = (" " + prompt.strip())[-keep * _LONGEST_TOKEN :]
            before = self.encode(end)[-keep:]
        known = [token for token in history if timestamps or token < tokens.end]
        before += known[max(0, len(known) - (keep - len(before))) :]
        ids = [tokens.previous, *before] if before and tokens.previous is not None else []
        start = len(ids)
        ids.append(tokens.start)
        if language is not None and tokens.transcribe is not None and tokens.translate is not None:
            ids += [tokens.languages[language], tokens.translate if task == "translate" else tokens.transcribe]
        if not timestamps:
            ids.append(tokens.no_timestamps)
        return ids, start

    def split(self, tokens: tuple[int, ...], seconds: float, *, timestamps: bool) -> Split:
        """Split a window's sampled `tokens` (no prompt, no end) into pieces within `seconds`, the window's real length.

        As in the seek loop of openai-whisper's `transcribe`, pieces end between two consecutive timestamps.
        """
        if not timestamps:
            piece = Piece(0.0, seconds, self.decode(tokens), tokens)
            return Split((piece,) if piece.text.strip() else (), seconds)
        first = self._config.tokens.timestamp_begin
        stamps = [token >= first for token in tokens]
        ends = [index for index in range(1, len(tokens)) if stamps[index - 1] and stamps[index]]
        single_end = len(tokens) >= 2 and stamps[-1] and not stamps[-2]
        if not ends:
            return self._one_piece(tokens, stamps, seconds, single_end=single_end)
        if single_end:
            ends.append(len(tokens))
        pieces = [self._piece(tokens[begin:end], seconds) for begin, end in zip([0, *ends[:-1]], ends, strict=True)]
        closed = min(seconds, self._time(tokens[ends[-1] - 1]))
        # Text after the last pair has no closing time. openai-whisper decodes it again from there; a caller that does not
        # must not lose it.
        tail = tokens[ends[-1] :]
        if self.decode(tail).strip():
            pieces.append(Piece(closed, seconds, self.decode(tail), tail))
        return Split(tuple(piece for piece in pieces if piece is not None), closed)

    def _one_piece(self, tokens: tuple[int, ...], stamps: list[bool], seconds: float, *, single_end: bool) -> Split:
        """No two timestamps are consecutive: all text is one piece, up to its last timestamp if that is after its start."""
        times = [self._time(token) for token, stamp in zip(tokens, stamps, strict=True) if stamp]
        # A start after the window's end is wrong, and is ignored.
        start = times[0] if times and stamps[0] and times[0] < seconds else 0.0
        end = min(seconds, times[-1]) if times and times[-1] > start else seconds
        text = self.decode(tokens)
        pieces = (Piece(start, end, text, tokens),) if text.strip() else ()
        return Split(pieces, end if pieces and single_end else seconds)

    def _piece(self, tokens: tuple[int, ...], seconds: float) -> Piece | None:
        start, end = min(seconds, self._time(tokens[0])), min(seconds, self._time(tokens[-1]))
        text = self.decode(tokens)
        return Piece(start, end, text, tokens) if text.strip() and end > start else None

    def _time(self, token: int) -> float:
        return round((token - self._config.tokens.timestamp_begin) * TIMESTAMP_SECONDS, 2)


def read_tokenizer(folder: Path, config: WhisperConfig) -> WhisperTokenizer:
    """Read the tokenizer of a folder: `tokenizer.json`, else `vocab.json` and `merges.txt`, else CTranslate2's vocabulary.

    Raises ConfigError if neither exists or can be read, or if a special token has another id than in the config.
    """
    path = folder / "tokenizer.json"
    try:
        if path.is_file():
            content = json.loads(path.read_text("utf-8"))
            _check_names(path, content, config)
            # Without the added tokens no input text can become a control token; the post-processor would add them to
            # every text.
            content |= {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
            return WhisperTokenizer(Tokenizer.from_str(json.dumps(content)), config)
        vocabulary, merges = folder / "vocab.json", folder / "merges.txt"
        if vocabulary.is_file() and merges.is_file():
            return WhisperTokenizer(byte_level_tokenizer(models.BPE.from_file(str(vocabulary), str(merges))), config)
        if any((folder / name).is_file() for name in VOCABULARY_FILES):
            return WhisperTokenizer(build_tokenizer(read_vocabulary(folder), config.tokens.end), config)
    except ConfigError:
        raise
    except Exception as error:  # the tokenizers library raises bare Exception
        raise ConfigError(f"{folder}: the tokenizer files cannot be read ({error}); copy them again.") from error
    raise ConfigError(f"{folder}: no tokenizer.json (or vocab.json with merges.txt) in this folder.")


def _check_names(path: Path, content: dict[str, object], config: WhisperConfig) -> None:
    added = content.get("added_tokens")
    ids = {token["content"]: token["id"] for token in added} if isinstance(added, list) else {}
    expected = {"<|startoftranscript|>": config.tokens.start, "<|notimestamps|>": config.tokens.no_timestamps}
    expected |= {f"<|{language}|>": index for language, index in config.tokens.languages.items()}
    for name, index in expected.items():
        if ids.get(name, index) != index:
            raise ConfigError(f"{path}: {name} has id {ids[name]}, but the generation config says {index}.")
