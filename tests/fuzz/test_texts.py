"""Random text over every voice of eSpeak NG. Texts that crash the library are known to exist; they must not reach further."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Iterator
from random import Random
from typing import cast

import pytest

from antiphon.models.espeak.session import EspeakSession
from antiphon.types.events import Failed, Sentence, SentenceFinished
from antiphon.types.options import SpeakOptions
from tests.support.drive_session import speak
from tests.support.sessions import load_session

LONGEST = 60
SHOWN = 20  # texts that are printed, at most


def usable(code: int) -> bool:
    return unicodedata.category(chr(code)) != "Cs"  # surrogates: no text can hold them


BLOCKS = [
    tuple(code for code in range(start, end) if usable(code))
    for start, end in (
        (0x20, 0x7F),
        (0, 0x250),
        (0x2B0, 0x370),  # modifiers and combining marks
        (0x370, 0x900),
        (0x900, 0x1000),  # the scripts of India
        (0x1000, 0x2000),
        (0x2000, 0x2C00),  # marks, symbols
        (0x3000, 0xE000),
        (0xE000, 0x11000),
        (0x1F000, 0x1FB00),
        (0, 0x110000),
    )
]


def texts(rng: Random) -> Iterator[str]:
    """Texts of one to a few kinds of characters; some repeat a piece."""
    while True:
        blocks = rng.sample(BLOCKS, rng.choice((1, 1, 2, 3)))
        text = "".join(chr(rng.choice(rng.choice(blocks))) for _ in range(rng.randint(1, LONGEST)))
        yield text * rng.choice((1, 1, 1, 1, 4))


def test_random_texts_end_no_process_but_the_helper(
    fuzz_budget: tuple[float, Random], capsys: pytest.CaptureFixture[str]
) -> None:
    seconds, rng = fuzz_budget
    session = cast(EspeakSession, load_session("espeak"))
    voices = list(session.info.voices)
    rng.shuffle(voices)
    refused, deaths = 0, list[Sentence]()
    spoken = 0
    until = time.monotonic() + seconds
    for text in texts(rng):
        unit, pid = Sentence(0, text, voices[spoken % len(voices)], 0, SpeakOptions()), session.synthesiser.pid
        session.join([unit])
        end = speak(session, [unit])[-1]
        assert end.unit is unit
        spoken += 1
        if session.synthesiser.pid != pid:
            assert isinstance(end, Failed)
            deaths.append(unit)
        else:
            refused += isinstance(end, Failed)
        if time.monotonic() > until:
            break
    last = Sentence(0, "hello", "en-us", 0, SpeakOptions())
    session.join([last])
    assert speak(session, [last])[-1] == SentenceFinished(last)
    if deaths or refused:
        with capsys.disabled():
            print(f"\neSpeak NG refused {refused} and crashed on {len(deaths)} of {spoken} texts:")
            for unit in deaths[:SHOWN]:
                print(f"  {unit.voice}: {unit.text!a}")
