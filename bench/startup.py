"""Start-up time: `antiphon --help`, and `antiphon serve` from process start to ready.

Medians of a few runs, each in its own process; the last line is JSON.

    .venv/bin/python bench/startup.py --model models/whisper-base
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

ANTIPHON = str(Path(sys.executable).with_name("antiphon"))


def help_seconds() -> float:
    began = time.perf_counter()
    subprocess.run([ANTIPHON, "--help"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def ready_seconds(flags: list[str]) -> float:
    """From starting the process to its "Ready" line, on a free loopback port."""
    began = time.perf_counter()
    command = [ANTIPHON, "serve", "--rest_port", "0", "--rest_bind_address", "127.0.0.1", *flags]
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
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--model", help="the folder of the model to serve; without it, espeak")
    options = parser.parse_args()
    flags = ["--model_path", options.model] if options.model else []
    figures = {}
    for name, measure in (("help_s", help_seconds), ("ready_s", partial(ready_seconds, flags))):
        measure()  # the first run reads everything from disk
        times = [measure() for _ in range(options.runs)]
        figures[name] = round(statistics.median(times), 2)
        print(f"{name}: median {figures[name]} s of {options.runs}, from {min(times):.2f} to {max(times):.2f}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
