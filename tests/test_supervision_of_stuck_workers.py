"""Supervision of workers that are stuck: their models are unavailable, and in the end the process exits."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from antiphon.errors import Unavailable
from antiphon.scheduling import scheduler as scheduler_module
from antiphon.supervision import EXIT_STUCK, MAX_LOOK_S, Supervisor
from tests.support.http_helpers import Hold, wait_until
from tests.support.supervision import STALL_S, Mortal, Supervised


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture
def stuck(threads: ThreadPoolExecutor) -> Iterator[Supervised]:
    """A model whose worker has just begun a step that does not end."""
    supervised = Supervised("a")
    hold = supervised.hold = Hold()
    supervised.models.replace(Mortal("a", dying=False, hold=hold))
    threads.submit(supervised.ask)
    assert hold.reached.wait(60)
    supervised.after(1.0)
    yield supervised
    hold.go_on.set()
    supervised.models.close(drain=False)


STUCK = "The worker of a is stuck: it has done nothing for 60 s. The log has the details."


def test_stuck_worker_makes_its_model_unavailable_503(stuck: Supervised, caplog: pytest.LogCaptureFixture) -> None:
    stuck.after(STALL_S - 1.0)
    assert stuck.models.healthy
    assert not stuck.models.loads()[0].waiting
    stuck.after(1.0)
    assert not stuck.models.healthy
    assert stuck.state()[1] == STUCK
    assert stuck.state()[0] != "AVAILABLE"
    assert stuck.metric("antiphon_model_healthy") == 0
    with pytest.raises(Unavailable, match=STUCK):
        stuck.ask()
    stuck.after(STALL_S - 1.0)
    [line] = caplog.messages  # one, however often it is looked at
    assert line.startswith("a: a worker has done nothing for 60 s; after 120 s the process will exit. It is in:\n")
    assert "go_on.wait" in line
    assert stuck.exits == []


def test_worker_that_goes_on_is_healthy_again(stuck: Supervised) -> None:
    stuck.after(STALL_S)
    assert stuck.hold is not None
    stuck.hold.go_on.set()
    wait_until(lambda: stuck.models.loads()[0].in_flight == 0)
    stuck.after(1.0)
    assert stuck.models.healthy
    assert stuck.state() == ("AVAILABLE", None)
    assert stuck.ask() == "audio of 1.00 s"
    stuck.after(10 * STALL_S)  # without work
    assert stuck.models.healthy
    assert stuck.exits == []


def test_process_exits_once_after_twice_the_stall_limit(stuck: Supervised) -> None:
    began = stuck.now
    stuck.after(5 * STALL_S)
    assert stuck.exits == [began + 2 * STALL_S]


def test_stuck_worker_of_a_model_that_is_no_longer_served_counts(stuck: Supervised) -> None:
    stuck.models.replace(Mortal("a", dying=False))
    assert stuck.ask() == "audio of 1.00 s"
    stuck.after(STALL_S)
    assert not stuck.models.healthy
    stuck.after(STALL_S)
    assert len(stuck.exits) == 1


def test_stuck_worker_is_noticed_while_another_model_is_loading(stuck: Supervised) -> None:
    loading, go_on = threading.Event(), threading.Event()
    stuck.names = ["a", "b"]
    stuck.before_load = lambda: (loading.set(), go_on.wait(60))[0]  # type: ignore[func-returns-value]
    thread = threading.Thread(target=stuck.models.reload)
    thread.start()
    assert loading.wait(60)
    stuck.after(STALL_S)
    assert not stuck.models.healthy
    go_on.set()
    thread.join()


def test_time_in_which_the_process_was_suspended_does_not_count(stuck: Supervised) -> None:
    """A virtual machine that was paused, a container that was frozen: the worker stood still with everything else."""
    stuck.now += 10 * STALL_S
    stuck.supervisor.look()
    assert stuck.models.healthy
    stuck.after(STALL_S - MAX_LOOK_S - 1.0)
    assert stuck.models.healthy
    stuck.after(1.0)
    assert not stuck.models.healthy


def test_stall_seconds_0_is_no_limit(stuck: Supervised) -> None:
    stuck.supervisor = Supervisor(
        stuck.models, stall_seconds=0.0, exit=lambda _models: stuck.exits.append(stuck.now), clock=lambda: stuck.now
    )
    stuck.after(100 * STALL_S)
    assert stuck.models.healthy
    assert stuck.exits == []


def test_close_of_all_models_returns_although_a_worker_is_stuck(
    stuck: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler_module, "MAX_LAST_STEP_S", 0.05)
    stuck.models.close(timeout=0.05)
    assert not stuck.models.stopped
    assert stuck.hold is not None
    stuck.hold.go_on.set()
    wait_until(lambda: stuck.models.stopped)


def test_process_with_a_stuck_worker_answers_its_requests_and_exits_with_70() -> None:
    script = (
        "import threading\n"
        "from antiphon.model_server import ModelServer\n"
        "from antiphon.supervision import exit_process\n"
        "from antiphon.testing.fake import FakeSession\n"
        "from tests.support.scheduling import Holder, OneUnit\n"
        "def ask(scheduler):\n"
        "    try:\n"
        "        scheduler.run_blocking(OneUnit(1.0))\n"
        "    except BaseException as error:\n"
        "        print(type(error).__name__, error, flush=True)\n"
        "models, hold = ModelServer(), Holder()\n"
        "models.add(FakeSession(before_step=hold))\n"
        "with models.use(None, 'transcribe') as scheduler:\n"
        "    threading.Thread(target=ask, args=(scheduler,)).start()\n"
        "    assert hold.reached.wait(60)\n"
        "    exit_process(models)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == EXIT_STUCK == 70
    assert done.stdout == "Unavailable The server is shutting down.\n"
    assert "a worker thread is stuck" in done.stderr.lower()
