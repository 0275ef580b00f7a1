"""One request as a state machine, with results from scripts: no word lost, none doubled, and it always ends."""

from __future__ import annotations

import logging
import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.errors import EngineFailed
from antiphon.testing.fake import FAKE_INFO, describe
from antiphon.transcription.plan import ADVANCE, CONTINUATION_DEPTH, HISTORY, TranscriptionPlan
from antiphon.types.audio import SAMPLE_RATE, WINDOW_SAMPLES, Samples
from antiphon.types.events import Failed, WindowFinished, LanguageDetected, Window
from antiphon.types.options import TranscribeOptions, VadOptions
from antiphon.types.results import Piece, Transcript, WindowResult
from antiphon.types.results import Word as TimedWord
from tests.support.speech_map import HUSH, SOUND, SPEECH, UNIT, Knowing, Map

ENGLISH = TranscribeOptions(language="en")
TIMED = TranscribeOptions(language="en", timestamps=True)
Model = Callable[[Window], WindowResult]


LOUD = (np.random.default_rng(0).standard_normal(SAMPLE_RATE) * 0.1).astype(np.float32)
LOUD.setflags(write=False)


def speech(seconds: float) -> Samples:
    return np.resize(LOUD, round(seconds * SAMPLE_RATE))


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * SAMPLE_RATE), np.float32)


def paused(*seconds: float) -> Samples:
    """Stretches of speech, half a second of silence after each."""
    return np.concatenate([part for length in seconds for part in (speech(length), silence(0.5))])


def make_plan(samples: Samples, options: TranscribeOptions = ENGLISH) -> TranscriptionPlan:
    return TranscriptionPlan(7, samples, options, FAKE_INFO)


def make_result(*pieces: tuple[float, float, str], resume: float, language: str = "en") -> WindowResult:
    made = tuple(Piece(start, end, text, (len(text),)) for start, end, text in pieces)
    return WindowResult(language, made, (1, 2), resume, -0.25, 0.01, 0.0)


def play(plan: TranscriptionPlan, model: Model) -> list[Window]:
    """Answer every unit in turn; gives the units in the order they were asked for."""
    units = list(plan.start())
    for unit in units:  # grows while it is walked
        assert 0 < len(unit.samples) <= WINDOW_SAMPLES
        units += plan.receive(WindowFinished(unit, model(unit)))
        assert len(units) < 1_000
    assert plan.done
    return units


def make_map(*stretches: tuple[int, float]) -> Map:
    """A file of stretches of a kind, each so many seconds long."""
    return Map([(kind, round(length * SAMPLE_RATE / UNIT)) for kind, length in stretches])


def make_voiced(file: Map, options: TranscribeOptions) -> TranscriptionPlan:
    """The plan of a file in which voice activity is found without error."""
    return TranscriptionPlan(7, file, options, FAKE_INFO, detectors=Knowing())  # type: ignore[arg-type]


def spans(units: Sequence[Window]) -> list[tuple[float, float]]:
    return [(unit.start / SAMPLE_RATE, round((unit.start + len(unit.samples)) / SAMPLE_RATE, 2)) for unit in units]


def seconds(unit: Window) -> float:
    return len(unit.samples) / SAMPLE_RATE


# --- the ordinary ways through -----------------------------------------------------------------------------------


def test_a_short_file_is_one_unit_without_timestamps() -> None:
    plan = make_plan(speech(3.2))
    (unit,) = play(plan, describe)
    assert not unit.options.timestamps
    assert unit.request == 7
    assert plan.result().text == "audio of 3.20 s"
    assert plan.result().duration == 3.2


def test_a_known_language_starts_all_runs_side_by_side() -> None:
    plan = make_plan(paused(25.0, 25.0, 25.0))
    units = plan.start()
    assert len(units) == plan.expected == 3
    for unit in reversed(units):  # the order of the answers does not matter
        assert plan.receive(WindowFinished(unit, describe(unit))) == []
    starts = [segment.start for segment in plan.result().segments]
    assert starts == sorted(starts)
    assert [segment.seek for segment in plan.result().segments] == [round(unit.start / 160) for unit in units]


