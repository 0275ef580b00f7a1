"""Quantise the weights and activations of a graph to 8 bits with NNCF, calibrated on speech."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import openvino as ov

from antiphon.errors import ConfigError

_NO_TELEMETRY = "NNCF_CI"  # an environment variable: set when NNCF is imported, it disables NNCF's telemetry


def import_nncf() -> Any:
    """NNCF without telemetry. Raises ConfigError naming the extra to install."""
    before = os.environ.get(_NO_TELEMETRY)
    os.environ[_NO_TELEMETRY] = "1"
    try:
        nncf = importlib.import_module("nncf")
    except ModuleNotFoundError as error:
        raise ConfigError("int8 needs NNCF: pip install 'antiphon[quantize]'.", setting="quant_mode") from error
    finally:
        if before is None:
            del os.environ[_NO_TELEMETRY]
        else:
            os.environ[_NO_TELEMETRY] = before
    return nncf


def quantize(graph: ov.Model, inputs: Sequence[Mapping[str, Any]]) -> ov.Model:
    """`graph` with 8-bit weights (one scale per row, symmetric) and activations (one range per layer, measured on `inputs`).

    Outliers are first moved from the activations to the weights (SmoothQuant, Xiao et al. 2023, section 4), and the mean
    error is subtracted from the biases: the settings of optimum-intel for `--quant-mode int8`.
    """
    nncf = import_nncf()
    nncf.set_log_level(logging.ERROR)
    quantized: ov.Model = nncf.quantize(
        graph,
        nncf.Dataset(inputs),
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(inputs),
        advanced_parameters=nncf.AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
    )
    return quantized
