"""Which models are served, and as what: names, defaults, reload, replacement, draining and close."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from antiphon.errors import ConfigError, InvalidParameter, ModelNotFound, Unavailable
from antiphon.model_server import SPEECH_ALIASES, TRANSCRIPTION_ALIASES, ModelServer, ModelSource
from antiphon.model_spec import ModelSpec
from antiphon.models.session import AnySession
from antiphon.testing.fake import FakeSession, FakeVoice
from antiphon.types.options import SpeakOptions, TranscribeOptions
from tests.support.http_helpers import Hold, wait_until
from tests.support.service import serving, speak, transcribe
from tests.support.sounds import tone

PLAIN = TranscribeOptions()
ONE, TWO = tone(1.0, 16_000), tone(2.0, 16_000)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def states(models: ModelServer) -> dict[str, str]:
    return {model.name: model.state for model in models.states()}


def test_names_and_aliases() -> None:
    with serving(FakeSession("fake"), FakeSession("alpha"), FakeSession("whisper-1")) as service:
        models = service.models
        assert [info.name for info in models.info()] == ["fake", "alpha", "whisper-1"]
        assert models.resolve("alpha").name == "alpha"
        assert models.resolve("whisper-1").name == "whisper-1"  # a model that really has this name
        for name in (None, "", *TRANSCRIPTION_ALIASES - {"whisper-1"}):
            assert models.resolve(name).name == "fake"
        with pytest.raises(ModelNotFound, match="fake, alpha"):
            models.resolve("whisper-2")
        with pytest.raises(ValueError, match="already"):
            models.add(FakeSession("alpha"))


def test_each_task_has_a_default_model() -> None:
    with serving(FakeVoice(), FakeSession()) as service:
        models = service.models
        assert {models.resolve(name).name for name in (None, *TRANSCRIPTION_ALIASES)} == {"fake"}
        assert {models.resolve(name, "speak").name for name in (None, *SPEECH_ALIASES)} == {"fake-voice"}
        assert models.resolve("tts-1").name == "fake-voice"
        with pytest.raises(InvalidParameter, match="fake-voice' cannot transcribe"):
            transcribe(service, ONE, PLAIN, "tts-1")
        with pytest.raises(InvalidParameter, match="fake' cannot speak"):
            speak(service, "hello", SpeakOptions(), "whisper-1")
    with serving(FakeSession()) as service, pytest.raises(InvalidParameter, match="Served: fake"):
        service.models.resolve(None, "speak")


def test_requests_without_a_model_are_unavailable_or_not_found() -> None:
    with pytest.raises(Unavailable):
        ModelServer().resolve(None)
    with pytest.raises(ModelNotFound, match="Served: none"):
        ModelServer().resolve("x")


def test_removed_model_finishes_its_requests(threads: ThreadPoolExecutor) -> None:
    hold = Hold()
    with serving(FakeSession("stays"), FakeSession("leaves", slots=1, before_step=hold)) as service:
        models = service.models
        answers = [threads.submit(transcribe, service, ONE, PLAIN, "leaves") for _ in range(3)]
        assert hold.reached.wait(60)
        wait_until(lambda: sum(load.waiting + load.in_flight for load in models.loads()) == 3)
        models.remove("leaves")
        with pytest.raises(ModelNotFound, match="Served: stays"):
            transcribe(service, ONE, PLAIN, "leaves")
        assert [info.name for info in models.info()] == ["stays"]
        assert states(models) == {"stays": "AVAILABLE", "leaves": "UNLOADING"}
        hold.go_on.set()
        wait_until(lambda: states(models) == {"stays": "AVAILABLE", "leaves": "END"})
        assert [answer.result(60).text for answer in answers] == ["audio of 1.00 s"] * 3
        models.add(FakeSession("leaves"))
        assert transcribe(service, TWO, PLAIN, "leaves").text == "audio of 2.00 s"


def test_removed_model_is_freed() -> None:
    session = FakeSession("leaves")
    reference = weakref.ref(session)
    with serving(FakeSession("stays")) as service:
        service.models.add(session)
        transcribe(service, ONE, PLAIN, "leaves")
        service.models.remove("leaves")
        del session
        wait_until(lambda: gc.collect() >= 0 and reference() is None)


def test_replaced_model_finishes_its_requests(threads: ThreadPoolExecutor) -> None:
    hold = Hold()
    new = FakeSession("fake")
    with serving(FakeSession("fake", before_step=hold), FakeSession("other")) as service:
        answer = threads.submit(transcribe, service, ONE, PLAIN, "fake")
        assert hold.reached.wait(60)
        service.models.replace(new)
        assert transcribe(service, TWO, PLAIN).text == "audio of 2.00 s"  # still the default
        assert new.batches
        assert not answer.done()
        hold.go_on.set()
        assert answer.result(60).text == "audio of 1.00 s"


def test_close_waits_for_a_removed_model(threads: ThreadPoolExecutor) -> None:
    hold = Hold()
    with serving(FakeSession("leaves", before_step=hold)) as service:
        answer = threads.submit(transcribe, service, ONE, PLAIN, "leaves")
        assert hold.reached.wait(60)
        service.models.remove("leaves")
        closed = threads.submit(service.models.close)
        assert not closed.done()
        hold.go_on.set()
        closed.result(60)
        assert answer.result(60).text == "audio of 1.00 s"
        with pytest.raises(Unavailable, match="shutting down"):
            service.models.add(FakeSession("late"))


class Configured:
    """A model server over a configuration that a test changes; models named in `broken` cannot be loaded."""

    def __init__(self) -> None:
        self.specs: list[ModelSpec] = []
        self.broken: dict[str, Exception] = {}
        self.loads: list[str] = []
        self.sessions: list[AnySession] = []
        self.announced: list[str] = []
        announce = lambda sessions: self.announced.append(sessions[0].info.name)  # noqa: E731
        self.models = ModelServer(ModelSource(self.read, self.load, announce))

    def configure(self, *names: str, **details: Any) -> None:
        self.specs = [ModelSpec(name, f"/models/{name}", **details) for name in names]

    def read(self) -> list[ModelSpec]:
        if "config" in self.broken:
            raise self.broken["config"]
        return self.specs

    def load(self, spec: ModelSpec) -> tuple[AnySession, ...]:
        self.loads.append(spec.name)
        if spec.name in self.broken:
            raise self.broken[spec.name]
        self.sessions.append(FakeSession(spec.name))
        return (self.sessions[-1],)

    def states(self) -> dict[str, str]:
        return states(self.models)

    def served(self, name: str) -> int:
        """Which of the sessions that were loaded serves the name."""
        with self.models.use(name, "transcribe") as scheduler:
            return next(index for index, each in enumerate(self.sessions) if each.info is scheduler.info)


@pytest.fixture
def configured() -> Iterator[Configured]:
    configured = Configured()
    yield configured
    configured.models.close(drain=False)


def test_reload_loads_each_configured_model_once(configured: Configured) -> None:
    configured.configure("a", "b")
    assert configured.models.reload().changed
    assert configured.states() == {"a": "AVAILABLE", "b": "AVAILABLE"}
    assert not configured.models.reload().changed
    assert configured.loads == ["a", "b"]
    assert configured.announced == ["a", "b"]


def test_configured_models_are_loading_before_the_first_reload() -> None:
    source = ModelSource(lambda: [ModelSpec("a", "/models/a")], lambda spec: (FakeSession(spec.name),))
    models = ModelServer(source)
    assert states(models) == {"a": "LOADING"}
    assert models.info() == ()
    assert models.reload().changed
    assert states(models) == {"a": "AVAILABLE"}
    models.close()


def test_reload_drains_a_model_that_is_no_longer_configured_and_may_load_it_again(configured: Configured) -> None:
    models = configured.models
    configured.configure("a", "b")
    models.reload()
    configured.configure("b")
    with models.use("a", "transcribe"):  # a request that keeps it from ending
        assert models.reload().changed
        assert configured.states() == {"a": "UNLOADING", "b": "AVAILABLE"}
        assert not models.reload().changed
        configured.configure("a", "b")
        assert models.reload().changed
        assert configured.states() == {"a": "AVAILABLE", "b": "AVAILABLE"}
        assert configured.served("a") == 2
    configured.configure("b")
    models.reload()
    wait_until(lambda: configured.states() == {"a": "END", "b": "AVAILABLE"})
    assert configured.loads == ["a", "b", "a"]


@pytest.mark.parametrize("change", [{"device": "GPU"}, {"graph_text": "node {}"}, {"plugin_config": {"A": 1}}], ids=str)
def test_reload_replaces_a_changed_model(configured: Configured, change: dict[str, Any]) -> None:
    configured.configure("a")
    configured.models.reload()
    configured.configure("a", **change)
    assert configured.models.reload().changed
    assert (configured.loads, configured.served("a")) == (["a", "a"], 1)
    assert configured.states() == {"a": "AVAILABLE"}
    assert not configured.models.reload().changed


def test_broken_model_is_reported_and_the_others_are_served(
    configured: Configured, caplog: pytest.LogCaptureFixture
) -> None:
    configured.configure("a", "b")
    configured.broken["a"] = ConfigError("a/config.json: not there; fetch it.")
    with caplog.at_level(logging.ERROR):
        result = configured.models.reload()
        assert str(result.failed["a"]) == "a/config.json: not there; fetch it."
        assert configured.states() == {"a": "LOADING", "b": "AVAILABLE"}
        assert configured.models.states()[0].error == "a/config.json: not there; fetch it."
        assert configured.models.reload().failed  # an explicit reload tries again
        assert not configured.models.reload(retry=False).changed  # nothing has changed
    assert caplog.messages == ["a is not served: a/config.json: not there; fetch it."]
    assert configured.loads == ["a", "b", "a"]
    configured.configure("b")
    configured.models.reload()
    assert configured.states() == {"a": "END", "b": "AVAILABLE"}


def test_broken_model_is_retried_once_its_files_change(configured: Configured, tmp_path: Path) -> None:
    configured.specs = [ModelSpec("a", str(tmp_path))]
    configured.broken["a"] = RuntimeError("half of it is missing")
    assert "Cannot load" in str(configured.models.reload(retry=False).failed["a"])
    assert not configured.models.reload(retry=False).changed
    (tmp_path / "the-other-half").touch()
    del configured.broken["a"]
    assert configured.models.reload(retry=False).changed
    assert configured.states() == {"a": "AVAILABLE"}


def test_model_whose_change_fails_to_load_is_served_as_it_was(
    configured: Configured, caplog: pytest.LogCaptureFixture
) -> None:
    configured.configure("a")
    configured.models.reload()
    configured.configure("a", device="GPU")
    configured.broken["a"] = ConfigError("no GPU")
    assert configured.models.reload().failed
    assert configured.served("a") == 0
    [state] = configured.models.states()
    assert (state.state, state.error) == ("AVAILABLE", "no GPU")
    assert caplog.messages == ["a is served as it was: no GPU"]


def test_unreadable_configuration_changes_nothing(configured: Configured) -> None:
    configured.configure("a")
    configured.models.reload()
    configured.broken["config"] = ConfigError("config.json: not valid JSON.")
    with pytest.raises(ConfigError, match="not valid JSON"):
        configured.models.reload()
    assert configured.states() == {"a": "AVAILABLE"}


def test_watch_reloads_and_logs_an_unreadable_configuration_once(
    configured: Configured, caplog: pytest.LogCaptureFixture
) -> None:
    configured.configure("a")
    configured.models.reload()
    configured.models.watch(0.001)
    configured.broken["config"] = ConfigError("config.json: not valid JSON.")
    wait_until(lambda: bool(caplog.messages))
    configured.configure("a", "b")
    del configured.broken["config"]
    wait_until(lambda: configured.states().get("b") == "AVAILABLE")
    configured.models.close()
    assert caplog.messages == ["The models served stay as they are: config.json: not valid JSON."]


def test_error_of_the_only_model_is_left_to_the_caller(
    configured: Configured, caplog: pytest.LogCaptureFixture
) -> None:
    configured.configure("a")
    configured.broken["a"] = ConfigError("not there")
    assert configured.models.reload().failed
    assert not caplog.messages
