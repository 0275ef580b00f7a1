"""The calls that the genai backend makes to `openvino_genai` and OpenVINO; tests replace them.

`openvino_genai` is imported when the first model is loaded with it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import openvino as ov
from numpy.typing import NDArray

from antiphon.errors import ConfigError

PipelineKind = Literal["ASRPipeline", "Text2SpeechPipeline"]

_VIRTUAL = ("AUTO", "MULTI", "HETERO", "BATCH")  # devices that combine those listed after a colon
_PRECISIONS = {"float32": "f32", "f32": "f32", "float16": "f16", "f16": "f16", "bfloat16": "bf16", "bf16": "bf16"}


class Runtime(Protocol):
    """The libraries, as the backend uses them."""

    def devices(self) -> Sequence[str]:
        """The devices of this machine, as OpenVINO names them."""
        ...

    def precision(self, device: str) -> str:
        """The precision that `device` computes in by default."""
        ...

    def pipeline(self, kind: PipelineKind, folder: Path, device: str, properties: Mapping[str, object]) -> Any:
        """A new pipeline. Raises the errors of the library."""
        ...

    def tensor(self, values: NDArray[np.float32]) -> Any:
        """`values` as a tensor of the library."""
        ...

    def first_pass(self, *, stop: bool) -> Any:
        """A streamer for one request that keeps the tokens of the first pass over the audio, and with `stop` ends after it."""
        ...


class InstalledGenAI:
    """The libraries of this environment."""

    def __init__(self) -> None:
        try:
            self._genai = importlib.import_module("openvino_genai")
        except ImportError as error:
            raise ConfigError(
                f"openvino_genai cannot be imported ({error}); install it with `pip install openvino-genai`."
            ) from error
        if not hasattr(self._genai, "ASRPipeline"):
            raise ConfigError("openvino_genai is too old; `pip install --upgrade openvino-genai` (2026.3 or later).")

    def devices(self) -> Sequence[str]:
        return tuple(ov.Core().available_devices)

    def precision(self, device: str) -> str:
        if device.partition(":")[0] in _VIRTUAL:
            return "auto"
        hint = ov.Core().get_property(device, "INFERENCE_PRECISION_HINT")
        return spell_precision(hint.to_dtype().name if hasattr(hint, "to_dtype") else str(hint))

    def pipeline(self, kind: PipelineKind, folder: Path, device: str, properties: Mapping[str, object]) -> Any:
        return getattr(self._genai, kind)(folder, device, **properties)

    def tensor(self, values: NDArray[np.float32]) -> Any:
        return ov.Tensor(values)

    def first_pass(self, *, stop: bool) -> Any:
        genai = self._genai

        class FirstPass(genai.StreamerBase):  # type: ignore[name-defined, misc]
            """With timestamps the pipeline writes once per pass, then continues where its last segment ended."""

            def __init__(self) -> None:
                super().__init__()
                self.tokens: list[int] | None = None

            def write(self, token: int | list[int]) -> Any:
                if self.tokens is None:
                    self.tokens = [token] if isinstance(token, int) else token
                return genai.StreamingStatus.STOP if stop else genai.StreamingStatus.RUNNING

            def end(self) -> None:
                return None

        return FirstPass()


def spell_precision(name: str) -> str:
    """A precision as the setting `precision` spells it."""
    return _PRECISIONS.get(name.lower(), name.lower())


def check_device(device: str, present: Sequence[str]) -> str:
    """`device` as OpenVINO spells it. Raises ConfigError naming the devices that exist if it is not one of them."""
    name = device.strip().upper()
    kind, _, listed = name.partition(":")
    parts = [part.partition("(")[0] for part in listed.split(",") if part] if kind in _VIRTUAL else [name]
    for part in parts:
        if not part.startswith("-") and not _is_present(part, present):
            raise ConfigError(
                f"{device} is not available, there is no {part or 'such device'} here; OpenVINO finds "
                f"{', '.join(present) or 'none'} (and AUTO:, HETERO:, MULTI: and BATCH: made of them).",
                setting="target_device",
            )
    return name


def _is_present(name: str, present: Sequence[str]) -> bool:
    # A single device of a kind is listed under the name of the kind, several are numbered; both names are accepted.
    return name in present or f"{name}.0" in present or (name.endswith(".0") and name[:-2] in present)


def cause_of(error: BaseException) -> str:
    """The reason in a library error: its last line; the lines before are C++ source locations."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
