"""Supervision of workers that die: their models are unavailable, and loaded again after waiting times."""

from __future__ import annotations

import gc
import logging
import threading
import weakref
from collections.abc import Callable, Iterator

import pytest

from antiphon.errors import ConfigError, ModelNotFound, Unavailable
from antiphon.model_server import ModelServer
from antiphon.scheduling import scheduler as scheduler_module
from antiphon.supervision import FORGET_DEATH_S, RESTORE_AFTER_S, Supervisor
from tests.support.http_helpers import wait_until
from tests.support.supervision import STALL_S, Mortal, Supervised


@pytest.fixture
def supervised() -> Iterator[Supervised]:
    supervised = Supervised("a")
    yield supervised
    supervised.models.close(drain=False)


DIED = "The worker of a died; the log has the details."


def test_dead_worker_makes_its_model_unavailable_503_at_once(supervised: Supervised) -> None:
    assert supervised.models.healthy
    supervised.die()
    assert not supervised.models.healthy
    assert supervised.state() == ("LOADING", DIED)
    assert supervised.metric("antiphon_model_healthy") == 0
    with pytest.raises(Unavailable, match=DIED) as refused:
        supervised.ask()
    assert refused.value.retry_after > 0
    with pytest.raises(Unavailable):
        supervised.models.check_room("transcribe")


def test_model_of_a_dead_worker_is_loaded_again_at_the_next_look(supervised: Supervised) -> None:
    supervised.die()
    supervised.dying = False
    supervised.after(1.0)
    assert supervised.loads == [0.0, 1.0]
    assert supervised.models.healthy
    assert supervised.state() == ("AVAILABLE", None)
    assert supervised.ask() == "audio of 1.00 s"
    assert supervised.metric("antiphon_model_healthy") == 1
    assert supervised.metric("antiphon_worker_restarts_total") == 1
    supervised.after(1_000.0)
    assert supervised.loads == [0.0, 1.0]


def test_other_models_answer_meanwhile() -> None:
    supervised = Supervised("a", "b")
    supervised.broken = ConfigError("no memory")
    supervised.die("a")
    supervised.after(1.0)
    with supervised.models.use("b", "transcribe") as scheduler:
        assert scheduler.failure is None
    assert supervised.state("b") == ("AVAILABLE", None)
    assert not supervised.models.healthy
    supervised.models.close(drain=False)


def test_waiting_time_grows_with_each_death(supervised: Supervised) -> None:
    for _ in range(6):
        supervised.die()
        before = len(supervised.loads)
        while len(supervised.loads) == before:
            supervised.after(1.0)
    gaps = [later - earlier for earlier, later in zip(supervised.loads[1:], supervised.loads[2:], strict=False)]
    assert [round(gap) for gap in gaps] == [6, 31, 301, 301, 301]  # from one look to the next, and the waiting time
    assert [wait + 1.0 for wait in (*RESTORE_AFTER_S[1:], *RESTORE_AFTER_S[-1:] * 2)] == gaps


def test_waiting_time_grows_with_each_load_that_fails(supervised: Supervised, caplog: pytest.LogCaptureFixture) -> None:
    supervised.broken = ConfigError("no memory")
    supervised.die()
    with caplog.at_level(logging.ERROR, "antiphon.model_server"):
        caplog.clear()
        supervised.after(100.0)
    assert supervised.loads == [0.0, 1.0, 7.0, 38.0]
    assert supervised.state() == ("LOADING", "no memory")
    assert [text for text in caplog.messages if "not served" in text] == ["a is not served: no memory"]
    with pytest.raises(Unavailable, match=DIED):
        supervised.ask()
    assert supervised.metric("antiphon_worker_restarts_total") == 0
    supervised.broken, supervised.dying = None, False
    supervised.after(300.0)
    assert supervised.state() == ("AVAILABLE", None)
    assert supervised.ask() == "audio of 1.00 s"
    assert supervised.metric("antiphon_worker_restarts_total") == 1


def test_waiting_times_start_anew_after_a_long_time_without_a_death(supervised: Supervised) -> None:
    for _ in range(2):
        supervised.die()
        supervised.after(10.0)
    assert len(supervised.loads) == 3
    supervised.after(FORGET_DEATH_S)
    supervised.die()
    supervised.after(1.0)
    assert len(supervised.loads) == 4


