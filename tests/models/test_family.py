"""A family is one folder: its family.py alone makes it known to the loader."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from antiphon import models
from antiphon.errors import ConfigError
from antiphon.loader import LoadOptions, choose, load_sessions
from antiphon.models.family import families
from antiphon.models.folder import inspect

FAMILY = """
from antiphon.models.family import Family
from antiphon.testing.fake import FakeSession

def load(folder, *, name, runtime, weight_format, slots, report, words):
    report(f"{name}: {folder.config['size']}, {words}")
    return tuple(FakeSession(name, slots=slots) for _ in range(runtime.streams))

FAMILY = Family(
    "toy", "speech2text", detect=lambda config: config.get("model_type") == "toy", load=load, takes=frozenset({"words"})
)
"""


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """A model folder of a family whose package has its own folder."""
    package = tmp_path / "packages" / "toy"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "family.py").write_text(FAMILY)
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(package.parent)])
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "toy", "size": "tiny"}))
    yield folder
    for module in [name for name in sys.modules if name.startswith("antiphon.models.toy")]:
        del sys.modules[module]
    vars(models).pop("toy", None)


def test_every_package_below_models_is_a_family() -> None:
    assert [family.name for family in families()] == ["espeak", "fun_asr", "kokoro", "qwen3_asr", "speecht5", "whisper"]


def test_family_package_is_discovered_and_loaded(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    assert inspect(toy).task == "speech2text"
    choice = choose(str(toy))
    assert (choice.family.name, choice.backend) == ("toy", "native")
    lines: list[str] = []
    options = LoadOptions(slots=3, report=lines.append, plugin_config={"NUM_STREAMS": 2}, word_timestamps=True)
    sessions = load_sessions(str(toy), options)
    assert [(session.info.name, session.slots) for session in sessions] == [("model", 3)] * 2
    assert lines == ["model: tiny, True"]


@pytest.mark.parametrize(("setting", "value"), [("vocoder", Path("v")), ("speaker", ("ann", Path("a.bin")))])
def test_option_that_the_family_does_not_take_is_an_error(toy: Path, setting: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^{setting}: .* is a model of the family toy, which takes none"):
        load_sessions(str(toy), LoadOptions(**{setting: value}))  # type: ignore[arg-type]


def test_family_without_a_genai_pipeline_is_not_served_on_other_devices(toy: Path) -> None:
    with pytest.raises(ConfigError, match="toy is not served by openvino_genai"):
        load_sessions(str(toy), LoadOptions(device="AUTO:CPU"))


def test_listing_families_imports_neither_openvino_nor_graphs() -> None:
    import subprocess

    code = "import sys; from antiphon.models.family import families; families(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert {"openvino", "antiphon.models.whisper.load"}.isdisjoint(loaded)