def test_a_long_file_has_only_so_many_units_out_and_is_read_when_they_are_heard() -> None:
    class Tape:
        """Samples that count what of them was read at once since the plan was made."""

        def __init__(self, samples: Samples) -> None:
            self.samples, self.read = samples, 0

        def __len__(self) -> int:
            return len(self.samples)

        def __getitem__(self, stretch: slice) -> Samples:
            taken = self.samples[stretch]
            self.read += len(taken)
            return taken

    tape = Tape(paused(*[25.0] * 12))
    plan = TranscriptionPlan(7, tape, ENGLISH, FAKE_INFO, ahead=3)
    assert plan.expected == 12
    tape.read = 0
    out = plan.start()
    assert tape.read == 0
    assert len(out[1].samples[:]) == len(out[1].samples) == tape.read
    starts: list[int] = []
    while out:
        assert len(out) <= 3
        unit = out.pop(0)
        starts.append(unit.start)
        out += plan.receive(WindowFinished(unit, describe(unit)))
        samples = weakref.ref(unit.samples)
        del unit
        assert samples() is None  # what was heard is let go
    assert plan.done
    assert starts == sorted(starts)
    assert len(starts) == 12


def test_silence_needs_no_unit() -> None:
    plan = make_plan(silence(70.0), TranscribeOptions())
    assert plan.start() == []
    assert plan.done
    assert plan.expected == 0
    assert plan.result() == Transcript("transcribe", "en", 70.0, "", ())
    assert make_transcript_language(silence(1.0), TranscribeOptions(language="es")) == "es"


def make_transcript_language(samples: Samples, options: TranscribeOptions) -> str:
    plan = make_plan(samples, options)
    play(plan, describe)
    return plan.result().language


def test_the_first_failure_ends_the_request() -> None:
    plan = make_plan(paused(25.0, 25.0))
    first, second = plan.start()
    error = EngineFailed("broken")
    assert plan.receive(Failed(first, error)) == []
    assert plan.done
    assert plan.receive(WindowFinished(second, describe(second))) == []
    with pytest.raises(EngineFailed, match="broken"):
        plan.result()


def test_a_result_asked_for_too_early_is_a_bug() -> None:
    plan = make_plan(speech(1.0))
    plan.start()
    with pytest.raises(EngineFailed, match="bug"):
        plan.result()


def test_events_of_strangers_are_ignored() -> None:
    plan = make_plan(speech(1.0))
    plan.start()
    stranger = make_plan(speech(1.0)).start()[0]
    assert plan.receive(WindowFinished(stranger, describe(stranger))) == []
    assert not plan.done


def test_progress_is_told_after_each_window() -> None:
    told: list[tuple[float, float]] = []
    samples = np.concatenate([silence(100.0), paused(25.0, 45.0)])
    plan = TranscriptionPlan(1, samples, ENGLISH, FAKE_INFO, progress=lambda done, total: told.append((done, total)))
    play(plan, describe)
    assert [total for _done, total in told] == [171.0] * 3
    assert told == sorted(told)
    assert told[-1] == (171.0, 171.0)


# --- language ----------------------------------------------------------------------------------------------------


def test_an_unknown_language_is_heard_in_the_first_window_that_speaks() -> None:
    samples = np.concatenate([speech(0.4), silence(28.0), paused(25.0, 25.0)])
    plan = make_plan(samples, TranscribeOptions())
    (first,) = plan.start()
    assert first.start > 20 * SAMPLE_RATE
    assert first.options.language is None

    others = plan.receive(LanguageDetected(first, "es", 0.9))
    assert len(others) == 2
    assert {unit.options.language for unit in others} == {"es"}
    assert plan.receive(LanguageDetected(first, "en", 0.9)) == []  # the first word stands
    for unit in [*others, first]:
        assert plan.receive(WindowFinished(unit, describe(unit))) == []
    assert plan.result().language == "es"


def test_the_result_carries_the_language_too() -> None:
    plan = make_plan(paused(25.0, 25.0), TranscribeOptions())
    (first,) = plan.start()
    (other,) = plan.receive(WindowFinished(first, replace(describe(first), language="es")))
    assert other.options.language == "es"
    plan.receive(WindowFinished(other, describe(other)))
    assert plan.result().language == "es"


def test_if_no_window_speaks_long_enough_the_first_one_decides() -> None:
    samples = np.concatenate([speech(0.4), silence(40.0), speech(0.4)])
    (first,) = make_plan(samples, TranscribeOptions()).start()
    assert first.start == 0


def test_a_model_of_one_language_detects_none() -> None:
    info = replace(FAKE_INFO, languages=(), default_language="en")
    plan = TranscriptionPlan(1, paused(25.0, 25.0), TranscribeOptions(), info)
    units = play(plan, describe)
    assert [unit.options.language for unit in units] == [None, None]
    assert plan.result().language == "en"


# --- the abandoned tail (A1) -------------------------------------------------------------------------------------


