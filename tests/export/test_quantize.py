"""Exports with a calibrated encoder: the arguments of NNCF, the use of its result, and its telemetry, which is disabled."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import openvino as ov
import pytest

from antiphon.errors import ConfigError
from antiphon.export.export import export
from antiphon.export.quantize import import_nncf
from antiphon.models.folder import inspect
from antiphon.repository.graph_pbtxt import GraphFile
from antiphon.types.audio import Samples
from tests.support.exporting import write_speecht5, write_whisper

ASR = GraphFile("speech2text")


class Calibrator(ModuleType):
    """Stands in for NNCF, which only the oracle suite installs: keeps the arguments and returns the graph unchanged."""

    def __init__(self) -> None:
        super().__init__("nncf")
        self.arguments: dict[str, Any] = {}
        self.graph: ov.Model | None = None

    def __getattr__(self, name: str) -> Any:
        return _Anything() if name[0].isupper() else lambda *_: None

    def quantize(self, graph: ov.Model, data: Any, **options: Any) -> ov.Model:
        self.graph, self.arguments = graph, {"data": data, **options}
        return graph


class _Anything:
    def __getattr__(self, name: str) -> str:
        return name

    def __call__(self, *given: Any, **named: Any) -> Any:
        return given[0] if given else named


@pytest.fixture
def calibrator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Calibrator]:
    made = Calibrator()
    monkeypatch.setitem(sys.modules, "nncf", made)
    return made


def windows() -> list[Samples]:
    draw = np.random.default_rng(0)
    return [draw.standard_normal(size).astype(np.float32) for size in (16_000, 480_000)]


def kinds(path: Path) -> set[str]:
    """The types that a graph's constants are kept in."""
    constants = (each for each in ov.Core().read_model(path).get_ops() if each.get_type_name() == "Constant")
    return {each.get_element_type().get_type_name() for each in constants}


def test_encoder_is_calibrated_on_the_features_of_every_window(calibrator: Calibrator, tmp_path: Path) -> None:
    lines: list[str] = []
    source = write_whisper(tmp_path / "whisper")
    export(inspect(source), tmp_path / "made", graph=ASR, calibration=windows, report=lines.append)
    inputs = calibrator.arguments["data"]
    assert [one["input_features"].shape for one in inputs] == [(1, 80, 3000)] * 2
    assert not np.allclose(inputs[0]["input_features"], inputs[1]["input_features"])
    assert calibrator.arguments["subset_size"] == 2
    assert calibrator.arguments["model_type"] == "TRANSFORMER"
    assert "Calibrating it on 2 windows of speech." in lines
    assert lines[-1].endswith("int8 weights; the encoder's weights and activations in int8.")
    # NNCF gets exact weights of the encoder and quantizes them; the decoder's are quantized by the weight format.
    assert "u8" not in kinds(tmp_path / "made" / "openvino_encoder_model.xml")
    assert "u8" in kinds(tmp_path / "made" / "openvino_decoder_model.xml")


def test_nncf_overflow_fix_is_enabled(calibrator: Calibrator, tmp_path: Path) -> None:
    """u8 times s8, two at a time into 16 bits, overflows on AVX2; with 7 bits of weights it does not."""
    export(inspect(write_whisper(tmp_path / "whisper")), tmp_path / "made", graph=ASR, calibration=windows)
    assert calibrator.arguments["advanced_parameters"]["overflow_fix"] == "ENABLE"


def test_kept_weights_are_not_calibrated_again(calibrator: Calibrator, tmp_path: Path) -> None:
    source = write_whisper(tmp_path / "whisper")
    export(inspect(source), tmp_path / "made", graph=ASR)
    export(inspect(source), tmp_path / "made", graph=ASR, calibration=lambda: pytest.fail("speech was requested"))
    assert calibrator.graph is None


def test_int8_quant_mode_of_speecht5_is_refused(calibrator: Calibrator, tmp_path: Path) -> None:
    source = write_speecht5(tmp_path / "speecht5")
    with pytest.raises(ConfigError, match=r"^quant_mode: int8 is not available for speecht5 models"):
        export(inspect(source), tmp_path / "made", graph=GraphFile("text2speech"), calibration=windows)
    assert not (tmp_path / "made").exists()


def test_missing_nncf_is_an_error_and_writes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "nncf", None)
    source = write_whisper(tmp_path / "whisper")
    with pytest.raises(ConfigError, match=r"pip install 'antiphon\[quantize\]'"):
        export(inspect(source), tmp_path / "made", graph=ASR, calibration=windows)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("before", [None, "0"])
def test_nncf_telemetry_is_disabled_and_the_environment_restored(
    calibrator: Calibrator, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    seen: list[str | None] = []

    def bring(name: str) -> Calibrator:
        seen.append(os.environ.get("NNCF_CI"))
        return calibrator

    monkeypatch.setattr("antiphon.export.quantize.importlib.import_module", bring)
    if before is None:
        monkeypatch.delenv("NNCF_CI", raising=False)
    else:
        monkeypatch.setenv("NNCF_CI", before)
    assert import_nncf() is calibrator
    assert seen == ["1"]
    assert os.environ.get("NNCF_CI") == before