def test_reload_loads_the_model_of_a_dead_worker_at_once(supervised: Supervised) -> None:
    supervised.broken = ConfigError("no memory")
    supervised.die()
    supervised.after(100.0)
    supervised.broken, supervised.dying = None, False
    assert not supervised.models.reload(retry=False).changed  # as the watch of config.json does
    assert supervised.models.reload().changed
    assert supervised.ask() == "audio of 1.00 s"
    assert supervised.metric("antiphon_worker_restarts_total") == 1
    assert not supervised.models.reload().changed
    supervised.after(1_000.0)
    assert len(supervised.loads) == 5


def test_death_after_a_reload_waits_again(supervised: Supervised) -> None:
    """Else each of many deaths, with reloads between them, would load the model at once."""
    supervised.broken = ConfigError("no memory")
    supervised.die()
    supervised.after(2.0)  # the second attempt is due in 5 s
    supervised.broken = None
    assert supervised.models.reload().changed
    supervised.after(60.0)
    loads = len(supervised.loads)
    supervised.die()
    supervised.after(1.0)
    assert len(supervised.loads) == loads


def test_polling_does_not_load_the_model_of_a_dead_worker(supervised: Supervised) -> None:
    supervised.die()
    assert not supervised.models.reload(retry=False).changed
    assert supervised.models.reload().changed


def test_attempt_whose_thread_cannot_start_is_made_again(supervised: Supervised) -> None:
    attempts: list[object] = []

    def launch(task: Callable[[], None]) -> None:
        attempts.append(task)
        if len(attempts) == 1:
            raise RuntimeError("can't start new thread")
        task()

    supervisor = Supervisor(
        supervised.models, stall_seconds=0.0, exit=lambda _: None, clock=lambda: supervised.now, launch=launch
    )
    supervised.die()
    supervised.dying = False
    with pytest.raises(RuntimeError, match="start new thread"):
        supervisor.look()
    for _ in range(2):
        supervisor.look()
        supervised.now += RESTORE_AFTER_S[1]
    assert supervised.ask() == "audio of 1.00 s"


def test_removed_model_is_not_loaded_again(supervised: Supervised) -> None:
    supervised.die()
    supervised.names = []
    supervised.models.reload()
    supervised.after(100.0)
    assert supervised.loads == [0.0]
    wait_until(lambda: supervised.state()[0] == "END")
    with pytest.raises(ModelNotFound):
        supervised.ask()
    assert supervised.models.healthy


def test_dead_session_is_released_before_its_model_is_loaded(
    supervised: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be no memory for both."""
    monkeypatch.setattr(scheduler_module.logger, "disabled", True)  # pytest keeps the traceback with all its variables
    with supervised.models.use("a", "transcribe") as scheduler:
        reference = weakref.ref(scheduler._workers[0]._session)
    supervised.die()
    alive: list[bool] = []
    supervised.before_load = lambda: alive.append(gc.collect() < 0 or reference() is not None)
    supervised.after(1.0)
    assert alive == [False]


def test_session_that_was_handed_in_stays_failed() -> None:
    supervised = Supervised()
    supervised.models.add(Mortal("a", dying=True))
    supervised.die()
    supervised.after(1_000.0)
    assert supervised.state() == ("END", DIED)
    assert not supervised.models.healthy
    assert supervised.loads == []
    supervised.models.replace(Mortal("a", dying=False))
    assert supervised.ask() == "audio of 1.00 s"
    assert supervised.models.healthy
    supervised.models.close(drain=False)


def test_look_that_fails_does_not_end_the_supervision(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[None] = []

    def look(_self: Supervisor) -> None:
        looks.append(None)
        raise RuntimeError("a bug")

    monkeypatch.setattr(Supervisor, "look", look)
    monkeypatch.setattr("antiphon.supervision.LOOK_EVERY_S", 0.001)
    models = ModelServer()
    Supervisor(models, stall_seconds=STALL_S, exit=lambda _models: None).start()
    wait_until(lambda: len(looks) > 2)
    models.close()
    wait_until(lambda: not [each for each in threading.enumerate() if each.name == "antiphon-supervising"])
