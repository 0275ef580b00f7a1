"""The session protocol over real graphs: joining, stepping, leaving; batches and chunks that change no result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.errors import InvalidParameter
from antiphon.models.folder import inspect
from antiphon.models.speecht5.load import load
from antiphon.models.speecht5.session import SpeechT5Session, StopRule
from antiphon.models.speecht5.vocoder import LONGEST_CHUNK_SECONDS
from antiphon.runtime.openvino import Device, open_device
from antiphon.types.events import AudioChunk, Event, Failed, Sentence, SentenceFinished
from tests.models.speecht5.conftest import Open
from tests.support.speecht5_sessions import Floats, Guest, audio, sentence, speak
from tests.support.tiny_speecht5 import SHAPE, SOUND

# Everything in which two sentences of one batch may differ; the long ones take both caches past 64 positions.
POOL = [
    sentence("hello you"),
    sentence("hello you", seed=1),
    sentence("hello you", "bob"),
    sentence("hello you", index=1),
    sentence("a b c"),
    sentence("what is that thing over there?", "bob", seed=3),
    sentence(""),
    sentence("the quick brown fox jumps over the lazy dog.", seed=2),
    sentence("pack my box with five dozen liquor jugs, and do it before the sun goes down again."),
]
PLACES = st.integers(0, len(POOL) - 1)
# float32 sums, which a batch may add in another order; on AVX2 the difference is 0.
TOLERANCE = 1e-5


@pytest.fixture
def endless_session(empty_session: SpeechT5Session, monkeypatch: pytest.MonkeyPatch) -> SpeechT5Session:
    """The shared session, with sentences that end only at the model's last position."""
    monkeypatch.setattr(empty_session, "_stop_rule", StopRule(threshold=9, maxlenratio=1000))
    return empty_session


def again(index: int) -> Sentence:
    return replace(POOL[index])  # equal, but another object


@pytest.fixture(scope="module")
def alone(session: SpeechT5Session) -> list[Floats]:
    """Each sentence's samples, spoken alone."""
    return [audio(session, again(index)) for index in range(len(POOL))]


def assert_same(samples: Floats, single: Floats) -> None:
    assert samples.shape == single.shape
    np.testing.assert_allclose(samples, single, rtol=0, atol=TOLERANCE)


def test_sample_sentences_differ(alone: list[Floats]) -> None:
    """Voices, seeds and sentence indices change the audio, so mixed-up rows would be noticed."""
    for index, samples in enumerate(alone):
        assert samples.std() > 0.01
        for other in alone[:index]:
            shorter = min(len(samples), len(other))
            assert np.abs(samples[:shorter] - other[:shorter]).max() > 1e-3
    lengths = {len(samples) for samples in alone}
    assert len(lengths) >= 5
    assert max(lengths) > 64 * SHAPE.reduction * SOUND.hop


@settings(max_examples=25, deadline=None, derandomize=True, database=None)
@given(
    st.lists(
        st.builds(Guest, PLACES, st.integers(0, 40), st.one_of(st.none(), st.none(), st.integers(0, 30))),
        min_size=2,
        max_size=7,
    )
)
def test_batch_equals_single_runs_while_sentences_join_and_leave(
    session: SpeechT5Session, alone: list[Floats], schedule: list[Guest]
) -> None:
    indices = [int(guest.unit) for guest in schedule]  # type: ignore[call-overload]
    guests = [replace(guest, unit=again(index)) for guest, index in zip(schedule, indices, strict=True)]
    for index, guest, chunks in zip(indices, guests, speak(session, guests), strict=True):
        assert chunks is not None or guest.leaves is not None
        if chunks is not None:
            assert_same(np.concatenate(chunks), alone[index])
    assert session.step() == []


@pytest.mark.parametrize("index", range(len(POOL)))
def test_chunks_equal_one_run_over_the_whole_sentence(session: SpeechT5Session, index: int) -> None:
    unit = again(index)
    session.join([unit])
    (speaking,) = session._rows
    chunks: list[Floats] = []
    while session._rows or session._ended:
        chunks += [event.samples for event in session.step() if isinstance(event, AudioChunk)]
    frames = np.concatenate(speaking.frames)
    whole = session.vocoder.samples(frames, (0, len(frames)), ended=True)
    assert len(whole) == len(frames) * SOUND.hop
    np.testing.assert_allclose(np.concatenate(chunks), whole, rtol=0, atol=TOLERANCE)


