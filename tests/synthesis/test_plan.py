"""SpeakPlan: sentences are synthesised concurrently, and their audio is returned in text order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.errors import EngineFailed
from antiphon.synthesis.plan import SENTENCE_PAUSE_S, SpeakPlan
from antiphon.types.audio import Samples
from antiphon.types.events import AudioChunk, Failed, SentenceFinished, WindowFinished
from antiphon.types.options import SpeakOptions

RATE = 100
PAUSE = [0.0] * round(SENTENCE_PAUSE_S * RATE)


def make_plan(count: int) -> tuple[SpeakPlan, list[Samples]]:
    played: list[Samples] = []
    texts = [f"Sentence {index}." for index in range(count)]
    return SpeakPlan(7, texts, "plain", SpeakOptions(), RATE, played.append), played


def chunk(*values: float) -> Samples:
    return np.array(values, np.float32)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_audio_is_in_text_order_whatever_the_engine_order(chunks: list[int], order: object) -> None:
    plan, played = make_plan(len(chunks))
    units = plan.start()
    assert [unit.text for unit in units] == [f"Sentence {index}." for index in range(len(chunks))]
    assert {(unit.request, unit.voice) for unit in units} == {(7, "plain")}
    assert plan.expected == len(units)
    assert plan.seconds == pytest.approx(len(units) * len("Sentence 0.") / 15)
    left = {unit.index: count for unit, count in zip(units, chunks, strict=True)}
    while left:
        assert not plan.done
        index = order.choice(sorted(left))  # type: ignore[attr-defined]
        if left[index]:
            left[index] -= 1
            chunk_values = index + 1 + (chunks[index] - left[index]) / 10
            assert plan.receive(AudioChunk(units[index], chunk(chunk_values))) == ()
        else:
            del left[index]
            assert plan.receive(SentenceFinished(units[index])) == ()
    assert plan.done
    plan.result()
    chunk_values = [
        chunk(*[index + 1 + (place + 1) / 10 for place in range(count)]) for index, count in enumerate(chunks)
    ]
    wanted = [
        value for index, values in enumerate(chunk_values) for value in [*(PAUSE if index else []), *values.tolist()]
    ]
    assert np.concatenate([chunk(), *played]).tolist() == wanted


def test_first_sentence_is_streamed_while_it_is_synthesised() -> None:
    plan, played = make_plan(2)
    first, second = plan.start()
    plan.receive(AudioChunk(second, chunk(2.0)))
    assert played == []
    plan.receive(AudioChunk(first, chunk(1.0)))
    assert [samples.tolist() for samples in played] == [[1.0]]


def test_failed_sentence_ends_the_request() -> None:
    plan, _ = make_plan(3)
    units = plan.start()
    plan.receive(Failed(units[1], EngineFailed("no")))
    assert plan.done
    with pytest.raises(EngineFailed):
        plan.result()


def test_window_event_raises_type_error() -> None:
    plan, _ = make_plan(1)
    with pytest.raises(TypeError, match="WindowFinished"):
        plan.receive(WindowFinished(plan.start()[0], None))  # type: ignore[arg-type]


def test_samples_held_for_sentences_out_of_order_are_counted() -> None:
    plan, _ = make_plan(2)
    first, second = plan.start()
    plan.receive(AudioChunk(second, chunk(*[0.0] * 5)))
    assert plan.held_samples == 5
    plan.receive(AudioChunk(first, chunk(*[0.0] * 3)))
    plan.receive(SentenceFinished(second))
    assert plan.held_samples == 5
    plan.receive(SentenceFinished(first))
    assert plan.held_samples == 0
