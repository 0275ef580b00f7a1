"""The helper process of eSpeak NG: its death, its limits, and its end."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from antiphon.errors import ConfigError, EngineFailed
from antiphon.isolation.channel import Message
from antiphon.isolation.pool import Helper
from antiphon.models.espeak import synthesiser as synthesiser_module
from antiphon.models.espeak.session import EspeakSession
from antiphon.models.espeak.synthesiser import Limit, Limits, Synthesiser
from antiphon.types.events import AudioChunk, Failed, Sentence, SentenceFinished
from antiphon.types.options import SpeakOptions
from tests.support.drive_session import speak
from tests.support.http_helpers import wait_until
from tests.support.sessions import load_session

# Texts that crash eSpeak NG 1.52.0, with their voices.
CRASHES = (("\u0960", "vi-vn-x-central"), ("]-\u0314", "da"), ("\u24dc", "mr"))
LONG = "hello " * 50_000  # many seconds of processor time


@pytest.fixture
def session() -> EspeakSession:
    return cast(EspeakSession, load_session("espeak"))


def sentence(text: str, voice: str = "en-us") -> Sentence:
    return Sentence(0, text, voice, 0, SpeakOptions())


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def assert_speaks(session: EspeakSession) -> None:
    unit = sentence("hello")
    session.join([unit])
    assert speak(session, [unit])[-1] == SentenceFinished(unit)


def with_limits(session: EspeakSession, limits: Limits) -> EspeakSession:
    return EspeakSession(session.info, Synthesiser(limits), 4)


@pytest.mark.parametrize(("text", "voice"), CRASHES)
def test_a_crash_fails_its_sentence_and_no_other(session: EspeakSession, text: str, voice: str) -> None:
    before, crash, after = units = [sentence("one"), sentence(text, voice), sentence("two")]
    session.join(units)
    ends = [event for event in speak(session, units) if not isinstance(event, AudioChunk)]
    assert [event.unit for event in ends] == units
    assert ends[0] == SentenceFinished(before)
    assert isinstance(ends[1], Failed)
    assert ends[1].unit is crash
    assert isinstance(ends[1].error, EngineFailed)
    assert str(ends[1].error) == "eSpeak NG failed on this text."
    assert ends[2] == SentenceFinished(after)


def test_a_helper_that_dies_without_work_is_replaced(session: EspeakSession) -> None:
    pid = session.synthesiser.pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid))
    assert_speaks(session)
    assert session.synthesiser.pid != pid


def test_a_sentence_that_leaves_in_the_middle_ends_the_helper(session: EspeakSession) -> None:
    unit, waiting = sentence(LONG), sentence("two")
    session.join([unit, waiting])
    events = session.step()
    while not events:
        events = session.step()
    assert isinstance(events[0], AudioChunk)  # sound arrives long before the text is at its end
    pid = session.synthesiser.pid
    session.leave(waiting)
    assert is_alive(pid)
    session.leave(unit)
    assert not is_alive(pid)
    assert session.step() == []
    assert_speaks(session)


def test_a_step_does_not_wait_for_a_helper_that_hangs(session: EspeakSession) -> None:
    unit = sentence("hello")
    pid = session.synthesiser.pid
    os.kill(pid, signal.SIGSTOP)
    session.join([unit])
    assert session.step() == []
    session.leave(unit)
    assert not is_alive(pid)
    assert_speaks(session)


def test_a_helper_that_hangs_is_replaced_after_the_time_limit(session: EspeakSession) -> None:
    limited = with_limits(session, Limits(clock=Limit(0.0, 0.2)))  # a second for "hello"
    os.kill(limited.synthesiser.pid, signal.SIGSTOP)
    unit, after = units = [sentence("hello"), sentence("hello " * 30)]
    limited.join(units)
    failed, *_, end = speak(limited, units)
    assert isinstance(failed, Failed)
    assert failed.unit is unit
    assert end == SentenceFinished(after)


def test_processor_time_is_limited(session: EspeakSession, caplog: pytest.LogCaptureFixture) -> None:
    limited = with_limits(session, Limits(processor=Limit(0.5, 0.0), sound=Limit(3600.0, 0.0)))
    unit, after = units = [sentence(LONG), sentence("hello")]
    limited.join(units)
    events = [event for event in speak(limited, units) if not isinstance(event, AudioChunk)]
    assert isinstance(events[0], Failed)
    assert events[0].unit is unit
    assert events[-1] == SentenceFinished(after)
    assert "used all its processor time" in caplog.text
    assert "hello" not in caplog.text


def test_the_sound_of_a_sentence_is_limited(session: EspeakSession) -> None:
    limited = with_limits(session, Limits(sound=Limit(5.0, 0.0)))
    unit, after = units = [sentence("hello " * 100), sentence("hello")]
    limited.join(units)
    events = [event for event in speak(limited, units) if not isinstance(event, AudioChunk)]
    assert isinstance(events[0], Failed)
    assert events[0].unit is unit
    assert events[-1] == SentenceFinished(after)


@pytest.mark.parametrize(("kind", "size", "count"), [(b"A", 1 << 20, 1), (b"A", 8, 5000)])
def test_a_helper_that_floods_the_server_is_killed(
    session: EspeakSession, monkeypatch: pytest.MonkeyPatch, kind: bytes, size: int, count: int
) -> None:
    class Flooding(Helper):
        sent = 0

        def receive(self) -> Message:
            self.sent += 1
            return Message(kind, bytes(size)) if self.sent <= count and self.alive else super().receive()

    with monkeypatch.context() as patch:
        patch.setattr(synthesiser_module, "Helper", Flooding)
        session.synthesiser.stop()  # the next helper sends all this without a sentence
        pid = session.synthesiser.pid
        wait_until(lambda: not is_alive(pid))
    assert_speaks(session)


def test_a_helper_that_cannot_be_started_fails_the_sentence(
    session: EspeakSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(module: str) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(synthesiser_module, "Helper", refuse)
        units = [sentence(*CRASHES[0]), sentence("hello")]
        session.join(units)
        assert all(isinstance(event, Failed) for event in speak(session, units))
    assert_speaks(session)


def test_a_helper_that_ends_at_once_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesiser_module, "MODULE", "antiphon.models.espeak.missing")
    with pytest.raises(ConfigError, match="espeak: the helper process does not start"):
        Synthesiser()


def test_the_first_sentences_of_every_helper_are_the_same(session: EspeakSession) -> None:
    def samples(session: EspeakSession) -> np.ndarray:
        units = [sentence("hello"), sentence("My friend is here.", "en-us+f3"), sentence("hello")]  # f3 has noise in it
        session.join(units)
        return np.concatenate([each.samples for each in speak(session, units) if isinstance(each, AudioChunk)])

    first, began = samples(session), int(time.time())
    wait_until(lambda: int(time.time()) != began)  # the library's own seed is the time in seconds
    assert np.array_equal(first, samples(cast(EspeakSession, load_session("espeak"))))


def test_the_helper_ends_with_its_session(session: EspeakSession) -> None:
    other = load_session("espeak")
    pid = cast(EspeakSession, other).synthesiser.pid
    assert is_alive(pid)
    del other
    gc.collect()
    assert not is_alive(pid)
    assert is_alive(session.synthesiser.pid)


def test_the_helper_ends_with_the_process_that_owns_it(tmp_path: Path) -> None:
    script = tmp_path / "owner.py"
    script.write_text(
        "import sys\nfrom antiphon.models.espeak.synthesiser import Synthesiser\n"
        "kept = Synthesiser()\nprint(kept.pid, flush=True)\nsys.stdin.read()\n"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, script], text=True, **pipes) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert is_alive(pid)
        owner.kill()  # no handler and no finalizer runs
    wait_until(lambda: not is_alive(pid))


def test_the_library_is_not_loaded_into_the_process_that_speaks(tmp_path: Path) -> None:
    script = tmp_path / "speaks.py"  # without a `__main__` guard, which multiprocessing would need
    script.write_text(
        "import sys\nfrom pathlib import Path\nimport antiphon\n"
        "print(len(antiphon.load('espeak').speak('hello')) > 1000)\n"
        "print('espeakng_loader' in sys.modules, 'espeak' in Path('/proc/self/maps').read_text())\n"
    )
    command = [sys.executable, "-W", "error", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr, done.returncode) == ("True\nFalse False\n", "", 0)
