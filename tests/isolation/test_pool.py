"""Helper processes: messages, deaths, limits, and what a helper may not do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from antiphon.isolation.pool import Helper, HelperDied, HelperPool

MODULE = "tests.support.helper_process"
READER = "tests.support.helper_reader"
LINUX = sys.platform == "linux"


@pytest.fixture
def pool() -> Iterator[HelperPool]:
    pool = HelperPool(MODULE, 1)
    yield pool
    pool.close()


def ask(helper: Helper, kind: bytes, payload: bytes = b"") -> bytes:
    helper.send(kind, payload)
    return helper.receive().payload


def wait_until_gone(pid: int) -> None:
    """Wait for a process that is not a child of this one."""
    deadline = time.monotonic() + 30
    while runs(pid):
        assert time.monotonic() < deadline, f"The process {pid} is still there."
        time.sleep(0.02)


def runs(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return (
                file.read().rpartition(")")[2].split()[0] != "Z"
            )  # a container may have no process that collects them
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("size", [0, 1, 100_000, 3 << 20])
def test_helper_echoes_messages_of_any_size(pool: HelperPool, size: int) -> None:
    data = os.urandom(size)
    with pool.use() as helper:
        assert ask(helper, b"e", data) == data


def test_output_of_a_library_does_not_reach_the_channel(pool: HelperPool) -> None:
    with pool.use() as helper:
        helper.send(b"o")
        assert helper.receive().kind == b"o"


def test_crash_by_a_signal_is_reported_and_the_helper_replaced(pool: HelperPool) -> None:
    with pytest.raises(HelperDied) as caught, pool.use() as helper:
        ask(helper, b"c")
    assert caught.value.status == -signal.SIGSEGV
    assert not caught.value.out_of_time
    with pool.use() as other:
        assert other.pid != helper.pid
        assert ask(other, b"e", b"still here") == b"still here"


def test_helper_that_hangs_is_killed_from_another_thread(pool: HelperPool) -> None:
    def hang() -> None:
        with pool.use() as helper:
            timer = threading.Timer(0.05, helper.kill)
            timer.start()
            ask(helper, b"h")

    with pytest.raises(HelperDied) as caught:
        hang()
    assert caught.value.status == -signal.SIGKILL


def test_helper_whose_task_raised_is_replaced(pool: HelperPool) -> None:
    """Its channel may hold half a conversation."""
    with pytest.raises(ValueError, match="of the caller"), pool.use() as helper:
        raise ValueError("of the caller")
    with pool.use() as other:
        assert other.pid != helper.pid


def test_helper_that_died_while_idle_is_replaced(pool: HelperPool) -> None:
    with pool.use() as helper:
        pass
    helper.kill()
    os.waitid(os.P_PID, helper.pid, os.WEXITED | os.WNOWAIT)
    with pool.use() as other:
        assert ask(other, b"e", b"x") == b"x"


def test_oversized_message_ends_the_helper(pool: HelperPool) -> None:
    with pytest.raises(HelperDied), pool.use() as helper:
        ask(helper, b"b")


@pytest.mark.skipif(not LINUX, reason="only Linux limits the memory of a process")
def test_memory_of_a_task_is_limited(pool: HelperPool) -> None:
    with pool.use() as helper:
        assert ask(helper, b"m", b"32") == str(32 << 20).encode()
        assert ask(helper, b"m", b"256") == b"MemoryError"
        assert ask(helper, b"m", b"32") == str(32 << 20).encode()


def test_processor_time_of_a_task_is_limited(pool: HelperPool) -> None:
    with pytest.raises(HelperDied) as caught, pool.use() as helper:
        ask(helper, b"p")
    assert caught.value.out_of_time


def test_helper_gets_no_secrets_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEY", "ANTIPHON_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "secret")
    pool = HelperPool(MODULE, 1)
    try:
        with pool.use() as helper:
            names = set(ask(helper, b"v").decode().split("\n"))
    finally:
        pool.close()
    assert "PYTHONPATH" in names
    assert not names & {"API_KEY", "ANTIPHON_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY"}


@pytest.mark.skipif(not LINUX, reason="only Linux has the filter")
@pytest.mark.parametrize("module", [MODULE, READER])
def test_helper_can_neither_connect_nor_start_programs_nor_touch_the_server(module: str) -> None:
    pool = HelperPool(module, 1)
    try:
        with pool.use() as helper:
            for name in ("connect", "start a program", "fork", "signal the server", "limit the server", "write a file"):
                assert ask(helper, b"a", name.encode()) == b"Operation not permitted", name
            assert ask(helper, b"a", b"remove a file") == b"Operation not permitted"
            expected = b"done" if module == READER else b"Operation not permitted"
            assert ask(helper, b"a", b"read a file") == expected
    finally:
        pool.close()


def test_pool_starts_its_helpers_and_lends_each_to_one_task() -> None:
    pool = HelperPool(MODULE, 2)
    try:
        pool.start()
        with pool.use() as first, pool.use() as second:
            assert first.pid != second.pid
            entered = threading.Event()

            def third() -> None:
                with pool.use():
                    entered.set()

            thread = threading.Thread(target=third)
            thread.start()
            assert not entered.wait(0.05)
        thread.join(30)
        assert entered.is_set()
    finally:
        pool.close()


def test_close_ends_all_helpers_busy_ones_too() -> None:
    pool = HelperPool(MODULE, 2)
    pool.start()
    busy, ended = threading.Event(), threading.Event()

    def work() -> None:
        try:
            with pool.use() as helper:
                busy.set()
                ask(helper, b"h")
        except HelperDied:
            ended.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert busy.wait(30)
    pool.close()
    thread.join(30)
    assert ended.is_set()
    with pytest.raises(HelperDied), pool.use():
        pass


@pytest.mark.skipif(not LINUX, reason="the processes are looked up in /proc")
def test_server_killed_by_sigkill_leaves_no_helper_behind() -> None:
    code = f"""
import sys, threading
from antiphon.isolation.pool import HelperPool
pool = HelperPool({MODULE!r}, 2)
with pool.use() as idle, pool.use() as busy:
    idle.send(b"e"), idle.receive()
    busy.send(b"p")
    print(idle.pid, busy.pid, flush=True)
    threading.Event().wait()
"""
    path = os.pathsep.join(filter(None, sys.path))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}
    ) as server:
        assert server.stdout is not None
        pids = [int(pid) for pid in server.stdout.readline().split()]
        assert len(pids) == 2
        server.kill()
        server.wait()
        for pid in pids:
            wait_until_gone(pid)
