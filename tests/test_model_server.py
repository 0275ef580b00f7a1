"""What is served follows what is wanted; what cannot be loaded takes nothing else with it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from antiphon.errors import ConfigError
from antiphon.model_server import Pool
from antiphon.model_spec import ModelSpec
from antiphon.models.session import AnySession
from antiphon.testing.fake import FakeSession


class Host:
    """Remembers what it was told; a model that leaves is drained once `let_go` is set."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.let_go = threading.Event()

    def load(self, session: AnySession) -> None:
        self.told.append(f"load {session.info.name}")

    def replace(self, session: AnySession) -> Callable[[], None]:
        self.told.append(f"replace {session.info.name}")
        return self.drain

    def withdraw(self, name: str) -> Callable[[], None]:
        self.told.append(f"withdraw {name}")
        return self.drain

    def drain(self) -> None:
        self.let_go.wait()


class Desk:
    """What is wanted, and which of it cannot be loaded."""

    def __init__(self) -> None:
        self.wanted: list[ModelSpec] = []
        self.broken: dict[str, Exception] = {}
        self.loads: list[str] = []
        self.host = Host()
        self.announced: list[str] = []
        self.pool = Pool(self.host, self.read, self.load, lambda session: self.announced.append(session.info.name))

    def want(self, *names: str, **details: Any) -> None:
        self.wanted = [ModelSpec(name, f"/models/{name}", **details) for name in names]

    def read(self) -> list[ModelSpec]:
        if "config" in self.broken:
            raise self.broken["config"]
        return self.wanted

    def load(self, wanted: ModelSpec) -> AnySession:
        self.loads.append(wanted.name)
        if wanted.name in self.broken:
            raise self.broken[wanted.name]
        return FakeSession(wanted.name)

    def states(self) -> dict[str, str]:
        return {each.name: each.state for each in self.pool.states()}


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.host.let_go.set()  # no thread waits on into the tests that follow


def wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until
        time.sleep(0.001)


def test_what_is_wanted_is_served_once(desk: Desk) -> None:
    desk.want("a", "b")
    assert desk.pool.reload().changed
    assert desk.states() == {"a": "AVAILABLE", "b": "AVAILABLE"}
    assert not desk.pool.reload().changed
    assert desk.host.told == ["load a", "load b"]
    assert desk.announced == ["a", "b"]


def test_what_is_wanted_no_more_is_drained_and_may_come_again(desk: Desk) -> None:
    desk.want("a", "b")
    desk.pool.reload()
    desk.want("b")
    assert desk.pool.reload().changed
    assert desk.states() == {"a": "UNLOADING", "b": "AVAILABLE"}
    assert not desk.pool.reload().changed
    desk.want("a", "b")
    assert desk.pool.reload().changed  # while the old one still has requests inside
    desk.host.let_go.set()
    desk.want("b")
    desk.pool.reload()
    wait_until(lambda: desk.states() == {"a": "END", "b": "AVAILABLE"})
    assert desk.host.told == ["load a", "load b", "withdraw a", "load a", "withdraw a"]


@pytest.mark.parametrize("change", [{"device": "GPU"}, {"graph_text": "node {}"}, {"plugin_config": {"A": 1}}], ids=str)
def test_a_changed_model_takes_the_place_of_the_old_one(desk: Desk, change: dict[str, Any]) -> None:
    desk.want("a")
    desk.pool.reload()
    desk.want("a", **change)
    assert desk.pool.reload().changed
    assert desk.host.told == ["load a", "replace a"]
    assert desk.states() == {"a": "AVAILABLE"}


def test_a_broken_model_is_told_of_and_the_others_are_served(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.want("a", "b")
    desk.broken["a"] = ConfigError("a/config.json: not there; fetch it.")
    with caplog.at_level(logging.ERROR):
        outcome = desk.pool.reload()
        assert str(outcome.failed["a"]) == "a/config.json: not there; fetch it."
        assert desk.states() == {"a": "LOADING", "b": "AVAILABLE"}
        assert desk.pool.states()[0].error == "a/config.json: not there; fetch it."
        assert desk.pool.reload().failed  # asked for, so it is tried again
        assert not desk.pool.reload(patient=True).changed  # nothing has changed
    assert caplog.messages == ["a is not served: a/config.json: not there; fetch it."]
    assert desk.loads == ["a", "b", "a"]
    desk.want("b")
    desk.pool.reload()
    assert desk.states() == {"a": "END", "b": "AVAILABLE"}
    assert desk.host.told == ["load b"]


def test_a_broken_model_is_tried_again_once_its_files_change(desk: Desk, tmp_path: Path) -> None:
    desk.wanted = [ModelSpec("a", str(tmp_path))]
    desk.broken["a"] = RuntimeError("half of it is missing")
    assert "Cannot load" in str(desk.pool.reload(patient=True).failed["a"])
    assert not desk.pool.reload(patient=True).changed
    (tmp_path / "the-other-half").touch()
    del desk.broken["a"]
    assert desk.pool.reload(patient=True).changed
    assert desk.states() == {"a": "AVAILABLE"}


def test_a_model_that_breaks_is_served_as_it_was(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.want("a")
    desk.pool.reload()
    desk.want("a", device="GPU")
    desk.broken["a"] = ConfigError("no GPU")
    assert desk.pool.reload().failed
    assert desk.host.told == ["load a"]
    [state] = desk.pool.states()
    assert (state.state, state.error) == ("AVAILABLE", "no GPU")
    assert caplog.messages == ["a is served as it was: no GPU"]


def test_what_cannot_be_read_changes_nothing(desk: Desk) -> None:
    desk.want("a")
    desk.pool.reload()
    desk.broken["config"] = ConfigError("config.json: not valid JSON.")
    with pytest.raises(ConfigError, match="not valid JSON"):
        desk.pool.reload()
    assert desk.states() == {"a": "AVAILABLE"}


def test_watching(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.want("a")
    desk.pool.reload()
    desk.pool.watch(0.001)
    desk.broken["config"] = ConfigError("config.json: not valid JSON.")
    wait_until(lambda: bool(caplog.messages))
    desk.want("a", "b")
    del desk.broken["config"]
    wait_until(lambda: desk.states().get("b") == "AVAILABLE")
    desk.pool.close()
    assert caplog.messages == ["What is served stays as it is: config.json: not valid JSON."]


def test_the_only_model_is_for_whoever_starts_to_tell(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    desk.want("a")
    desk.broken["a"] = ConfigError("not there")
    assert desk.pool.reload().failed
    assert not caplog.messages