def test_a_tail_with_speech_is_decoded_again() -> None:
    plan = make_plan(speech(20.0), TIMED)
    answers = iter(
        [
            make_result((0.0, 8.0, " one"), (8.0, 20.0, " unfin"), resume=8.0),
            make_result((0.0, 12.0, " two"), resume=12.0),
        ]
    )
    units = play(plan, lambda _unit: next(answers))
    assert spans(units) == [(0.0, 20.0), (8.0, 20.0)]
    assert units[1].timestamps
    assert units[1].options.language == "en"
    result = plan.result()
    assert result.text == "one two"
    assert [(segment.start, segment.end, segment.seek) for segment in result.segments] == [(0, 8, 0), (8, 20, 800)]


def test_a_tail_begins_behind_the_pause() -> None:
    """Of a silence before it a model may make words, or be late; of the word before it, it may hear the end again."""
    plan = make_plan(np.concatenate([speech(8.0), silence(3.0), speech(9.0)]), TIMED)
    answers = iter(
        [make_result((0.0, 7.9, " one"), (7.9, 20.0, " un"), resume=7.9), make_result((0.3, 9.0, " two"), resume=9.3)]
    )
    first, second = play(plan, lambda _unit: next(answers))
    assert (first.start, second.start / SAMPLE_RATE) == (0, pytest.approx(10.7, abs=0.02))
    assert plan.result().text == "one two"
    assert [segment.start for segment in plan.result().segments] == [0.0, pytest.approx(11.0, abs=0.02)]


def test_all_of_a_window_in_no_time_is_not_heard_twice() -> None:
    """A closing time that nobody can keep says nothing of how far the model came."""
    plan = make_plan(speech(29.0), TIMED)
    assert len(play(plan, lambda _unit: make_result((0.0, 1.8, " so it goes on" * 20), resume=1.8))) == 1
    assert [(segment.start, segment.end) for segment in plan.result().segments] == [(0.0, 29.0)]


def test_a_single_timestamp_ending_is_followed_as_well() -> None:
    plan = make_plan(speech(30.0), TIMED)
    answers = iter([make_result((0.0, 4.0, " one"), resume=4.0), make_result((0.0, 26.0, " two"), resume=26.0)])
    assert len(play(plan, lambda _unit: next(answers))) == 2
    assert plan.result().text == "one two"


def test_a_tail_without_speech_is_left_alone() -> None:
    samples = np.concatenate([speech(8.0), silence(22.0)])
    plan = make_plan(samples, TIMED)
    units = play(plan, lambda _unit: make_result((0.0, 8.0, " one"), (8.0, 9.0, " more"), resume=8.0))
    assert len(units) == 1
    assert plan.result().text == "one more"  # nothing decodes it again, so what was heard stays


def test_continuations_are_bounded_and_the_loss_is_told(caplog: pytest.LogCaptureFixture) -> None:
    plan = make_plan(speech(30.0), TIMED)
    with caplog.at_level(logging.WARNING):
        units = play(plan, lambda _unit: make_result((0.0, 1.0, " word"), resume=1.0))
    assert spans(units) == [(float(at), 30.0) for at in range(5)]
    assert "from 5.00 s to 30.00 s" in caplog.text


def test_a_continuation_that_hardly_advances_is_tried_so_often() -> None:
    plan = make_plan(speech(30.0), TIMED)
    units = play(plan, lambda _unit: make_result((0.0, 0.4, " word"), (0.4, 9.0, " rest"), resume=0.4))
    assert len(units) == 1 + CONTINUATION_DEPTH
    assert plan.result().text == "word word word word word rest"


def test_what_closes_nothing_is_kept_as_it_is() -> None:
    plan = make_plan(speech(30.0), TIMED)
    assert len(play(plan, lambda _unit: make_result((0.0, 9.0, " rest"), resume=0.0))) == 1
    assert plan.result().text == "rest"


def test_without_timestamps_nothing_is_followed() -> None:
    plan = make_plan(speech(30.0), ENGLISH)
    assert len(play(plan, lambda _unit: make_result((0.0, 5.0, " word"), resume=5.0))) == 1


# --- the same with voice activity -------------------------------------------------------------------------------


