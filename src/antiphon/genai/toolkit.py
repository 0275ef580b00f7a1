"""All that the genai backend asks of `openvino_genai` and OpenVINO, and what their errors say, in one line.

It must not know model families, units or requests. `openvino_genai` is imported when a model is loaded by it.
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

_VIRTUAL = ("AUTO", "MULTI", "HETERO", "BATCH")  # devices made of those that they list after a colon
_PRECISIONS = {"float32": "f32", "f32": "f32", "float16": "f16", "f16": "f16", "bfloat16": "bf16", "bf16": "bf16"}


class Toolkit(Protocol):
    """What stands between the backend and the libraries; tests hand in another."""

    def devices(self) -> Sequence[str]:
        """The devices of this machine, as OpenVINO names them."""
        ...

    def precision(self, device: str) -> str:
        """What `device` computes in unless told otherwise."""
        ...

    def pipeline(self, kind: PipelineKind, folder: Path, device: str, properties: Mapping[str, object]) -> Any:
        """A new pipeline; its errors are the library's own."""
        ...

    def tensor(self, values: NDArray[np.float32]) -> Any:
        """`values` as the library takes them."""
        ...

    def first_pass(self, *, stop: bool) -> Any:
        """A streamer for one request: its `tokens` are the text of the first pass over the audio, which may be the last."""
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
            """With timestamps the pipeline writes once a pass, then goes on where its last segment ended."""

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
    """A precision in the words of `--precision`."""
    return _PRECISIONS.get(name.lower(), name.lower())


def check_device(device: str, present: Sequence[str]) -> str:
    """`device` as OpenVINO spells it, or ConfigError naming the devices that are there."""
    name = device.strip().upper()
    kind, _, listed = name.partition(":")
    wanted = [each.partition("(")[0] for each in listed.split(",") if each] if kind in _VIRTUAL else [name]
    for each in wanted:
        if not each.startswith("-") and not _is_present(each, present):
            raise ConfigError(
                f"{device} is not available, there is no {each or 'such device'} here; {_spell(present)}.",
                setting="target_device",
            )
    return name


def _is_present(name: str, present: Sequence[str]) -> bool:
    # One device of a kind is called by the kind, several are numbered; both may be asked for by either name.
    return name in present or f"{name}.0" in present or (name.endswith(".0") and name[:-2] in present)


def _spell(present: Sequence[str]) -> str:
    return f"OpenVINO finds {', '.join(present) or 'none'} (and AUTO:, HETERO:, MULTI: and BATCH: made of them)"


def cause_of(error: BaseException) -> str:
    """What a library error says: its last line; those before name the C++ files it came through."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
