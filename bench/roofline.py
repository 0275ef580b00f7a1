"""The time that a Whisper needs at least on a machine, from the peak of its arithmetic and of its memory bandwidth.

The roofline of Williams, Waterman and Patterson (2009), phase by phase: a phase takes at least as long as its arithmetic at
the peak, and at least as long as its bytes take to come from memory. It counts the matrix products, and the weights and caches
that a step reads; it does not count features, norms, softmax and writes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

POSITIONS = 1500  # encoder positions of a window of 30 s, however short the clip in it
FRAMES = 3000
COPIED = 1 << 26  # bytes copied by a thread at a time; far more than a cache holds


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
        """Of the convolutions, the encoder, and the decoder's cross-attention keys and values."""
        convolutions = 2 * 3 * self.width * (FRAMES * self.mels + POSITIONS * self.width)
        layer = POSITIONS * (8 * self.width**2 + 4 * self.width * self.ffn + 4 * POSITIONS * self.width)
        return convolutions + self.layers * layer + self.decoder_layers * 4 * POSITIONS * self.width**2

    @property
    def step_weights(self) -> float:
        """Numbers in the matrices of a decoder step: each is read once for the whole batch."""
        return self.decoder_layers * (6 * self.width**2 + 2 * self.width * self.ffn) + self.width * self.vocabulary

    def row_flops(self, past: float) -> float:
        """Of one sequence in one step, after `past` tokens."""
        attention = self.decoder_layers * 4 * self.width * (POSITIONS + past)
        return 2 * self.step_weights + attention

    def row_bytes(self, past: float) -> float:
        """Of the KV cache that one sequence reads in one step, after `past` tokens."""
        return self.decoder_layers * 2 * self.width * (POSITIONS + past) * self.cache


def least_seconds(sizes: Dimensions, peak: Peak, windows: int, rows: int, tokens: int) -> float:
    """For `windows` windows in batches of `rows`, with `tokens` tokens each."""
    flops, bandwidth = peak.gflops * 1e9, peak.bandwidth * 1e9
    past = tokens / 2
    read = sizes.step_weights * sizes.weight + rows * sizes.row_bytes(past)
    step = max(rows * sizes.row_flops(past) / flops, read / bandwidth)
    return windows * sizes.window_flops / flops + windows / rows * tokens * step


def measure_peak(threads: int, seconds: float = 1.0) -> Peak:
    """Measure this machine, each of the three figures for about `seconds`, and take the best run."""
    return Peak(_numpy_gflops(seconds), _openvino_gflops(seconds), _bandwidth(threads, seconds))


def _best(run: Callable[[], object], seconds: float) -> float:
    """Seconds of the fastest run."""
    run()
    until = time.perf_counter() + seconds
    best = float("inf")
    while time.perf_counter() < until:
        began = time.perf_counter()
        run()
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
