"""The tokens that `openvino_genai` samples from an exported Whisper in f32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from openvino_genai import StreamerBase, StreamingStatus, WhisperPipeline

from tests.support.sessions import EXACT_F32

# Its KV cache has 8 bits by default, which changes the tokens of a model with random weights.
EXACT = {"KV_CACHE_PRECISION": "f32", **EXACT_F32}


class WindowText(StreamerBase):
    """Collects the ids that a pipeline samples."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[int] = []

    def write(self, token: int | list[int]) -> StreamingStatus:
        self.ids += token if isinstance(token, list) else [token]
        return StreamingStatus.RUNNING

    def end(self) -> None:
        pass


def open_exact(folder: Path) -> WhisperPipeline:
    """A pipeline over the export in `folder`, arithmetic and cache in f32."""
    return WhisperPipeline(str(folder), "CPU", **EXACT)


def sample(pipeline: WhisperPipeline, samples: np.ndarray, tokens: int) -> list[int]:
    """Exactly `tokens` tokens of a window of 16 kHz float32 samples, in English.

    Without timestamps: with them it decodes the tail of a window again, in the same stream.
    """
    window_text = WindowText()
    length = {"max_new_tokens": tokens, "min_new_tokens": tokens}
    pipeline.generate(samples.tolist(), streamer=window_text, language="<|en|>", task="transcribe", **length)
    return window_text.ids
