"""TranscriptionPlan: chunks in, transcript out; language, progress and errors."""

from __future__ import annotations

import weakref
import zlib
from dataclasses import replace

import numpy as np
import pytest

from antiphon.errors import EngineFailed
from antiphon.testing.fake import FAKE_INFO, describe
from antiphon.transcription.plan import TranscriptionPlan
from antiphon.types.audio import SAMPLE_RATE, Samples
from antiphon.types.events import Failed, LanguageDetected, WindowFinished
from antiphon.types.options import TranscribeOptions
from antiphon.types.results import Transcript
from tests.support.transcription_plan import (
    ENGLISH,
    TIMED,
    make_plan,
    make_result,
    paused,
    play,
    silence,
    speech,
)


def test_short_file_is_one_window_without_timestamps() -> None:
    plan = make_plan(speech(3.2))
    (unit,) = play(plan, describe)
    assert not unit.options.timestamps
    assert unit.request == 7
    assert plan.result().text == "audio of 3.20 s"
    assert plan.result().duration == 3.2


def test_known_language_starts_all_chunks_concurrently() -> None:
    plan = make_plan(paused(25.0, 25.0, 25.0))
    units = plan.start()
    assert len(units) == plan.expected == 3
    for unit in reversed(units):  # the order of the results does not matter
        assert plan.receive(WindowFinished(unit, describe(unit))) == []
    starts = [segment.start for segment in plan.result().segments]
    assert starts == sorted(starts)
    assert [segment.seek for segment in plan.result().segments] == [round(unit.start / 160) for unit in units]


def test_long_file_limits_windows_in_flight_and_reads_samples_lazily() -> None:
    class Tape:
        """Samples that count how many of them have been read."""

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
        assert samples() is None  # finished windows free their samples
    assert plan.done
    assert starts == sorted(starts)
    assert len(starts) == 12


def test_silence_makes_no_window_and_an_empty_transcript() -> None:
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


def test_first_failed_window_ends_the_request() -> None:
    plan = make_plan(paused(25.0, 25.0))
    first, second = plan.start()
    error = EngineFailed("broken")
    assert plan.receive(Failed(first, error)) == []
    assert plan.done
    assert plan.receive(WindowFinished(second, describe(second))) == []
    with pytest.raises(EngineFailed, match="broken"):
        plan.result()


def test_result_before_the_end_raises() -> None:
    plan = make_plan(speech(1.0))
    plan.start()
    with pytest.raises(EngineFailed, match="bug"):
        plan.result()


def test_events_of_other_requests_are_ignored() -> None:
    plan = make_plan(speech(1.0))
    plan.start()
    stranger = make_plan(speech(1.0)).start()[0]
    assert plan.receive(WindowFinished(stranger, describe(stranger))) == []
    assert not plan.done


def test_progress_is_reported_after_each_window() -> None:
    progress_calls: list[tuple[float, float]] = []
    samples = np.concatenate([silence(100.0), paused(25.0, 45.0)])
    plan = TranscriptionPlan(
        1, samples, ENGLISH, FAKE_INFO, progress=lambda done, total: progress_calls.append((done, total))
    )
    play(plan, describe)
    assert [total for _done, total in progress_calls] == [171.0] * 3
    assert progress_calls == sorted(progress_calls)
    assert progress_calls[-1] == (171.0, 171.0)


def test_language_is_detected_in_the_first_window_with_speech() -> None:
    samples = np.concatenate([speech(0.4), silence(28.0), paused(25.0, 25.0)])
    plan = make_plan(samples, TranscribeOptions())
    (first,) = plan.start()
    assert first.start > 20 * SAMPLE_RATE
    assert first.options.language is None

    others = plan.receive(LanguageDetected(first, "es", 0.9))
    assert len(others) == 2
    assert {unit.options.language for unit in others} == {"es"}
    assert plan.receive(LanguageDetected(first, "en", 0.9)) == []  # the first detection counts
    for unit in [*others, first]:
        assert plan.receive(WindowFinished(unit, describe(unit))) == []
    assert plan.result().language == "es"


def test_language_of_the_result_is_used_without_a_detection_event() -> None:
    plan = make_plan(paused(25.0, 25.0), TranscribeOptions())
    (first,) = plan.start()
    (other,) = plan.receive(WindowFinished(first, replace(describe(first), language="es")))
    assert other.options.language == "es"
    plan.receive(WindowFinished(other, describe(other)))
    assert plan.result().language == "es"


def test_language_is_detected_in_the_first_window_if_none_has_enough_speech() -> None:
    samples = np.concatenate([speech(0.4), silence(40.0), speech(0.4)])
    (first,) = make_plan(samples, TranscribeOptions()).start()
    assert first.start == 0


def test_english_only_model_does_not_detect_a_language() -> None:
    info = replace(FAKE_INFO, languages=(), default_language="en")
    plan = TranscriptionPlan(1, paused(25.0, 25.0), TranscribeOptions(), info)
    units = play(plan, describe)
    assert [unit.options.language for unit in units] == [None, None]
    assert plan.result().language == "en"


def test_segments_are_ordered_and_inside_the_audio() -> None:
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


def test_segment_scores_are_those_of_the_window() -> None:
    plan = make_plan(speech(4.0), TIMED)
    play(plan, lambda _unit: make_result((0.0, 2.0, " la la"), (2.0, 4.0, " la la"), resume=4.0))
    text = b"la la la la"
    for segment in plan.result().segments:
        assert segment.compression_ratio == len(text) / len(zlib.compress(text))
        assert (segment.avg_logprob, segment.no_speech_prob, segment.temperature) == (-0.25, 0.01, 0.0)
        assert segment.tokens == (6,)
