"""GET /metrics on a real server: every request is counted once, under its model and outcome."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from antiphon.errors import ConfigError
from antiphon.testing.fake import FakeSession, FakeVoice
from tests.support.http_helpers import Hold, calling, error_of, wait_until
from tests.support.prometheus_parse import families, value
from tests.support.sounds import encode, make_audio, tone

TEXT = "This is a sentence of fifty characters, and it is."
OUTCOMES = ("accepted", "rejected", "success", "fail")


def metrics(server: Any) -> str:
    response = server.client.get("/metrics")
    assert response.status_code == 200
    return str(response.text)


def counts(server: Any, name: str, method: str = "Unary") -> dict[str, float]:
    text = metrics(server)
    return {each: value(text, f"ovms_requests_{each}", name=name, method=method) for each in OUTCOMES}


def outcome(accepted: int = 0, rejected: int = 0, success: int = 0, fail: int = 0) -> dict[str, int]:
    return {"accepted": accepted, "rejected": rejected, "success": success, "fail": fail}


def transcribe(server: Any, *, seconds: float = 1.0, file: bytes | None = None, **fields: str) -> httpx.Response:
    files = {"file": ("a.wav", make_audio(seconds) if file is None else file)}
    response: httpx.Response = server.client.post("/v3/audio/transcriptions", files=files, data=fields)
    return response


def speak(server: Any, **fields: Any) -> httpx.Response:
    response: httpx.Response = server.client.post("/v3/audio/speech", json={"input": TEXT, **fields})
    return response


@pytest.fixture
def server(start_server: Any) -> Any:
    return start_server(FakeSession("ears", slots=4), FakeVoice("mouth"), metrics_enable=True)


def test_metrics_parse_as_prometheus_text(server: Any) -> None:
    response = server.client.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = families(response.text)
    assert {"ovms_requests_success", "ovms_request_time_us", "antiphon_batch_units"} <= set(found)


def test_metrics_are_404_without_the_flag(start_server: Any) -> None:
    server = start_server(FakeSession("ears"))
    assert transcribe(server).status_code == 200
    error = error_of(server.client.get("/metrics"), 404, param=None)
    assert "the setting metrics_enable turns them on" in error["message"]


def test_metrics_need_the_key(start_server: Any, tmp_path: Path) -> None:
    """A request refused with 401 is counted under no model."""
    key = tmp_path / "key"
    key.write_text("sesame\n")
    server = start_server(FakeSession("ears"), metrics_enable=True, api_key_file=key)
    assert transcribe(server).status_code == 401
    assert server.client.get("/metrics").status_code == 401
    server.client.headers["authorization"] = "Bearer sesame"
    assert counts(server, "ears") == outcome()
    assert value(metrics(server), "antiphon_requests_total", task="transcriptions", status="401") == 1


def test_counters_are_zero_at_start(server: Any) -> None:
    for name in ("ears", "mouth"):
        for method in ("Unary", "Stream"):
            assert counts(server, name, method) == outcome()


def test_transcription_is_counted(server: Any) -> None:
    before = time.perf_counter()
    assert transcribe(server, seconds=25.0).status_code == 200
    took = (time.perf_counter() - before) * 1e6
    text = metrics(server)
    assert counts(server, "ears") == outcome(accepted=1, success=1)
    assert counts(server, "mouth") == outcome()
    assert value(text, "ovms_responses", name="ears", method="Unary") == 1
    assert value(text, "antiphon_requests_total", task="transcriptions", status="200") == 1
    assert value(text, "antiphon_audio_heard_seconds_total", name="ears") == pytest.approx(25.0)
    assert value(text, "antiphon_units_total", name="ears", outcome="done") == 1
    assert value(text, "antiphon_batch_units_count", name="ears") == 3  # the fake takes a step for each ten seconds
    assert value(text, "antiphon_batch_units_sum", name="ears") == 3
    whole = value(text, "ovms_request_time_us_sum", name="ears")
    processing = value(text, "ovms_graph_processing_time_us_sum", name="ears", method="Unary")
    waiting = value(text, "ovms_wait_for_infer_req_time_us_sum", name="ears")
    working = value(text, "ovms_inference_time_us_sum", name="ears")
    assert 0 < waiting + working < processing < whole < took
    for each in ("ovms_wait_for_infer_req_time_us", "ovms_inference_time_us", "ovms_request_time_us"):
        assert value(text, f"{each}_count", name="ears") == 1


def test_skipped_silence_counts(start_server: Any) -> None:
    """A tone, 90 s of silence, a tone: the silence is in no window."""
    server = start_server(FakeSession("ears", slots=4), metrics_enable=True, vad="energy")
    sound = np.concatenate([tone(5.0, 16_000), np.zeros(90 * 16_000, np.float32), tone(5.0, 16_000)])
    assert transcribe(server, file=encode(sound[None], 16_000)).status_code == 200
    text = metrics(server)
    assert value(text, "antiphon_audio_heard_seconds_total", name="ears") == pytest.approx(100.0)
    assert 50 < value(text, "antiphon_audio_skipped_seconds_total", name="ears") < 91
    assert value(text, "antiphon_units_total", name="ears", outcome="done") == 2
    assert value(text, "ovms_wait_for_infer_req_time_us_count", name="ears") == 1  # a request waits once


def test_speech_is_counted(server: Any) -> None:
    assert speak(server).status_code == 200
    text = metrics(server)
    assert counts(server, "mouth") == outcome(accepted=1, success=1)
    assert value(text, "ovms_responses", name="mouth", method="Unary") == 1
    assert value(text, "antiphon_audio_spoken_seconds_total", name="mouth") == pytest.approx(len(TEXT) * 0.01)
    assert value(text, "antiphon_first_audio_seconds_count", name="mouth") == 1
    assert value(text, "antiphon_requests_total", task="speech", status="200") == 1


def test_stream_counts_its_events(server: Any) -> None:
    response = speak(server, stream_format="sse")
    events = response.text.count("data: ")
    assert events > 1
    text = metrics(server)
    assert counts(server, "mouth", "Stream") == outcome(accepted=1, success=1)
    assert counts(server, "mouth", "Unary") == outcome()
    assert value(text, "ovms_responses", name="mouth", method="Stream") == events
    assert value(text, "ovms_graph_processing_time_us_count", name="mouth", method="Stream") == 1
    assert value(text, "antiphon_first_audio_seconds_count", name="mouth") == 1


@pytest.mark.parametrize(
    "ask",
    [
        lambda server: transcribe(server, file=b"junk"),
        lambda server: transcribe(server, temperature="hot"),
        lambda server: transcribe(server, language="klingon"),
        lambda server: transcribe(server, response_format="docx"),
    ],
)
def test_invalid_transcription_request_counts_as_failure(server: Any, ask: Callable[[Any], httpx.Response]) -> None:
    assert ask(server).status_code == 400
    text = metrics(server)
    assert counts(server, "ears") == outcome(accepted=1, fail=1)
    assert value(text, "ovms_graph_error", name="ears", method="Unary") == 1
    assert value(text, "ovms_responses", name="ears") == 0
    assert (
        value(text, "ovms_request_time_us_count", name="ears") == 0
    )  # many of them would otherwise look like high speed
    assert value(text, "ovms_current_requests", name="ears") == 0
    assert value(text, "antiphon_requests_total", task="transcriptions", status="400") == 1


@pytest.mark.parametrize(
    "fields", [{"speed": 9}, {"voice": "unknown"}, {"input": ""}, {"stream_format": "tape"}], ids=str
)
def test_invalid_speech_request_counts_as_failure(server: Any, fields: dict[str, Any]) -> None:
    assert speak(server, **fields).status_code == 400
    assert counts(server, "mouth") == outcome(accepted=1, fail=1)
    assert value(metrics(server), "antiphon_first_audio_seconds_count", name="mouth") == 0


def test_unknown_model_404_is_counted_by_status_alone(server: Any) -> None:
    """Names sent by clients must not become labels."""
    assert transcribe(server, model="klingon").status_code == 404
    assert speak(server, model="klingon").status_code == 404
    text = metrics(server)
    assert "klingon" not in text
    assert value(text, "antiphon_requests_total", status="404") == 2


def test_alias_counts_for_its_model(server: Any) -> None:
    assert transcribe(server, model="whisper-1").status_code == 200
    assert server.client.post("/v1//audio/speech/", json={"input": TEXT, "model": "tts-1"}).status_code == 200
    assert counts(server, "ears") == outcome(accepted=1, success=1)
    assert counts(server, "mouth") == outcome(accepted=1, success=1)


def test_failing_model_counts(start_server: Any) -> None:
    server = start_server(FakeSession("ears", step_fails=lambda _unit: True), metrics_enable=True)
    assert transcribe(server).status_code == 500
    assert counts(server, "ears") == outcome(accepted=1, fail=1)
    text = metrics(server)
    assert value(text, "antiphon_units_total", name="ears", outcome="failed") == 1
    assert value(text, "antiphon_units_total", name="ears", outcome="done") == 0
    assert value(text, "antiphon_audio_heard_seconds_total", name="ears") == 0


def test_error_in_a_stream_counts_as_failure(start_server: Any) -> None:
    steps: list[int] = []

    def slow() -> None:
        steps.append(1)
        time.sleep(0.1)  # so that the first chunk is on its way before the second step fails

    voice = FakeVoice("mouth", before_step=slow, step_fails=lambda _unit: len(steps) % 2 == 0)
    server = start_server(voice, metrics_enable=True)
    assert speak(server, stream_format="sse", response_format="wav").status_code == 200
    assert counts(server, "mouth", "Stream") == outcome(accepted=1, fail=1)
    with pytest.raises(httpx.RemoteProtocolError):
        speak(server, response_format="wav")
    wait_until(lambda: counts(server, "mouth") == outcome(accepted=1, fail=1))


def test_full_queue_429_counts_as_rejected(start_server: Any) -> None:
    hold = Hold()
    server = start_server(FakeSession("ears", slots=1, before_step=hold), max_waiting=1, metrics_enable=True)
    with ThreadPoolExecutor(2) as pool:
        try:
            waiting = [pool.submit(transcribe, server)]
            assert hold.reached.wait(60)
            waiting.append(pool.submit(transcribe, server))
            wait_until(lambda: value(metrics(server), "antiphon_queue_units", name="ears") == 1)
            assert transcribe(server).status_code == 429
            assert counts(server, "ears") == outcome(rejected=1)
            text = metrics(server)
            assert value(text, "ovms_current_requests", name="ears") == 2
            assert value(text, "ovms_current_graphs", name="ears") == 2
            assert value(text, "antiphon_units_in_flight", name="ears") == 1
            assert value(text, "antiphon_slots", name="ears") == 1
            assert value(text, "antiphon_refused_total", name="ears", reason="units") == 1
            assert 0 < value(text, "antiphon_queue_seconds", name="ears") < 5
        finally:
            hold.go_on.set()
        assert [each.result().status_code for each in waiting] == [200, 200]
    text = metrics(server)
    assert counts(server, "ears") == outcome(accepted=2, rejected=1, success=2)
    for each in ("ovms_current_requests", "ovms_current_graphs", "antiphon_queue_units"):
        assert value(text, each, name="ears") == 0
    assert value(text, "antiphon_requests_total", status="429") == 1
    assert value(text, "ovms_wait_for_infer_req_time_us_count", name="ears") == 2


@pytest.mark.parametrize("after_first_byte", [False, True])
def test_disconnect_counts_as_failure_and_leaves_nothing_in_flight(start_server: Any, after_first_byte: bool) -> None:
    hold = Hold(at=1 + after_first_byte)
    server = start_server(FakeVoice("mouth", slots=1, chunks=1000, before_step=hold), metrics_enable=True)
    body = json.dumps({"input": TEXT, "response_format": "pcm"}).encode()
    with calling(server, "/v1/audio/speech", body) as connection:
        assert hold.reached.wait(60)
        if after_first_byte:
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        assert value(metrics(server), "ovms_current_requests", name="mouth") == 1
    wait_until(lambda: value(metrics(server), "ovms_current_requests", name="mouth") == 0)
    hold.go_on.set()
    wait_until(lambda: value(metrics(server), "antiphon_units_in_flight", name="mouth") == 0)
    assert counts(server, "mouth") == outcome(accepted=1, fail=1)
    text = metrics(server)
    assert value(text, "antiphon_requests_total", status="200" if after_first_byte else "499") == 1
    assert value(text, "ovms_inference_time_us_count", name="mouth") == 1


def test_503_while_loading_is_counted(start_server: Any) -> None:
    server = start_server(FakeSession("ears"), loaded=False, metrics_enable=True)
    assert transcribe(server).status_code == 503
    assert value(metrics(server), "antiphon_requests_total", task="transcriptions", status="503") == 1
    server.app.state.server.open()
    assert transcribe(server).status_code == 200
    assert counts(server, "ears") == outcome(accepted=1, success=1)


def test_added_model_is_counted_and_removed_model_has_no_gauges(server: Any) -> None:
    server.models.add(FakeSession("late"))
    assert transcribe(server, model="late").status_code == 200
    text = metrics(server)
    assert value(text, "antiphon_batch_units_count", name="late") == 1
    assert value(text, "antiphon_slots", name="late") == 4
    server.models.remove("late")
    wait_until(lambda: "END" in {each.state for each in server.models.states()})
    text = metrics(server)
    assert 'antiphon_slots{name="late"}' not in text
    assert counts(server, "late") == outcome(accepted=1, success=1)


def test_metrics_list_limits_what_is_shown(start_server: Any) -> None:
    listed = "ovms_infer_req_active, antiphon_requests_total"
    server = start_server(FakeSession("ears"), metrics_enable=True, metrics_list=listed)
    assert transcribe(server).status_code == 200
    assert set(families(metrics(server))) == {"ovms_infer_req_active", "antiphon_requests"}


def test_config_json_can_enable_metrics(start_server: Any, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    block = {"enable": True, "metrics_list": ["ovms_requests_success"]}
    config.write_text(json.dumps({"model_config_list": [], "monitoring": {"metrics": block}}))
    server = start_server(FakeSession("ears"), config_path=config)
    assert set(families(metrics(server))) == {"ovms_requests_success"}


def test_unknown_metric_is_a_config_error(start_server: Any) -> None:
    with pytest.raises(ConfigError, match="metrics_list: there is no metric 'ovms_hope'"):
        start_server(FakeSession("ears"), metrics_enable=True, metrics_list="ovms_hope")


def test_post_metrics_is_405(server: Any) -> None:
    assert error_of(server.client.post("/metrics"), 405, param=None)["code"] == "method_not_allowed"