def test_a_tail_of_noise_is_not_decoded_again() -> None:
    """Loud enough to be speech, but it is none: a model asked about it would make words up."""
    file = make_map((SPEECH, 8.0), (SOUND, 16.0))
    plan = make_voiced(file, TIMED)
    assert len(play(plan, lambda _unit: make_result((0.0, 8.0, " one"), resume=8.0))) == 1
    for unheard in (make_map((SPEECH, 8.0), (SOUND, 8.0), (SPEECH, 0.8)), make_map((SOUND, 24.0))):
        # There is speech in the tail; or there is none even where words were heard, so it may be missed here too.
        plan = make_voiced(unheard, TIMED)
        answers = iter([make_result((0.0, 8.0, " one"), resume=8.0), make_result((0.0, 1.0, " two"), resume=24.0)])
        assert len(play(plan, lambda _unit, answers=answers: next(answers))) == 2


@pytest.mark.parametrize(
    ("pieces", "resume", "tail", "windows"),
    [
        (((0.0, 8.0, " one"), (8.0, 30.0, " unfin")), 8.0, SPEECH, 2),  # <0> a <8> <8> b
        (((0.0, 8.0, " one"),), 8.0, SPEECH, 2),  # <0> a <8>
        (((0.0, 8.0, " one"),), 8.0, SOUND, 1),
    ],
)
def test_what_a_window_abandons_is_heard_again_if_it_is_speech(
    pieces: Sequence[tuple[float, float, str]], resume: float, tail: int, windows: int
) -> None:
    """T18."""
    file = make_map((SPEECH, 8.0), (tail, 21.92))
    plan = make_voiced(file, TIMED)
    answers = iter([make_result(*pieces, resume=resume), make_result((0.0, 21.92, " two"), resume=21.92)])
    assert len(play(plan, lambda _unit: next(answers))) == windows
    assert plan.result().text == ("one two" if windows == 2 else "one")


SEARCHED = replace(TIMED, vad=VadOptions("always"))


def test_a_silent_continuation_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """T18: the model makes the noise between two sentences into words, and is not sure of them."""
    file = make_map((SPEECH, 8.0), (SOUND, 8.0), (SPEECH, 1.6), (SOUND, 8.0))
    plan = make_voiced(file, SEARCHED)
    answers = iter(
        [
            make_result((0.0, 8.0, " one and so on"), resume=8.0),
            replace(make_result((0.2, 2.0, " two"), (4.0, 7.0, " thank you"), resume=7.0), avg_logprob=-0.7),
        ]
    )
    with caplog.at_level(logging.INFO):
        play(plan, lambda _unit: next(answers))
    assert plan.result().text == "one and so on two"
    assert plan.dropped == 1
    assert "from 19.70 s to 22.70 s is left out" in caplog.text


@pytest.mark.parametrize(
    ("options", "length", "dropped"),
    [
        (ENGLISH, 40.0, True),
        (ENGLISH, 24.0, False),
        (SEARCHED, 24.0, True),
        (replace(ENGLISH, vad=VadOptions("energy")), 40.0, False),
    ],
    ids=["a long file", "a short one", "searched", "by loudness"],
)
def test_phantoms_are_left_out_of_files_that_are_searched(
    options: TranscribeOptions, length: float, dropped: bool
) -> None:
    """Without a voice activity detector, or where it was not asked, whatever the model says is said."""
    file = make_map((SPEECH, 1.6), (SOUND, length))
    plan = make_voiced(file, replace(options, timestamps=True))
    play(plan, lambda _unit: make_result((0.0, 1.5, " one and so on"), (7.0, 9.0, " amen"), resume=9.0))
    assert ("amen" in plan.result().text) == (not dropped)
    assert plan.dropped == dropped
    unheard = TranscriptionPlan(7, file, replace(options, timestamps=True), FAKE_INFO)  # no detector at all
    play(unheard, lambda _unit: make_result((7.0, 9.0, " amen"), resume=9.0))
    assert "amen" in unheard.result().text


def test_a_phantom_leads_nobody() -> None:
    file = make_map((SPEECH, 20.8), (HUSH, 0.96), (SPEECH, 4.8), (SOUND, 16.0))
    plan = make_voiced(file, replace(LED, timestamps=True))
    told = []

    def model(unit: Window) -> WindowResult:
        told.append(unit.history)
        return make_result((0.0, 2.0, " one and so on"), (10.0, 10.4, " x"), (20.0, 22.0, " ha"), resume=30.0)

    play(plan, model)
    assert told[1] == (len(" one and so on"), len(" x"), len(" ha"))
    assert plan.dropped > 0


