"""kill -9 while an export runs: at no moment is there half a model to be served, and the next run completes."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from antiphon.repository.config_json import list_models, read_repository
from tests.support.exporting import Graph, write_whisper

# Imports everything once and forks for each export, so that every moment after the fork is one of the export's own. A
# moment is a processor time: on a busy machine the clock on the wall says nothing of how far an export has come.
EXPORTER = """
import os, sys, time
from pathlib import Path
from antiphon.__main__ import main
from antiphon.cli import export
def used(child):
    times = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
for line in sys.stdin:
    *arguments, moment = line.rstrip("\\n").split("\\t")
    child = os.fork()
    if child == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.argv = ["antiphon", "export", *arguments]
        try:
            main()
        except SystemExit as ended:
            os._exit(ended.code or 0)
    while moment and not os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if used(child) >= float(moment):
            os.kill(child, 9)
            break
        time.sleep(0.002)
    _, status, usage = os.wait4(child, 0)
    print(status, usage.ru_utime + usage.ru_stime, flush=True)
"""
KILLS = 10
FILES = 13


def run(exporter: subprocess.Popen[str], arguments: list[str], kill_at: float | None = None) -> tuple[int, float]:
    """One export's wait status, and the processor time it took; killed at so much of it, if it comes so far."""
    assert exporter.stdin is not None
    assert exporter.stdout is not None
    exporter.stdin.write("\t".join([*arguments, "" if kill_at is None else str(kill_at)]) + "\n")
    exporter.stdin.flush()
    status, seconds = exporter.stdout.readline().split()
    return int(status), float(seconds)


def check(repository: Path) -> None:
    """Whatever a server would find is whole."""
    for name in list_models(repository):
        folder = repository / name
        assert len(list(folder.iterdir())) == FILES
        Graph(folder / "openvino_encoder_model.xml")
        Graph(folder / "openvino_decoder_model.xml")
    if (repository / "config.json").is_file():
        assert {entry.name for entry in read_repository(repository / "config.json")} <= {*list_models(repository)}


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and asks /proc for processor times")
def test_an_export_killed_at_any_moment_leaves_nothing_half_written(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    arguments = ["speech2text", "--source_model", str(write_whisper(tmp_path / "checkpoint")), "--model_name", "a/b"]
    arguments += ["--model_repository_path", str(repository), "--config_file_path", str(repository / "config.json")]
    arguments.append("--overwrite_models")
    command = [sys.executable, "-c", EXPORTER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as exporter:
        status, whole = run(exporter, arguments)
        assert status == 0
        draw, killed = random.Random(0), 0
        for moment in range(KILLS):
            if moment % 2:  # otherwise it is an export over one that is there
                shutil.rmtree(repository, ignore_errors=True)
            status, _ = run(exporter, arguments, kill_at=draw.uniform(0, whole))
            killed += status == signal.SIGKILL
            if repository.is_dir():
                check(repository)
        assert killed >= KILLS // 2
        assert run(exporter, arguments)[0] == 0
        assert exporter.stdin is not None
        exporter.stdin.close()
    check(repository)
    assert list_models(repository) == ("a/b",)
    assert [path.name for path in (repository / "a").iterdir()] == ["b"]
    assert len(read_repository(repository / "config.json")) == 1
