"""The vocabularies of random models: Whisper's letter for each byte, and SpeechT5's SentencePiece model of characters."""

from __future__ import annotations

import io

import sentencepiece


def character_model(letters: str) -> bytes:
    """A SentencePiece model of single characters, with the ids of SpeechT5's control tokens: <s> <pad> </s> <unk>."""
    content = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([" ".join(letters), letters] * 3),
        model_writer=content,
        model_type="char",
        vocab_size=len(set(letters)) + 4,
        hard_vocab_limit=False,
        character_coverage=1.0,
        bos_id=0,
        pad_id=1,
        eos_id=2,
        unk_id=3,
        minloglevel=2,
    )
    return content.getvalue()


def byte_letters() -> dict[int, str]:
    """GPT-2's printable character for each of the 256 bytes."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(others)}
