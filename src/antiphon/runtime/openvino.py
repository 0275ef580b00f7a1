"""The OpenVINO device of the native engine: what it can do, and how a graph is compiled for it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import openvino as ov

from antiphon.errors import ConfigError
from antiphon.types.options import Precision


@dataclass(frozen=True, slots=True)
class Device:
    """An OpenVINO device, the precision chosen for it, and the number of streams its cores are divided into.

    Each stream runs a graph at the same time as the others: a model has one session (a replica) for each.
    """

    core: ov.Core
    name: str
    precision: Literal["bf16", "f32"]
    streams: int = 1

    def compile(
        self,
        model: ov.Model,
        *,
        precision: Literal["bf16", "f32"] | None = None,
        fuse_attention: bool = True,
    ) -> ov.CompiledModel:
        """Compile for as many requests at a time as there are streams; `precision` overrides the device's for this graph.

        `fuse_attention=False` keeps OpenVINO's snippets from fusing attention into one kernel. That kernel is faster for
        long queries and slower for decoding: with one token per sequence and batch 8 it takes 45 ms, the separate
        operations 20 ms (whisper-base, AVX2).
        """
        options: dict[str, object] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision or self.precision,
        }
        if self.streams > 1:
            # Each graph pins its streams to cores without regard to the other graphs, so that two threads end up on the
            # same core (whisper-base, 2 cores, 8 clients: 0.58 of the throughput of one stream; unpinned 1.1 to 1.2).
            options |= {"NUM_STREAMS": self.streams, "ENABLE_CPU_PINNING": False}
        if not fuse_attention:
            options["SNIPPETS_MODE"] = "DISABLE"
        return self.core.compile_model(model, self.name, options)


def open_device(
    name: str = "CPU", precision: Precision = "auto", cache_dir: Path | None = None, streams: int = 1
) -> Device:
    """Open a device, its cores divided into `streams`. Precision "auto" is bf16 if the device has it, else f32.

    Raises ConfigError for a device other than the CPU, or a precision it does not have.
    """
    core = ov.Core()
    if name.upper() != "CPU":
        raise ConfigError(f"the native engine runs on CPU, not on {name}.", setting="target_device")
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bf16" and "BF16" not in capabilities:
        raise ConfigError("this CPU does not have bf16; use f32 or auto.", setting="precision")
    if cache_dir is not None:
        core.set_property({"CACHE_DIR": str(cache_dir)})
    chosen: Literal["bf16", "f32"] = "bf16" if precision != "f32" and "BF16" in capabilities else "f32"
    return Device(core, "CPU", chosen, streams)