def test_a_window_that_says_next_to_nothing_is_heard_again_with_times() -> None:
    """Of 20 s of speech three words: the model gave up, and times may tell how far it came."""
    file = make_map((SPEECH, 20.0))

    def model(unit: Window) -> WindowResult:
        length = seconds(unit)
        if not unit.options.timestamps:
            return make_result((0.0, length, " no more words"), resume=length)
        resume = 9.0 if unit.start == 0 else length
        return make_result((0.0, resume, f" from {unit.start // SAMPLE_RATE}"), resume=resume)

    plan = make_voiced(file, replace(ENGLISH, vad=VadOptions("always")))
    assert spans(play(plan, model)) == [(0.0, 20.0), (0.0, 20.0), (9.0, 20.0)]
    assert plan.result().text == "from 0 from 9"
    for options in (ENGLISH, replace(ENGLISH, vad=VadOptions("always"), max_new_tokens=5)):
        # Nobody looked for a voice in it; or it was not to say more.
        assert len(play(make_voiced(file, options), model)) == 1


def test_music_is_not_heard_and_the_language_is_told_behind_it() -> None:
    file = make_map((SOUND, 40.0), (SPEECH, 0.8), (SOUND, 24.0), (SPEECH, 24.0), (HUSH, 0.48), (SPEECH, 24.0))
    plan = make_voiced(file, TranscribeOptions())
    assert len(plan.runs) == 3
    (first,) = plan.start()
    assert first.start == pytest.approx(64.5 * SAMPLE_RATE, abs=SAMPLE_RATE)
    assert plan.seconds < 60.0


# --- one after the other -----------------------------------------------------------------------------------------


LED = replace(ENGLISH, condition_on_previous_text=True)


def test_each_window_is_told_what_was_said_before() -> None:
    plan = make_plan(paused(25.0, 25.0, 25.0), LED)
    histories = []
    for unit in units_one_by_one(plan):
        histories.append(unit.history)
    assert histories == [(), (1,), (1, 2)]


def units_one_by_one(plan: TranscriptionPlan, **scores: float) -> Iterator[Window]:
    """Every unit in turn, only one of them out at a time; the answer to each is one piece whose token is its number."""
    units, count = plan.start(), 0
    while units:
        (unit,) = units
        yield unit
        count += 1
        result = make_result((0.0, seconds(unit), f" {count}"), resume=seconds(unit))
        piece = replace(result.pieces[0], tokens=(count,))
        units = plan.receive(WindowFinished(unit, replace(result, pieces=(piece,), **(scores if count == 2 else {}))))
    assert plan.done


@pytest.mark.parametrize("scores", [{"avg_logprob": -1.1}, {"temperature": 0.6}], ids=str)
def test_what_went_wrong_leads_nobody(scores: dict[str, float]) -> None:
    """T28: a window decoded badly must not lead the next, which begins anew."""
    plan = make_plan(paused(25.0, 25.0, 25.0, 25.0), LED)
    assert [unit.history for unit in units_one_by_one(plan, **scores)] == [(), (1,), (), (3,)]


def test_a_loop_leads_nobody() -> None:
    plan = make_plan(paused(25.0, 25.0), LED)
    told = []

    def model(unit: Window) -> WindowResult:
        told.append(unit.history)
        return make_result((0.0, 25.0, " all the same" * 20), resume=seconds(unit))

    play(plan, model)
    assert told == [(), ()]


def test_what_is_decoded_again_is_not_told_twice() -> None:
    """A chain's next window knows what the one before closed, not what it will say itself; nor is a tail's forgotten."""
    plan = make_plan(speech(55.0), replace(LED, timestamps=True))
    told = []

    def model(unit: Window) -> WindowResult:
        told.append(unit.history)
        if unit.start == 0:
            return make_result((0.0, 27.5, " one"), (27.5, 30.0, " tw"), resume=27.5)
        return make_result((0.0, 10.0, " three"), resume=10.0 if len(told) == 2 else seconds(unit))

    play(plan, model)
    assert told == [(), (4,), (4, 6)]


def test_the_newest_is_what_is_kept() -> None:
    plan = make_plan(paused(25.0, 25.0, 25.0), LED)
    told = []

    def model(unit: Window) -> WindowResult:
        told.append(unit.history)
        result = make_result((0.0, 25.0, f" {unit.start}"), resume=seconds(unit))
        tokens = tuple(range(len(told) * 1000, len(told) * 1000 + 150))
        return replace(result, pieces=(replace(result.pieces[0], tokens=tokens),))

    play(plan, model)
    assert len(told[2]) == HISTORY
    assert told[2][-150:] == tuple(range(2000, 2150))
    assert told[2][0] == 1150 - (HISTORY - 150)


def test_side_by_side_nobody_is_told_anything() -> None:
    plan = make_plan(paused(25.0, 25.0), ENGLISH)
    assert all(unit.history == () for unit in play(plan, describe))


