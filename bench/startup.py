"""How long a newcomer waits: `antiphon --help`, and `antiphon serve` from process start to ready with the starter.

Medians of a few runs, each a process of its own; the last line is JSON.

    .venv/bin/python bench/startup.py
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

ANTIPHON = str(Path(sys.executable).with_name("antiphon"))


def help_seconds() -> float:
    began = time.perf_counter()
    subprocess.run([ANTIPHON, "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def ready_seconds() -> float:
    """From starting the process to its line that says it is ready, on a free port of the loopback address."""
    began = time.perf_counter()
    command = [ANTIPHON, "serve", "--rest_port", "0", "--rest_bind_address", "127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("Ready"):
                break
        seconds = time.perf_counter() - began
        process.send_signal(signal.SIGTERM)
        process.communicate()
    if process.returncode:
        raise SystemExit(f"antiphon serve ended with {process.returncode}")
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    figures = {}
    for name, measure in (("help_s", help_seconds), ("ready_s", ready_seconds)):
        measure()  # the first one reads everything from disk
        times = [measure() for _ in range(runs)]
        figures[name] = round(statistics.median(times), 2)
        print(f"{name}: median {figures[name]} s of {runs}, from {min(times):.2f} to {max(times):.2f}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
