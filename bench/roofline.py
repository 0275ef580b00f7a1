"""What the machine could do at best: its peak in arithmetic and memory, measured, and the least time a Whisper needs on it.

The roofline of Williams, Waterman and Patterson (2009), phase by phase: a phase cannot end before its arithmetic is done
at the peak, nor before its bytes have come from memory. Counted are the matrix products, and the weights and the caches a
step reads; not counted are features, norms, softmax and what is written.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

POSITIONS = 1500  # what the encoder makes of a window of 30 s, however short the clip in it
FRAMES = 3000
COPIED = 1 << 26  # bytes a thread copies at a time; far more than a cache holds


@dataclass(frozen=True)
class Peak:
    """`numpy` (f32) and `openvino` (what its CPU plugin chooses: bf16 where the processor has it) are gemm GFLOP/s;
    `bandwidth` is GB/s of a copy, both ways counted."""

    numpy: float
    openvino: float
    bandwidth: float

    @property
    def gflops(self) -> float:
        return max(self.numpy, self.openvino)


@dataclass(frozen=True)
class Dimensions:
    """A Whisper's sizes; `weight` and `cache` are bytes of one number held, in the decoder's matrices and its caches."""

    width: int
    layers: int
    decoder_layers: int
    ffn: int
    vocabulary: int
    mels: int = 80
    weight: int = 1
    cache: int = 4

    @property
    def window_flops(self) -> float:
        """Convolutions, encoder, and the decoder's keys and values of what it heard."""
        convolutions = 2 * 3 * self.width * (FRAMES * self.mels + POSITIONS * self.width)
        layer = POSITIONS * (8 * self.width**2 + 4 * self.width * self.ffn + 4 * POSITIONS * self.width)
        return convolutions + self.layers * layer + self.decoder_layers * 4 * POSITIONS * self.width**2

    @property
    def step_weights(self) -> float:
        """Numbers in the matrices that a decoder step multiplies by: each is read once, whoever shares the step."""
        return self.decoder_layers * (6 * self.width**2 + 2 * self.width * self.ffn) + self.width * self.vocabulary

    def row_flops(self, past: float) -> float:
        """Of one sequence in one step that looks back on `past` tokens."""
        attention = self.decoder_layers * 4 * self.width * (POSITIONS + past)
        return 2 * self.step_weights + attention

    def row_bytes(self, past: float) -> float:
        """Of its caches."""
        return self.decoder_layers * 2 * self.width * (POSITIONS + past) * self.cache


def least_seconds(sizes: Dimensions, peak: Peak, windows: int, rows: int, tokens: int) -> float:
    """For `windows` of which `rows` decode side by side, `tokens` each."""
    flops, bandwidth = peak.gflops * 1e9, peak.bandwidth * 1e9
    past = tokens / 2
    read = sizes.step_weights * sizes.weight + rows * sizes.row_bytes(past)
    step = max(rows * sizes.row_flops(past) / flops, read / bandwidth)
    return windows * sizes.window_flops / flops + windows / rows * tokens * step


def measure_peak(threads: int, seconds: float = 1.0) -> Peak:
    """On this machine, now; each of the three for about so long, and the best of its turns."""
    return Peak(_numpy_gflops(seconds), _openvino_gflops(seconds), _bandwidth(threads, seconds))


def _best(turn: Callable[[], object], seconds: float) -> float:
    """Seconds of the quickest turn."""
    turn()
    until = time.perf_counter() + seconds
    best = float("inf")
    while time.perf_counter() < until:
        began = time.perf_counter()
        turn()
        best = min(best, time.perf_counter() - began)
    return best


def _numpy_gflops(seconds: float, size: int = 1024) -> float:
    matrix = np.random.default_rng(0).standard_normal((size, size)).astype(np.float32)
    out = np.empty_like(matrix)
    return 2 * size**3 / _best(lambda: np.matmul(matrix, matrix, out=out), seconds) / 1e9


def _openvino_gflops(seconds: float, size: int = 1024) -> float:
    import openvino as ov
    from openvino import opset13 as opset

    weights = np.random.default_rng(0).standard_normal((size, size)).astype(np.float32)
    rows = opset.parameter([size, size], np.float32)
    model = ov.Model([opset.matmul(rows, opset.constant(weights), False, True)], [rows])
    request = ov.Core().compile_model(model, "CPU", {"PERFORMANCE_HINT": "LATENCY"}).create_infer_request()
    request.set_input_tensor(ov.Tensor(weights))
    return 2 * size**3 / _best(request.infer, seconds) / 1e9


def _bandwidth(threads: int, seconds: float) -> float:
    sources = [np.ones(COPIED, np.uint8) for _ in range(threads)]
    targets = [np.zeros(COPIED, np.uint8) for _ in range(threads)]

    def copy() -> None:
        workers = [threading.Thread(target=np.copyto, args=pair) for pair in zip(targets, sources, strict=True)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    return 2 * threads * COPIED / _best(copy, seconds) / 1e9