def test_first_chunk_is_small_and_precedes_the_last_frame(endless_session: SpeechT5Session) -> None:
    unit = again(8)
    endless_session.join([unit])
    sizes, early = [], 0
    while endless_session._rows or endless_session._ended:
        for event in endless_session.step():
            if isinstance(event, AudioChunk):
                sizes.append(len(event.samples) / SOUND.sample_rate)
                early += bool(endless_session._rows)
    assert sizes[0] == pytest.approx(0.25, abs=0.02)
    assert sizes[:3] == [sizes[0], 2 * sizes[0], 4 * sizes[0]]
    assert max(sizes) <= LONGEST_CHUNK_SECONDS
    assert early >= 3


def test_first_chunk_precedes_the_next_chunks_of_others(
    endless_session: SpeechT5Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaking, short = [again(8) for _ in range(3)], again(4)
    endless_session.join(speaking)
    while endless_session._rows:
        endless_session.step()
    assert len(endless_session._ended) >= 2
    monkeypatch.setattr(endless_session, "_stop_rule", StopRule())
    endless_session.join([short])
    assert [event.unit for event in endless_session.step()] == [short, short]
    for unit in speaking:
        endless_session.leave(unit)


def test_every_unit_ends_once_and_after_its_audio(empty_session: SpeechT5Session) -> None:
    units = [again(index) for index in (0, 4, 5, 6)]
    events: list[Event] = empty_session.join(units)
    for _ in range(400):
        events += empty_session.step()
    for unit in units:
        own = [event for event in events if event.unit is unit]
        assert [type(event) for event in own] == [AudioChunk] * (len(own) - 1) + [SentenceFinished]
        assert len(own) > 1


def test_same_seed_repeats_and_other_seeds_differ(session: SpeechT5Session) -> None:
    first, second, other = (audio(session, sentence("say it again", seed=seed)) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, second)
    shorter = min(len(first), len(other))
    assert np.abs(first[:shorter] - other[:shorter]).max() > 1e-3
    assert len(audio(session, sentence("any whole number", seed=-(2**70)))) > 0


def test_dropout_keeps_the_units_that_transformers_keeps(
    empty_session: SpeechT5Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps the share that it should drop, scaled by one over the rest; at 0 nothing is dropped."""
    empty_session.join([again(0), again(1)])
    for chance, values in ((0.5, {0.0, 2.0}), (0.2, {0.0, 1.25}), (0.0, {1.0})):
        monkeypatch.setattr(empty_session, "_config", replace(SHAPE, prenet_dropout=chance))
        drawn = np.stack([empty_session._dropout() for _ in range(50)])
        assert {round(float(value), 6) for value in np.unique(drawn)} == values
        if chance:
            assert (drawn > 0).mean() == pytest.approx(chance, abs=0.03)
            assert (drawn[:, 0] != drawn[:, 1]).any()
    for unit in [row.unit for row in empty_session._rows]:
        empty_session.leave(unit)


def test_seeds_have_no_effect_without_dropout(tiny_folder: Path, open_tiny: Open) -> None:
    session = open_tiny(tiny_folder, rules=StopRule(dropout=False))
    np.testing.assert_array_equal(audio(session, sentence("one", seed=1)), audio(session, sentence("one", seed=2)))


@pytest.mark.parametrize(
    ("rules", "steps"),
    [
        (StopRule(threshold=9, maxlenratio=4.0), 20),  # 10 tokens with the end, 2 frames a step
        (StopRule(threshold=9, maxlenratio=0.0), 1),
        (StopRule(threshold=0, minlenratio=3.0), 15),
        (StopRule(threshold=9, minlenratio=3.0, maxlenratio=1.0), 15),
        (StopRule(threshold=9, maxlenratio=1000.0), SHAPE.speech_positions),
        (StopRule(threshold=9, minlenratio=1000.0), SHAPE.speech_positions),
    ],
)
def test_stop_rule_ends_the_sentence(
    session: SpeechT5Session, monkeypatch: pytest.MonkeyPatch, rules: StopRule, steps: int
) -> None:
    monkeypatch.setattr(session, "_stop_rule", rules)
    assert len(audio(session, sentence("nine char"))) == steps * SHAPE.reduction * SOUND.hop


def test_unknown_voice_fails_alone(empty_session: SpeechT5Session, alone: list[Floats]) -> None:
    wrong, right = sentence("hello", "eve"), again(4)
    (failed,) = empty_session.join([wrong, right])
    assert isinstance(failed, Failed)
    assert failed.unit is wrong
    assert isinstance(failed.error, InvalidParameter)
    assert failed.error.param == "voice"
    assert "ada, bob" in str(failed.error)
    assert_same(_rest(empty_session, right), alone[4])


def test_text_beyond_the_models_positions_fails_alone(empty_session: SpeechT5Session, alone: list[Floats]) -> None:
    wrong, right = sentence("a" * SHAPE.text_positions), again(4)
    (failed,) = empty_session.join([wrong, right])
    assert isinstance(failed, Failed)
    assert failed.unit is wrong
    assert str(failed.error) == "A sentence of 90 letters is too long for this model; it reads 89."
    assert_same(_rest(empty_session, right), alone[4])


class Broken(Exception):
    """The failure that a test causes."""


def test_failing_join_does_not_change_units_in_flight(
    empty_session: SpeechT5Session, alone: list[Floats], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = again(0)
    empty_session.join([first])
    encode, calls = empty_session.runner.encode, []

    def fail_second(*args: object) -> object:
        calls.append(args)
        if len(calls) == 2:
            raise Broken
        return encode(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(empty_session.runner, "encode", fail_second)
    with pytest.raises(Broken):
        empty_session.join([again(1), again(2)])
    assert [row.unit for row in empty_session._rows] == [first]
    monkeypatch.undo()
    assert_same(_rest(empty_session, first), alone[0])


def test_joining_more_than_the_free_slots_is_an_error(empty_session: SpeechT5Session) -> None:
    with pytest.raises(ValueError, match="5 sentences join 0 in 4 slots"):
        empty_session.join([again(0) for _ in range(5)])


def test_leave_ignores_an_unknown_unit(empty_session: SpeechT5Session) -> None:
    empty_session.leave(again(0))
    assert empty_session.step() == []


def test_sentence_can_leave_after_its_last_frame(endless_session: SpeechT5Session) -> None:
    units = [again(5) for _ in range(3)]
    single = audio(endless_session, again(5))
    events = endless_session.join(units)
    while endless_session._rows:
        events += endless_session.step()
    leaver, *_, stayer = (speaking.unit for speaking in endless_session._ended)
    endless_session.leave(leaver)
    chunks = [event.samples for event in events if isinstance(event, AudioChunk) and event.unit is stayer]
    assert_same(np.concatenate([*chunks, _rest(endless_session, stayer)]), single)


def test_compressed_weights_change_the_audio_little(tiny_folder: Path, open_tiny: Open) -> None:
    rules = StopRule(threshold=9, maxlenratio=4.0, dropout=False)
    unit = sentence("hello you")
    exact = audio(open_tiny(tiny_folder, rules=rules), unit)
    for weight_format, worst in (("fp16", 0.003), ("int8", 0.05)):
        session = open_tiny(tiny_folder, rules=rules, weight_format=weight_format)
        assert session.info.weight_format == weight_format
        samples = audio(session, unit)
        assert samples.shape == exact.shape
        error = np.sqrt(np.square(samples - exact).mean()) / exact.std()
        assert 0 < error < worst


@dataclass(frozen=True)
class HalfCaches:
    """A runtime with bf16 caches that computes in f32, to test the caches on a CPU without bf16."""

    device: Device
    name: str = "CPU"
    precision: Literal["bf16", "f32"] = "bf16"
    streams: int = 1

    def compile(
        self, model: Any, *, precision: Literal["bf16", "f32"] | None = None, fuse_attention: bool = True
    ) -> Any:
        return self.device.compile(model, precision="f32", fuse_attention=fuse_attention)


def test_bf16_caches_change_the_audio_little_and_mix_no_rows(tiny_folder: Path, open_tiny: Open) -> None:
    rules = StopRule(threshold=9, maxlenratio=4.0, dropout=False)
    exact = open_tiny(tiny_folder, rules=rules)
    (rounded,) = load(
        inspect(tiny_folder),
        name="rounded",
        runtime=HalfCaches(open_device("CPU", "f32")),
        weight_format="auto",
        slots=4,
        report=lambda line: None,
        rules=rules,
    )
    assert rounded.info.precision == "bf16"
    indices = (5, 0, 2, 7)
    outputs = speak(rounded, [Guest(again(index), 3 * place) for place, index in enumerate(indices)])
    for index, chunks in zip(indices, outputs, strict=True):
        assert chunks is not None
        single, mixed = audio(rounded, again(index)), np.concatenate(chunks)
        assert_same(mixed, single)
        error = np.sqrt(np.square(mixed - audio(exact, again(index))).mean()) / single.std()
        assert 0 < error < 0.1


def _rest(session: SpeechT5Session, unit: Sentence) -> Floats:
    """The remaining samples of a unit in flight."""
    chunks: list[Floats] = []
    for _ in range(400):
        for event in session.step():
            if event.unit is unit and isinstance(event, AudioChunk):
                chunks.append(event.samples)
            if event.unit is unit and isinstance(event, SentenceFinished):
                return np.concatenate(chunks)
    raise AssertionError("the unit never ended")