def test_in_turn_the_first_window_tells_the_language() -> None:
    samples = np.concatenate([speech(0.4), silence(28.0), paused(25.0, 25.0)])
    plan = make_plan(samples, TranscribeOptions(condition_on_previous_text=True))
    (first,) = plan.start()
    assert first.start == 0
    assert plan.receive(LanguageDetected(first, "es", 0.9)) == []
    (second,) = plan.receive(WindowFinished(first, replace(describe(first), language="es")))
    assert (second.start > 0, second.options.language) == (True, "es")


# --- chains ------------------------------------------------------------------------------------------------------


def test_a_run_without_pauses_is_a_chain() -> None:
    plan = make_plan(speech(70.0), ENGLISH)

    def model(unit: Window) -> WindowResult:
        if not unit.options.timestamps:
            return make_result((0.0, seconds(unit), " end"), resume=seconds(unit))
        return make_result((0.0, 27.5, f" from {unit.start}"), (27.5, 30.0, " cut"), resume=27.5)

    units = play(plan, model)
    assert spans(units) == [(0.0, 30.0), (27.5, 57.5), (55.0, 70.0)]
    assert [unit.options.timestamps for unit in units] == [True, True, False]
    assert plan.result().text == "from 0 from 440000 end"


def test_a_chain_whose_model_closes_early_goes_on_from_there() -> None:
    """A window that ended at 0.4 s must not take the other 29.6 s with it."""
    plan = make_plan(speech(45.0), ENGLISH)

    def model(unit: Window) -> WindowResult:
        if unit.start == 0:
            return make_result((0.0, 0.4, " early"), resume=0.4)
        return make_result((0.0, seconds(unit), f" from {unit.start}"), resume=seconds(unit))

    units = play(plan, model)
    assert spans(units) == [(0.0, 30.0), (0.4, 30.4), (30.4, 45.0)]
    assert plan.result().text == "early from 6400 from 486400"


def test_a_chain_that_hardly_advances_jumps_in_the_end(caplog: pytest.LogCaptureFixture) -> None:
    plan = make_plan(speech(45.0), ENGLISH)
    units = play(plan, lambda _unit: make_result((0.0, 0.3, " a"), resume=0.3))
    assert [unit.start for unit in units][: CONTINUATION_DEPTH + 1] == [0, 4800, 9600, 14400, 19200]
    assert spans(units)[CONTINUATION_DEPTH + 1] == (31.2, 45.0)
    assert "may be missing" in caplog.text


@pytest.mark.parametrize("resume", [0.0, 30.0, 99.0, -1.0])
def test_a_chain_that_does_not_advance_goes_on_at_the_windows_end(resume: float) -> None:
    plan = make_plan(speech(65.0), ENGLISH)
    units = play(plan, lambda unit: make_result((0.0, 0.2, " a"), (0.3, 29.0, " b"), resume=resume))
    assert spans(units) == [(0.0, 30.0), (30.0, 60.0), (60.0, 65.0)]
    assert plan.result().text == "a b a b a b"


def test_a_chain_ends_where_only_a_pause_is_left() -> None:
    samples = np.concatenate([speech(31.0), silence(0.4), speech(5.0)])
    plan = make_plan(samples, ENGLISH)
    units = play(plan, lambda unit: make_result((0.0, 1.0, " x"), resume=30.0))
    assert len(units) == 3
    samples = np.concatenate([speech(30.01), silence(0.4), speech(5.0)])
    plan = make_plan(samples, ENGLISH)
    assert len(play(plan, lambda unit: make_result((0.0, 1.0, " x"), resume=seconds(unit)))) <= 3


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.integers(1, 100), st.lists(st.floats(-1.0, 40.0), min_size=1, max_size=20), st.booleans())
def test_every_chain_advances_and_ends(length: int, resumes: list[float], timestamps: bool) -> None:
    plan = make_plan(speech(float(length)), replace(ENGLISH, timestamps=timestamps))
    count = 0

    def model(unit: Window) -> WindowResult:
        nonlocal count
        count += 1
        return make_result((0.0, 0.5, " x"), resume=resumes[count % len(resumes)])

    units = play(plan, model)
    starts = [unit.start for unit in units]
    assert all(after > before for before, after in pairwise(starts))
    small = "".join("s" if after - before < ADVANCE else " " for before, after in pairwise(starts))
    assert "s" * (CONTINUATION_DEPTH + 1) not in small  # what is asked nearly again is not asked for ever
    assert units[-1].start + len(units[-1].samples) == length * SAMPLE_RATE
    for before, after in pairwise(units):
        assert after.start <= before.start + len(before.samples)  # no hole between windows


