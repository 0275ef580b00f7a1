"""Weights and activations in 8 bits: a graph whose ranges NNCF has measured while it heard speech.

It must not know where the speech came from, or where the graph is written.
"""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from antiphon.errors import ConfigError
from antiphon.models.whisper.config import WhisperConfig
from antiphon.models.whisper.graph import features_graph
from antiphon.runtime.openvino import open_device
from antiphon.types.audio import WINDOW_SAMPLES, Samples

_SILENT = "NNCF_CI"  # with it set when NNCF is imported, no report of its use leaves the machine


def bring_nncf() -> Any:
    """NNCF, which comes with an extra; ConfigError that says which."""
    before = os.environ.get(_SILENT)
    os.environ[_SILENT] = "1"
    try:
        nncf = importlib.import_module("nncf")
    except ModuleNotFoundError as error:
        raise ConfigError("int8 needs NNCF: pip install 'antiphon[quantize]'.", setting="quant_mode") from error
    finally:
        if before is None:
            del os.environ[_SILENT]
        else:
            os.environ[_SILENT] = before
    return nncf


def in_8_bits(graph: ov.Model, inputs: Sequence[Mapping[str, NDArray[Any]]]) -> ov.Model:
    """`graph` with 8-bit weights (one scale a row, symmetric) and activations (one range a layer, measured over `inputs`).

    What is hard to round is moved from the activations to the weights first (SmoothQuant, Xiao et al. 2023), and the mean
    error is taken out of the biases: what optimum-intel has NNCF do for `--quant-mode int8`.
    """
    nncf = bring_nncf()
    nncf.set_log_level(logging.ERROR)
    made: ov.Model = nncf.quantize(
        graph,
        nncf.Dataset(inputs),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(inputs),
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
    )
    return made


def heard(windows: Sequence[Samples], config: WhisperConfig) -> list[dict[str, NDArray[np.float32]]]:
    """What a Whisper encoder is given of each window: log-mel features of 30 s."""
    features = open_device(precision="f32").compile(features_graph(config))
    padded = (np.pad(one, (0, WINDOW_SAMPLES - len(one)))[None] for one in windows)
    return [{"input_features": features(each)["features"].copy()} for each in padded]
