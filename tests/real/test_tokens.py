"""In f32 the tokens of real speech are transformers' greedy ones, window by window, from both formats of the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from antiphon.types.audio import Samples
from tests.real.models import BASE, TINY, RealModel
from tests.real.peers import Answer, Transformers
from tests.real.recordings import speech
from tests.support.drive_session import drive, make_unit
from tests.support.sessions import load_session


def windows(name: str) -> Iterator[tuple[str, str, Samples]]:
    """A label, the language and the samples of every window that the model can transcribe."""
    for recording in speech():
        if name == BASE or recording.language == "en":
            for number, samples in enumerate(recording.windows()):
                yield f"{recording.name}[{number}]", recording.language, samples


def difference(label: str, ours: Sequence[int], theirs: Answer) -> str:
    """Where two answers part, and by how much the oracle preferred its token; empty if they are the same."""
    if list(ours) == theirs.tokens:
        return ""
    pairs = enumerate(zip(ours, theirs.tokens, strict=False))
    place = next((place for place, (a, b) in pairs if a != b), min(len(ours), len(theirs.tokens)))
    margin = theirs.margins[place] if place < len(theirs.margins) else 0.0
    return f"{label}: {ours[place : place + 3]} for {theirs.tokens[place : place + 3]} at {place}, margin {margin:.4f}"


# Without timestamps only every third window: transformers needs seconds for each.
@pytest.mark.parametrize(("timestamps", "step"), [(True, 1), (False, 3)], ids=["timestamps", "text"])
@pytest.mark.parametrize("name", [BASE, TINY])
@pytest.mark.parametrize("form", ["checkpoint", "ctranslate2"])
def test_tokens_of_real_speech_are_those_of_transformers(
    form: str,
    name: str,
    timestamps: bool,
    step: int,
    real: Callable[[str], RealModel],
    transformers_of: Callable[[str], Transformers],
) -> None:
    peer = transformers_of(name)
    chosen = list(windows(name))[::step]
    units = [
        make_unit(samples, language=language, timestamps=timestamps, max_new_tokens=peer.room(timestamps=timestamps))
        for _, language, samples in chosen
    ]
    session = load_session(str(getattr(real(name), form)), precision="f32", slots=len(units))
    results = drive(session, units)
    answers = [peer.answer(samples, language, timestamps=timestamps) for _, language, samples in chosen]
    differences = [
        difference(label, result.tokens, answer)
        for (label, *_), result, answer in zip(chosen, results, answers, strict=True)
    ]
    assert not list(filter(None, differences))