@dataclass(frozen=True)
class Word:
    start: float
    end: float
    text: str


class Listener:
    """A model that hears the words wholly inside its window, in segments of a few, and may stop before the end."""

    def __init__(self, words: Sequence[Word], group: int, patience: float, keeps_open: bool) -> None:
        self.words, self.group, self.patience, self.keeps_open = words, group, patience, keeps_open

    def __call__(self, unit: Window) -> WindowResult:
        begin, length = unit.start / SAMPLE_RATE, seconds(unit)
        heard = [word for word in self.words if word.start >= begin - 0.01 and word.end <= begin + length + 0.01]
        if not unit.options.timestamps:
            return make_result((0.0, length, "".join(word.text for word in heard)), resume=length)
        groups = [heard[at : at + self.group] for at in range(0, len(heard), self.group)]
        edge = begin + length
        cut = any(word.start < edge - 0.02 and word.end > edge + 0.01 for word in self.words)
        closed = groups[:-1] if cut and len(groups) > 1 else groups
        if len(groups) > 3 and length > 10.0:  # what is left then is at least half a second of speech
            closed = closed[: max(1, round((len(groups) - 2) * self.patience))]
        opened = groups[len(closed) : len(closed) + 1] if self.keeps_open else []
        pieces = [
            (group[0].start - begin, group[-1].end - begin, "".join(word.text for word in group))
            for group in [*closed, *opened]
        ]
        return make_result(*pieces, resume=closed[-1][-1].end - begin if closed else length)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    st.lists(st.tuples(st.sampled_from([0.3, 0.5, 0.8]), st.sampled_from([0.02, 0.04, 0.06, 0.6])), min_size=1),
    st.integers(10, 95),
    st.integers(1, 6),
    st.floats(0.3, 1.0),
    st.booleans(),
    st.booleans(),
)
def test_no_word_is_lost_or_doubled(
    rhythm: list[tuple[float, float]], length: int, group: int, patience: float, keeps_open: bool, timestamps: bool
) -> None:
    """Words with and without pauses between them, in files from one window to a chain of several."""
    words: list[Word] = []
    parts: list[Samples] = []
    at = 0.0  # seconds
    while at < length:
        spoken, gap = rhythm[len(words) % len(rhythm)]
        words.append(Word(at, at + spoken, f" w{len(words)}"))
        parts += [speech(spoken), silence(gap)]
        at += spoken + gap
    plan = make_plan(np.concatenate(parts), replace(ENGLISH, timestamps=timestamps))
    play(plan, Listener(words, group, patience, keeps_open))
    assert plan.result().text.split() == [word.text.strip() for word in words]


# --- the finished transcript -------------------------------------------------------------------------------------


def test_segments_stay_inside_the_audio_and_in_order() -> None:
    plan = make_plan(speech(4.0), TIMED)
    answer = make_result(
        (0.0, 2.0, " one"), (1.5, 2.5, " two"), (2.0, 2.2, "  "), (2.5, 29.98, " three"), (10.0, 12.0, " padding"),
        resume=4.0,
    )  # fmt: skip
    play(plan, lambda _unit: answer)
    segments = plan.result().segments
    assert [(segment.id, segment.start, segment.end, segment.text) for segment in segments] == [
        (0, 0.0, 2.0, " one"),
        (1, 2.0, 2.5, " two"),
        (2, 2.5, 4.0, " three"),
    ]
    assert plan.result().text == "one two three"


def test_scores_are_the_windows() -> None:
    plan = make_plan(speech(4.0), TIMED)
    play(plan, lambda _unit: make_result((0.0, 2.0, " la la"), (2.0, 4.0, " la la"), resume=4.0))
    text = b"la la la la"
    for segment in plan.result().segments:
        assert segment.compression_ratio == len(text) / len(zlib.compress(text))
        assert (segment.avg_logprob, segment.no_speech_prob, segment.temperature) == (-0.25, 0.01, 0.0)
        assert segment.tokens == (6,)


# --- words -------------------------------------------------------------------------------------------------------


WORDED = replace(TIMED, words=True)


def with_words(result: WindowResult, *times: tuple[float, float]) -> WindowResult:
    """The result, each of its pieces with one word that is all of its text, at these times."""
    pieces = [
        replace(piece, words=(TimedWord(piece.text, *span, probability=0.5),))
        for piece, span in zip(result.pieces, times, strict=True)
    ]
    return replace(result, pieces=tuple(pieces))


