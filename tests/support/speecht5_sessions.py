"""Runs a SpeechT5 session by hand: sentences in, chunks out, joining and leaving when a test says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from antiphon.models.speecht5.session import SpeechT5Session
from antiphon.types.events import AudioChunk, Failed, Sentence, Spoken
from antiphon.types.options import SpeakOptions

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Guest:
    """A sentence, the step it asks to join at, and how many steps later it is taken out (None: never)."""

    unit: Sentence
    joins: int = 0
    leaves: int | None = None


def sentence(text: str, voice: str = "ada", *, seed: int = 0, index: int = 0) -> Sentence:
    return Sentence(0, text, voice, index, SpeakOptions(voice=voice, seed=seed))


def speak(session: SpeechT5Session, guests: Sequence[Guest]) -> list[list[Floats] | None]:
    """Each guest's chunks; None for one that left before its end. Joins wait until there is a slot."""
    waiting = sorted(range(len(guests)), key=lambda place: guests[place].joins)
    inside: dict[int, int] = {}
    chunks: list[list[Floats]] = [[] for _ in guests]
    spoken: set[int] = set()
    step = 0
    while waiting or inside:
        ready = [place for place in waiting if guests[place].joins <= step][: session.slots - len(inside)]
        waiting = [place for place in waiting if place not in ready]
        inside |= dict.fromkeys(ready, step)
        events = session.join([guests[place].unit for place in ready]) if ready else []
        made = session.step()
        assert sum(isinstance(event, AudioChunk) for event in made) <= 1
        for event in [*events, *made]:
            assert not isinstance(event, Failed), event
            (place,) = (place for place in inside if guests[place].unit is event.unit)
            if isinstance(event, AudioChunk):
                chunks[place].append(event.samples)
            if isinstance(event, Spoken):
                spoken.add(place)
                del inside[place]
        for place in [place for place, since in inside.items() if _leaves(guests[place], step - since)]:
            session.leave(guests[place].unit)
            del inside[place]
        step += 1
    return [chunks[place] if place in spoken else None for place in range(len(guests))]


def audio(session: SpeechT5Session, unit: Sentence) -> Floats:
    """All samples of a sentence that has the session to itself."""
    (chunks,) = speak(session, [Guest(unit)])
    assert chunks is not None
    return np.concatenate(chunks)


def _leaves(guest: Guest, inside_for: int) -> bool:
    return guest.leaves is not None and inside_for >= guest.leaves
