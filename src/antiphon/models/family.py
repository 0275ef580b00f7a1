"""What a model family declares about itself, and the discovery of the families below `antiphon.models`.

Importing this module or any `family.py` does not import OpenVINO; the graphs of a family are imported when it loads.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from antiphon import models
from antiphon.models.session import AnySession
from antiphon.types.audio import Samples
from antiphon.types.options import GraphTask

if TYPE_CHECKING:
    from antiphon.weights.openvino_ir.writer import IrFormat, WrittenWeights
    from antiphon.weights.source import ArraySource

Config = Mapping[str, Any]  # the content of a config.json
EncoderInputs = list[dict[str, Any]]  # for each calibration window, arrays by input name


class ExportJob(Protocol):
    """One export, as a family's `export` uses it.

    `write_graph` writes the graph that `build` makes of the tensors below `prefix`, and frees it before the next one is
    made. If the export has calibration audio, a graph with `calibrate` is quantised to 8 bits. `write_default_json` writes
    a file that the readers of an export need, unless the checkpoint has it.
    """

    @property
    def source(self) -> Path: ...  # the checkpoint's folder
    @property
    def weight_format(self) -> IrFormat: ...
    @property
    def vocoder(self) -> Path | None: ...  # the folder of a vocoder that is not part of the checkpoint
    def write_graph(
        self,
        name: str,
        build: Callable[[WrittenWeights], Any],
        tensors: ArraySource,
        prefix: str = "",
        *,
        calibrate: Callable[[Sequence[Samples]], EncoderInputs] | None = None,
    ) -> None: ...
    def write_byte_pair_tokenizer(self) -> None: ...
    def write_sentence_piece_tokenizer(self, name: str) -> None: ...
    def write_default_json(self, name: str, content: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, slots=True)
class Family:
    """A model family. `models/<package>/family.py` holds one under the name `FAMILY`.

    `detect` decides from a config.json whether a folder holds a model of the family; None is for a family without model
    folders, which is loaded by its own name. `load(folder, *, name, runtime, weight_format, slots, report)` returns the
    native sessions, one for each stream of the runtime; without it OpenVINO GenAI serves the family. `load` is also given
    those of these options that are in `takes`: audio_context, speaker, speeds, vocoder, voices, words. "calibration" in
    `takes` is for families whose export can be quantised to 8 bits. `check_ir` raises NotNative for an OpenVINO folder
    that `load` cannot read. `export` writes a checkpoint as OpenVINO IR.
    """

    name: str
    task: GraphTask
    detect: Callable[[Config], bool] | None
    load: Callable[..., tuple[AnySession, ...]] | None = None
    check_ir: Callable[[Path], None] | None = None
    export: Callable[[ExportJob], None] | None = None
    takes: frozenset[str] = frozenset()
    backend: str = "native"  # the name of what `load` runs on


def families() -> tuple[Family, ...]:
    """Every family: one for each package below `antiphon.models`."""
    packages = sorted(module.name for module in pkgutil.iter_modules(models.__path__) if module.ispkg)
    return tuple(importlib.import_module(f"{models.__name__}.{package}.family").FAMILY for package in packages)


def deferred(module: str, function: str) -> Callable[..., Any]:
    """A function that imports `module` when it is called, and calls `function` there."""

    def call(*arguments: Any, **options: Any) -> Any:
        return getattr(importlib.import_module(module), function)(*arguments, **options)

    return call


def has_architecture(config: Config, *names: str) -> bool:
    """Whether one of the architectures that a config.json lists is in `names`."""
    listed = config.get("architectures")
    return isinstance(listed, list) and any(name in names for name in listed)
