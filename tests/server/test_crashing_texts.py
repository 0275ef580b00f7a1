"""Texts that crash eSpeak NG or keep it busy, sent to a server: each ends its own request and no other."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

from antiphon.models.espeak.session import EspeakSession
from antiphon.testing.fake import FakeSession
from tests.support.http_helpers import calling, error_of, wait_until
from tests.support.sessions import load_session
from tests.support.sounds import make_audio

SPEECH, TRANSCRIPTIONS = "/v1/audio/speech", "/v1/audio/transcriptions"
CRASHES = (
    {"model": "espeak", "voice": "vi-vn-x-central", "input": "\u0960"},
    {"model": "espeak", "language": "da", "input": "]-\u0314"},
)
USUAL = {"model": "espeak", "input": "hello", "response_format": "wav"}


def test_crashing_texts_are_500_and_all_others_are_answered(start_server: Any) -> None:
    pid = os.getpid()
    server = start_server(FakeSession("fake", slots=4), load_session("espeak"))
    wav = make_audio(1.0)

    def speak(index: int) -> Any:
        return server.client.post(SPEECH, json=CRASHES[index % len(CRASHES)])

    def transcribe(_: int) -> Any:
        return server.client.post(TRANSCRIPTIONS, files={"file": ("a.wav", wav)}, data={"model": "fake"})

    with ThreadPoolExecutor(28) as threads:
        crashes, others = threads.map(speak, range(20)), threads.map(transcribe, range(8))
        assert [error_of(each, 500, param=None)["code"] for each in crashes] == ["engine_failed"] * 20
        assert [each.status_code for each in others] == [200] * 8
    assert server.client.post(SPEECH, json=USUAL).status_code == 200
    assert os.getpid() == pid


def test_a_deadline_ends_a_helper_that_hangs(start_server: Any) -> None:
    session = cast(EspeakSession, load_session("espeak"))
    server = start_server(session)
    os.kill(session.synthesiser.pid, signal.SIGSTOP)
    late = server.client.post(SPEECH, json=USUAL, headers={"x-request-timeout": "0.5"})
    error_of(late, 504, param="x-request-timeout")
    assert server.client.post(SPEECH, json=USUAL).status_code == 200


def test_a_caller_who_leaves_ends_a_helper_that_hangs(start_server: Any) -> None:
    session = cast(EspeakSession, load_session("espeak"))
    server = start_server(session)
    pid = session.synthesiser.pid
    os.kill(pid, signal.SIGSTOP)
    with calling(server, SPEECH, json.dumps(USUAL).encode()):
        wait_until(lambda: server.models.loads()[0].in_flight)
    wait_until(lambda: session.synthesiser.pid != pid)
    assert server.client.post(SPEECH, json=USUAL).status_code == 200
