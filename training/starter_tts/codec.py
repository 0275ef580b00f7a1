"""Owns the tokens: single characters in a sentencepiece model that folds case, accents and quotes by itself.

It must not know about audio or models."""

from __future__ import annotations

import io
import string
import tempfile
import unicodedata
from pathlib import Path

import sentencepiece

LETTERS = string.ascii_lowercase + ".,?!';:-"
PIECES = "spm_char.model"
# Below the letters sentencepiece has <s>, <pad>, </s> and <unk>, as SpeechT5 numbers them.
END = 2
OTHERS = {
    "’": "'",
    "‘": "'",
    "`": "'",
    "–": "-",
    "—": " - ",
    "‑": "-",
    "…": ".",
    "“": "",
    "”": "",
    '"': "",
    "(": ",",
    ")": ",",
}


def rules() -> str:
    """What becomes of characters the model has no letter for, one rule a line, code points in hexadecimal."""
    table = {**OTHERS, **{letter: letter.lower() for letter in string.ascii_uppercase}}
    for point in range(0xC0, 0x180):
        plain = [one for one in unicodedata.normalize("NFKD", chr(point)).lower() if one in string.ascii_lowercase]
        if plain:
            table[chr(point)] = "".join(plain)
    lines = (f"{ord(one):X}\t{' '.join(f'{ord(other):X}' for other in new)}" for one, new in sorted(table.items()))
    return "\n".join(lines) + "\n"


def make_pieces() -> bytes:
    """A sentencepiece model of LETTERS, with the rules in it: no text needs preparing, neither here nor in use."""
    content = io.BytesIO()
    with tempfile.NamedTemporaryFile("w", suffix=".tsv", encoding="utf-8") as table:
        table.write(rules())
        table.flush()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([" ".join(LETTERS), LETTERS] * 3),
            model_writer=content,
            model_type="char",
            vocab_size=len(LETTERS) + 1 + 4,
            hard_vocab_limit=False,
            character_coverage=1.0,
            normalization_rule_tsv=table.name,
            bos_id=0,
            pad_id=1,
            eos_id=END,
            unk_id=3,
            minloglevel=2,
        )
    return content.getvalue()


class Codec:
    """Text to ids. The first token is the space that sentencepiece puts before a text, the last is the end."""

    def __init__(self, pieces: bytes) -> None:
        self.pieces = pieces
        self.processor = sentencepiece.SentencePieceProcessor()
        self.processor.LoadFromSerializedProto(pieces)
        self.size = self.processor.get_piece_size()

    @classmethod
    def find(cls, work: Path) -> Codec:
        """The tokenizer of a work folder, made on first use."""
        path = work / PIECES
        if not path.exists():
            path.write_bytes(make_pieces())
        return cls(path.read_bytes())

    def encode(self, text: str) -> list[int]:
        """Ids of a text; character i of it is token i + 1."""
        ids: list[int] = self.processor.encode(text, out_type=int)
        return [*ids, END]
