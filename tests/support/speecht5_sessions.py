"""Drives a SpeechT5 session: sentences in, chunks out, joining and leaving at given steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from antiphon.models.speecht5.session import SpeechT5Session
from antiphon.types.events import AudioChunk, Failed, Sentence, SentenceFinished
from antiphon.types.options import SpeakOptions

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Guest:
    """A sentence, the step at which it joins, and how many steps later it leaves (None: never)."""

    unit: Sentence
    joins: int = 0
    leaves: int | None = None


def sentence(text: str, voice: str = "ada", *, seed: int = 0, index: int = 0) -> Sentence:
    return Sentence(0, text, voice, index, SpeakOptions(voice=voice, seed=seed))


def speak(session: SpeechT5Session, guests: Sequence[Guest]) -> list[list[Floats] | None]:
    """The chunks of each guest; None for one that left before its end. Joins wait for a free slot."""
    waiting = sorted(range(len(guests)), key=lambda index: guests[index].joins)
    inside: dict[int, int] = {}
    chunks: list[list[Floats]] = [[] for _ in guests]
    finished: set[int] = set()
    step = 0
    while waiting or inside:
        ready = [index for index in waiting if guests[index].joins <= step][: session.slots - len(inside)]
        waiting = [index for index in waiting if index not in ready]
        inside |= dict.fromkeys(ready, step)
        events = session.join([guests[index].unit for index in ready]) if ready else []
        made = session.step()
        assert sum(isinstance(event, AudioChunk) for event in made) <= 1
        for event in [*events, *made]:
            assert not isinstance(event, Failed), event
            (index,) = (index for index in inside if guests[index].unit is event.unit)
            if isinstance(event, AudioChunk):
                chunks[index].append(event.samples)
            if isinstance(event, SentenceFinished):
                finished.add(index)
                del inside[index]
        for index in [index for index, since in inside.items() if _leaves(guests[index], step - since)]:
            session.leave(guests[index].unit)
            del inside[index]
        step += 1
    return [chunks[index] if index in finished else None for index in range(len(guests))]


def audio(session: SpeechT5Session, unit: Sentence) -> Floats:
    """All samples of a sentence, spoken alone."""
    (chunks,) = speak(session, [Guest(unit)])
    assert chunks is not None
    return np.concatenate(chunks)


def _leaves(guest: Guest, inside_for: int) -> bool:
    return guest.leaves is not None and inside_for >= guest.leaves
