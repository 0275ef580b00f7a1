"""TranscriptionPlan: audio a model left out is decoded again, hallucinations are dropped."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from antiphon.testing.fake import FAKE_INFO
from antiphon.transcription.plan import MAX_CONTINUATIONS, TranscriptionPlan
from antiphon.types.audio import SAMPLE_RATE
from antiphon.types.events import Window
from antiphon.types.options import TranscribeOptions, VadOptions
from antiphon.types.results import WindowResult
from tests.support.speech_map import HUSH, SOUND, SPEECH
from tests.support.transcription_plan import (
    CONDITIONED,
    ENGLISH,
    SCANNED,
    TIMED,
    make_map,
    make_plan,
    make_result,
    make_vad_plan,
    play,
    seconds,
    silence,
    spans,
    speech,
)


def test_rest_of_a_window_with_speech_is_decoded_again() -> None:
    plan = make_plan(speech(20.0), TIMED)
    answers = iter(
        [
            make_result((0.0, 8.0, " one"), (8.0, 20.0, " unfin"), resume=8.0),
            make_result((0.0, 12.0, " two"), resume=12.0),
        ]
    )
    units = play(plan, lambda _unit: next(answers))
    assert spans(units) == [(0.0, 20.0), (8.0, 20.0)]
    assert units[1].options.timestamps
    assert units[1].options.language == "en"
    result = plan.result()
    assert result.text == "one two"
    assert [(segment.start, segment.end, segment.seek) for segment in result.segments] == [(0, 8, 0), (8, 20, 800)]


def test_continuation_starts_after_the_pause() -> None:
    """Silence at the start of a window may cause hallucinations; the end of a word would be transcribed twice."""
    plan = make_plan(np.concatenate([speech(8.0), silence(3.0), speech(9.0)]), TIMED)
    answers = iter(
        [make_result((0.0, 7.9, " one"), (7.9, 20.0, " un"), resume=7.9), make_result((0.3, 9.0, " two"), resume=9.3)]
    )
    first, second = play(plan, lambda _unit: next(answers))
    assert (first.start, second.start / SAMPLE_RATE) == (0, pytest.approx(10.7, abs=0.02))
    assert plan.result().text == "one two"
    assert [segment.start for segment in plan.result().segments] == [0.0, pytest.approx(11.0, abs=0.02)]


def test_impossible_end_time_is_not_used_to_resume() -> None:
    plan = make_plan(speech(29.0), TIMED)
    assert len(play(plan, lambda _unit: make_result((0.0, 1.8, " so it goes on" * 20), resume=1.8))) == 1
    assert [(segment.start, segment.end) for segment in plan.result().segments] == [(0.0, 29.0)]


def test_window_ending_in_a_single_timestamp_is_continued() -> None:
    plan = make_plan(speech(30.0), TIMED)
    answers = iter([make_result((0.0, 4.0, " one"), resume=4.0), make_result((0.0, 26.0, " two"), resume=26.0)])
    assert len(play(plan, lambda _unit: next(answers))) == 2
    assert plan.result().text == "one two"


def test_rest_of_a_window_without_speech_is_not_decoded_again() -> None:
    samples = np.concatenate([speech(8.0), silence(22.0)])
    plan = make_plan(samples, TIMED)
    units = play(plan, lambda _unit: make_result((0.0, 8.0, " one"), (8.0, 9.0, " more"), resume=8.0))
    assert len(units) == 1
    assert plan.result().text == "one more"  # not decoded again, so the text is kept


def test_continuations_are_limited_and_the_loss_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    plan = make_plan(speech(30.0), TIMED)
    with caplog.at_level(logging.WARNING):
        units = play(plan, lambda _unit: make_result((0.0, 1.0, " word"), resume=1.0))
    assert spans(units) == [(float(at), 30.0) for at in range(5)]
    assert "from 5.00 s to 30.00 s" in caplog.text


def test_continuations_that_barely_advance_are_limited() -> None:
    plan = make_plan(speech(30.0), TIMED)
    units = play(plan, lambda _unit: make_result((0.0, 0.4, " word"), (0.4, 9.0, " rest"), resume=0.4))
    assert len(units) == 1 + MAX_CONTINUATIONS
    assert plan.result().text == "word word word word word rest"


def test_window_without_closed_segment_is_kept() -> None:
    plan = make_plan(speech(30.0), TIMED)
    assert len(play(plan, lambda _unit: make_result((0.0, 9.0, " rest"), resume=0.0))) == 1
    assert plan.result().text == "rest"


def test_window_without_timestamps_has_no_continuation() -> None:
    plan = make_plan(speech(30.0), ENGLISH)
    assert len(play(plan, lambda _unit: make_result((0.0, 5.0, " word"), resume=5.0))) == 1


def test_vad_rest_of_noise_is_not_decoded_again() -> None:
    """The noise is as loud as speech, and would cause hallucinations."""
    file = make_map((SPEECH, 8.0), (SOUND, 16.0))
    plan = make_vad_plan(file, TIMED)
    assert len(play(plan, lambda _unit: make_result((0.0, 8.0, " one"), resume=8.0))) == 1
    for not_speech in (make_map((SPEECH, 8.0), (SOUND, 8.0), (SPEECH, 0.8)), make_map((SOUND, 24.0))):
        # There is speech in the rest; or VAD missed the decoded words and may miss the rest too.
        plan = make_vad_plan(not_speech, TIMED)
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
def test_vad_rest_of_a_window_is_decoded_again_if_it_is_speech(
    pieces: Sequence[tuple[float, float, str]], resume: float, tail: int, windows: int
) -> None:
    file = make_map((SPEECH, 8.0), (tail, 21.92))
    plan = make_vad_plan(file, TIMED)
    answers = iter([make_result(*pieces, resume=resume), make_result((0.0, 21.92, " two"), resume=21.92)])
    assert len(play(plan, lambda _unit: next(answers))) == windows
    assert plan.result().text == ("one two" if windows == 2 else "one")


def test_hallucination_in_a_continuation_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    """The model transcribes the noise between two sentences, with low confidence."""
    file = make_map((SPEECH, 8.0), (SOUND, 8.0), (SPEECH, 1.6), (SOUND, 8.0))
    plan = make_vad_plan(file, SCANNED)
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
        (SCANNED, 24.0, True),
        (replace(ENGLISH, vad=VadOptions("energy")), 40.0, False),
    ],
    ids=["a long file", "a short one", "searched", "by energy"],
)
def test_hallucination_filter_runs_on_scanned_files_only(
    options: TranscribeOptions, length: float, dropped: bool
) -> None:
    """Without VAD nothing is dropped."""
    file = make_map((SPEECH, 1.6), (SOUND, length))
    plan = make_vad_plan(file, replace(options, timestamps=True))
    play(plan, lambda _unit: make_result((0.0, 1.5, " one and so on"), (7.0, 9.0, " amen"), resume=9.0))
    assert ("amen" in plan.result().text) == (not dropped)
    assert plan.dropped == dropped
    not_speech = TranscriptionPlan(7, file, replace(options, timestamps=True), FAKE_INFO)  # without a detector
    play(not_speech, lambda _unit: make_result((7.0, 9.0, " amen"), resume=9.0))
    assert "amen" in not_speech.result().text


def test_dropped_hallucination_is_not_in_the_history() -> None:
    file = make_map((SPEECH, 20.8), (HUSH, 0.96), (SPEECH, 4.8), (SOUND, 16.0))
    plan = make_vad_plan(file, replace(CONDITIONED, timestamps=True))
    histories = []

    def model(unit: Window) -> WindowResult:
        histories.append(unit.history)
        return make_result((0.0, 2.0, " one and so on"), (10.0, 10.4, " x"), (20.0, 22.0, " ha"), resume=30.0)

    play(plan, model)
    assert histories[1] == (len(" one and so on"), len(" x"), len(" ha"))
    assert plan.dropped > 0


def test_window_with_too_little_text_is_retried_with_timestamps() -> None:
    """Three words for 20 s of speech: the model stopped early, and timestamps show where."""
    file = make_map((SPEECH, 20.0))

    def model(unit: Window) -> WindowResult:
        length = seconds(unit)
        if not unit.options.timestamps:
            return make_result((0.0, length, " no more words"), resume=length)
        resume = 9.0 if unit.start == 0 else length
        return make_result((0.0, resume, f" from {unit.start // SAMPLE_RATE}"), resume=resume)

    plan = make_vad_plan(file, replace(ENGLISH, vad=VadOptions("always")))
    assert spans(play(plan, model)) == [(0.0, 20.0), (0.0, 20.0), (9.0, 20.0)]
    assert plan.result().text == "from 0 from 9"
    for options in (ENGLISH, replace(ENGLISH, vad=VadOptions("always"), max_new_tokens=5)):
        # Not scanned by VAD; or limited by the request.
        assert len(play(make_vad_plan(file, options), model)) == 1


def test_vad_skips_music_and_detects_the_language_after_it() -> None:
    file = make_map((SOUND, 40.0), (SPEECH, 0.8), (SOUND, 24.0), (SPEECH, 24.0), (HUSH, 0.48), (SPEECH, 24.0))
    plan = make_vad_plan(file, TranscribeOptions())
    assert len(plan.chunks) == 3
    (first,) = plan.start()
    assert first.start == pytest.approx(64.5 * SAMPLE_RATE, abs=SAMPLE_RATE)
    assert plan.seconds < 60.0
