"""The one place that talks to the OpenVINO runtime: what the device can do, and compiling a graph for it.

It must not know which model a graph belongs to.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import openvino as ov

from antiphon.errors import ConfigError
from antiphon.types.options import Precision


@dataclass(frozen=True, slots=True)
class Device:
    """An OpenVINO device, the precision chosen for it, and into how many streams its cores are divided."""

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

        `fuse_attention=False` keeps OpenVINO's snippets from fusing attention into one kernel. That kernel is right for
        long queries and wrong for decoding: at one token a sequence and batch 8 it takes 45 ms where the plain
        operations take 20 (whisper-base, AVX2).
        """
        options: dict[str, object] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision or self.precision,
        }
        if self.streams > 1:
            # Each graph would pin its streams to cores without a look at the others', and two threads end up on one
            # core (whisper-base, 2 cores, 8 clients: 0.58 of one stream's throughput; without pinning 1.1 to 1.2).
            options |= {"NUM_STREAMS": self.streams, "ENABLE_CPU_PINNING": False}
        if not fuse_attention:
            options["SNIPPETS_MODE"] = "DISABLE"
        return self.core.compile_model(model, self.name, options)


def open_device(
    name: str = "CPU", precision: Precision = "auto", cache_dir: Path | None = None, streams: int = 1
) -> Device:
    """Open `name` ("auto" precision: bf16 where the device has it, else f32), its cores divided into `streams`.

    Raises ConfigError for a device that is not there or a precision it does not have.
    """
    core = ov.Core()
    if name.upper() != "CPU":
        raise ConfigError(f"device {name}: the native engine runs on CPU; leave --target_device out, or name that.")
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == "bf16" and "BF16" not in capabilities:
        raise ConfigError("--precision bf16: this CPU has no bf16; use --precision f32 or auto.")
    if cache_dir is not None:
        core.set_property({"CACHE_DIR": str(cache_dir)})
    chosen: Literal["bf16", "f32"] = "bf16" if precision != "f32" and "BF16" in capabilities else "f32"
    return Device(core, "CPU", chosen, streams)
