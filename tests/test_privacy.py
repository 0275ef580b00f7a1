"""Nothing is reported to anybody: the usage events of OpenVINO and NNCF are disabled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"
# Stands in for the package that sends the events: keeps a line for each sender that is made.
SENDER = """
import os
from pathlib import Path

class Telemetry:
    def __init__(self, *given, **named):
        with Path(os.environ["SENDERS"]).open("a") as file:
            file.write(f"{named}\\n")

    def send_event(self, *given, **named):
        pass
"""


def senders(tmp_path: Path, program: str) -> list[str]:
    """The senders that a program makes outside of CI, where OpenVINO makes some too."""
    package = tmp_path / "openvino_telemetry"
    (package / "backend").mkdir(parents=True)
    (package / "__init__.py").write_text(SENDER)
    (package / "backend" / "__init__.py").write_text("backend_ga4 = None\n")
    made = tmp_path / "made"
    path = f"{tmp_path}{os.pathsep}{SOURCE}"
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    environment |= {"PYTHONPATH": path, "SENDERS": str(made)}
    subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True)
    return made.read_text().splitlines() if made.exists() else []


def test_openvino_alone_makes_a_sender(tmp_path: Path) -> None:
    """Otherwise the test below would find none either."""
    assert senders(tmp_path, "import openvino")


def test_antiphon_makes_no_sender(tmp_path: Path) -> None:
    modules = "antiphon.server.lifecycle, antiphon.genai.runtime, antiphon.export.export, openvino_tokenizers"
    assert senders(tmp_path, f"import {modules}") == []