def test_words_come_in_the_files_time_and_say_when_their_segment_is() -> None:
    plan = make_plan(paused(25.0, 10.0), WORDED)
    play(plan, lambda unit: with_words(make_result((0.0, 4.0, " a"), resume=seconds(unit)), (0.5, 3.0)))
    first, second = plan.result().segments
    assert (first.start, first.end) == (first.words[0].start, first.words[0].end) == (0.5, 3.0)
    offset = second.seek / 100
    assert offset > 20
    assert (second.start, second.end) == pytest.approx((offset + 0.5, offset + 3.0), abs=0.01)
    assert plan.result().words == first.words + second.words


def test_words_stay_in_order_and_inside_the_file() -> None:
    plan = make_plan(speech(6.0), WORDED)
    result = make_result((0.0, 2.0, " a"), (2.0, 4.0, " b"), (4.0, 6.0, " c"), resume=6.0)
    play(plan, lambda unit: with_words(result, (0.0, 2.5), (1.9, 2.2), (4.0, 7.0)))
    assert [(word.start, word.end) for word in plan.result().words] == [(0.0, 2.5), (2.5, 2.52), (4.0, 6.0)]


def test_every_word_takes_some_time() -> None:
    """Attention may begin and end one at the same moment, most often the last one."""
    plan = make_plan(speech(6.0), WORDED)
    times = [(1.0, 1.0), (1.0, 1.5), (5.99, 6.0), (6.0, 6.0)]
    words = tuple(TimedWord(f" {start}", start, end, probability=0.5) for start, end in times)
    piece = Piece(0.0, 6.0, "".join(word.text for word in words), (1,), words)
    play(plan, lambda _unit: replace(make_result(resume=6.0), pieces=(piece,)))
    (segment,) = plan.result().segments
    expected = [(1.0, 1.02), (1.02, 1.5), (5.96, 5.98), (5.98, 6.0)]
    assert [(word.start, word.end) for word in segment.words] == expected
    assert (segment.start, segment.end) == (1.0, 6.0)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(st.integers(0, 650), min_size=2, max_size=16))
def test_words_are_in_order_whatever_their_times(hundredths: list[int]) -> None:
    at = [each / 100 for each in sorted(hundredths)]
    words = tuple(TimedWord(" w", start, end, probability=0.5) for start, end in pairwise(at))
    piece = Piece(0.0, 6.0, " w" * len(words), (1,), words)
    plan = make_plan(speech(6.0), WORDED)
    play(plan, lambda _unit: replace(make_result(resume=6.0), pieces=(piece,)))
    (segment,) = plan.result().segments
    times = [time for word in segment.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert all(word.start < word.end for word in segment.words)
    assert (segment.start, segment.end) == (times[0], times[-1])
    assert 0.0 <= times[0] <= times[-1] <= 6.0


def test_a_word_ends_before_what_is_decoded_again() -> None:
    def model(unit: Window) -> WindowResult:
        if unit.start == 0:
            result = make_result((0.0, 3.0, " a"), (3.0, 9.0, " b"), resume=3.0)
            return with_words(result, (0.1, 4.4), (4.4, 8.0))
        return with_words(make_result((0.0, 2.0, " b"), resume=seconds(unit)), (0.2, 1.0))

    plan = make_plan(speech(9.0), WORDED)
    play(plan, model)
    assert [(word.text, word.start, word.end) for word in plan.result().words] == [(" a", 0.1, 3.0), (" b", 3.2, 4.0)]


def test_words_change_neither_the_text_nor_what_is_asked_next() -> None:
    """Whatever times they have: the same pieces, the same windows, the same order."""

    def answer(unit: Window, *, words: bool) -> WindowResult:
        length = seconds(unit)
        pieces = [(0.0, length / 4, " a"), (length / 4, length / 2, f" b{unit.start}"), (length / 2, length, " c")]
        result = make_result(*pieces, resume=length / 2)
        return with_words(result, (0.0, length), (length, length), (length, length)) if words else result

    asked, texts = [], []
    for words in (False, True):
        plan = make_plan(np.concatenate([speech(80.0), silence(1.0), speech(5.0)]), WORDED if words else TIMED)
        asked.append(spans(play(plan, lambda unit, words=words: answer(unit, words=words))))
        texts.append([(segment.text, segment.tokens, segment.seek) for segment in plan.result().segments])
        assert bool(plan.result().words) == words
    assert asked[0] == asked[1]
    assert texts[0] == texts[1]
