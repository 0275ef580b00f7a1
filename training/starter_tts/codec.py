"""Owns the tokens: single characters in a sentencepiece model that folds case, quotes and foreign accents by itself.

It must not know about audio or models."""

from __future__ import annotations

import io
import string
import struct
import tempfile
import unicodedata
from pathlib import Path

import sentencepiece

LETTERS = string.ascii_lowercase + ".,?!';:-"
# Spanish came second: its letters stand behind those that had their numbers before.
SPANISH = "áéíóúüñ¿¡"
# What each of them is nearest to.
PLAIN = dict(zip(SPANISH, "aeiouun?!", strict=True))
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
        letter = chr(point)
        apart = unicodedata.normalize("NFKD", letter)
        plain = "".join(one for one in apart.lower() if one in string.ascii_lowercase)
        if letter.lower() in SPANISH:
            table |= {apart: letter.lower(), letter: letter.lower()}
        elif plain:
            table[letter] = plain
    table = {one: new for one, new in table.items() if one != new}
    return "".join(f"{points(one)}\t{points(new)}\n" for one, new in sorted(table.items()))


def points(text: str) -> str:
    """Code points as sentencepiece's tables have them."""
    return " ".join(f"{ord(one):X}" for one in text)


def piece(letter: str) -> bytes:
    """One more piece for the end of a serialized model: in protobuf what is repeated may simply be appended."""
    text = letter.encode()
    inner = b"\x0a" + bytes([len(text)]) + text + b"\x15" + struct.pack("<f", -5.0)
    return b"\x0a" + bytes([len(inner)]) + inner


def make_pieces() -> bytes:
    """A sentencepiece model of LETTERS and SPANISH, the rules in it: no text needs preparing, neither here nor in use."""
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
    return content.getvalue() + b"".join(map(piece, SPANISH))


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
