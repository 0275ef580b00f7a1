"""A server under mixed load: clips, long files, speech, crashes, damaged and hostile files, slow callers, hang-ups and reloads.

A few seconds in the suite. For an hour, with a plot of the memory:

    scripts/test tests/fuzz/test_mixed_load.py --fuzz-seconds 3600 --plot memory.png -s
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.fuzz.conftest import FuzzBudget
from tests.support.mixed_load import MixedLoad
from tests.support.serving import serving
from tests.support.starters import STARTER_ASR, STARTER_TTS

SETTLING_S = 600.0  # caches, pools and the heap grow at first
MAX_GROWTH = 0.02
MAX_LOG_LINES_PER_S = 5.0  # mostly one for each damaged file, reload and crash
# What a kind of request may be answered with. 0: the client or the server closed the connection. 404: starter-tts is away.
ALLOWED = {
    "clip": {200},
    "long": {200},
    "speech": {200, 404},
    "crash": {500},
    "damaged": {200, 400},
    "bomb": {200, 400},
    "hang-up": {0},
    "drip": {0, 408},
    "no reader": {0},
    "reload": {200, 201},
}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_mixed_load_is_answered_and_memory_stays(
    fuzz_budget: FuzzBudget, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    seconds, rng = fuzz_budget
    config, log = write_config(tmp_path), tmp_path / "log"
    flags = ("--file_system_poll_wait_seconds", "0", "--metrics_enable", "--drain_seconds", "20")
    with serving("--config_path", str(config), *flags, log=log) as server:
        load = MixedLoad(server.port, config, rng)
        load.start()
        began, memory = time.monotonic(), []
        while (passed := time.monotonic() - began) < seconds:
            pid = server.process.pid
            assert server.process.poll() is None, log.read_text()[-5_000:]
            memory.append((passed, resident_mb(pid), resident_mb(*children(pid))))
            time.sleep(min(1.0, seconds))
        load.stop()
        report(load, memory, log, request.config.getoption("--plot"))
        wrong = {key: count for key, count in load.answers.items() if key[1] not in ALLOWED.get(key[0], set())}
        assert not wrong
        assert len(log.read_text().splitlines()) <= 200 + MAX_LOG_LINES_PER_S * seconds
        until = time.monotonic() + 60
        while requests_inside(server.client):  # those of callers who left
            assert time.monotonic() < until, "requests are stuck"
            time.sleep(0.2)
    if seconds >= 3 * SETTLING_S:
        settled = [in_server for passed, in_server, _ in memory if passed >= SETTLING_S]
        third = len(settled) // 3
        first, last = statistics.mean(settled[:third]), statistics.mean(settled[-third:])
        assert last <= (1 + MAX_GROWTH) * first


def write_config(folder: Path) -> Path:
    """A config.json of starter-asr, starter-tts and espeak."""
    paths = {"starter-asr": str(STARTER_ASR), "starter-tts": str(STARTER_TTS), "espeak": "espeak"}
    entries = [{"config": {"name": name, "base_path": path}} for name, path in paths.items()]
    config = folder / "config.json"
    config.write_text(json.dumps({"model_config_list": entries}))
    return config


def requests_inside(client: httpx.Client) -> float:
    """The sum of the gauge of current requests."""
    lines = client.get("/metrics").text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("ovms_current_requests{"))


def children(pid: int) -> tuple[int, ...]:
    """The helper processes of a server."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    found = []
    for task in tasks:
        try:
            found += (task / "children").read_text().split()
        except OSError:  # the thread has ended
            continue
    return tuple(map(int, found))


def resident_mb(*pids: int) -> float:
    """The resident memory of processes, in megabytes."""
    pages = 0
    for pid in pids:
        try:
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:  # it has ended
            continue
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def report(load: MixedLoad, memory: list[tuple[float, float, float]], log: Path, plot: str | None) -> None:
    """Print the counts, health and memory, and draw the memory if `plot` names a file."""
    for (kind, status), count in sorted(load.answers.items()):
        print(f"{kind}: {status} x {count}")
    health = sorted(load.health) or [0.0]
    p50, p99 = (health[int(len(health) * part)] for part in (0.5, 0.99))
    print(
        f"health, {len(health)} checks: p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms, most {health[-1] * 1e3:.0f} ms"
    )
    print(f"log: {len(log.read_text().splitlines())} lines")
    for minute in range(0, int(memory[-1][0] // 60) + 1, 5):
        part = [(server, helpers) for passed, server, helpers in memory if minute <= passed / 60 < minute + 5]
        server_mb, helpers_mb = (statistics.mean(values) for values in zip(*part, strict=True))
        print(f"minutes {minute} to {minute + 5}: server {server_mb:.0f} MB, helpers {helpers_mb:.0f} MB")
    if plot is not None:
        draw(memory, plot)


def draw(memory: list[tuple[float, float, float]], file: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    minutes = [passed / 60 for passed, _, _ in memory]
    axes.plot(minutes, [server for _, server, _ in memory], label="server")
    axes.plot(minutes, [helpers for _, _, helpers in memory], label="helper processes")
    axes.set(xlabel="minutes of mixed load", ylabel="resident memory, MB", ylim=(0, None))
    axes.legend()
    figure.savefig(file, dpi=120)
