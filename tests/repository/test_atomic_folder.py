"""kill -9 during an export: a partial model is never visible, and the next run completes."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from antiphon.repository.atomic_folder import made_whole
from antiphon.repository.config_json import list_models, read_repository
from tests.support.exporting import Graph, write_whisper

# Imports everything once and forks for each export, so that all time after the fork is the export's. The kill is timed by
# CPU seconds, because wall time does not show the progress of an export on a busy machine.
EXPORTER = """
import os, sys, time
from pathlib import Path
from antiphon.__main__ import main
from antiphon.cli import export
def cpu_seconds(child):
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
        if cpu_seconds(child) >= float(moment):
            os.kill(child, 9)
            break
        time.sleep(0.002)
    _, status, usage = os.wait4(child, 0)
    print(status, usage.ru_utime + usage.ru_stime, flush=True)
"""
KILLS = 10
FILES = 13


def run(exporter: subprocess.Popen[str], arguments: list[str], kill_at: float | None = None) -> tuple[int, float]:
    """Run one export, killed after `kill_at` CPU seconds if given. Returns its wait status and CPU seconds."""
    assert exporter.stdin is not None
    assert exporter.stdout is not None
    exporter.stdin.write("\t".join([*arguments, "" if kill_at is None else str(kill_at)]) + "\n")
    exporter.stdin.flush()
    status, seconds = exporter.stdout.readline().split()
    return int(status), float(seconds)


def check(repository: Path) -> None:
    """Every model that a server would find is complete."""
    for name in list_models(repository):
        folder = repository / name
        assert len(list(folder.iterdir())) == FILES
        Graph(folder / "openvino_encoder_model.xml")
        Graph(folder / "openvino_decoder_model.xml")
    if (repository / "config.json").is_file():
        assert {entry.name for entry in read_repository(repository / "config.json")} <= {*list_models(repository)}


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and reads CPU times from /proc")
def test_export_killed_at_any_moment_leaves_no_partial_model(tmp_path: Path) -> None:
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
            if moment % 2:  # the other half overwrites an existing model
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


def test_old_folder_is_restored_after_an_interruption_between_the_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    rename = Path.rename

    def interrupted(source: Path, target: Path) -> Path:
        if source.name == ".model.exporting":
            raise KeyboardInterrupt
        return rename(source, target)

    def write(text: str) -> None:
        with made_whole(folder, print) as partial:
            (partial / "weights").write_text(text)

    write("old")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write("new")
    assert [path.name for path in tmp_path.iterdir()] == [".model.old"]
    with pytest.raises(RuntimeError), made_whole(folder, print):
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (folder / "weights").read_text() == "old"


def test_second_writer_of_a_folder_waits_and_reports_it(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    lines: list[str] = []
    order: list[str] = []

    def write(name: str) -> None:
        with made_whole(folder, lines.append) as partial:
            order.append(name)
            (partial / name).touch()

    second = threading.Thread(target=write, args=("second",))
    with made_whole(folder, lines.append) as partial:
        second.start()
        while not lines:
            time.sleep(0.01)
        order.append("first")
        (partial / "first").touch()
    second.join(30)
    assert order == ["first", "second"]
    assert lines == [f"Another process is writing {folder}; waiting for it."]
    assert [path.name for path in folder.iterdir()] == ["second"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
