"""What `openvino_genai` samples from an exported Whisper, token for token, computing as ours do in f32."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from openvino_genai import StreamerBase, StreamingStatus, WhisperPipeline

# Left alone it keeps its cache in 8 bits, which changes what a model of random weights says.
EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}


class WindowText(StreamerBase):
    """The ids a pipeline samples."""

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
    """Exactly so many `tokens` of a window of 16 kHz float32 samples, in English.

    Without times: with them it decodes the abandoned tail of a window again, in the same stream.
    """
    heard = WindowText()
    length = {"max_new_tokens": tokens, "min_new_tokens": tokens}
    pipeline.generate(samples.tolist(), streamer=heard, language="<|en|>", task="transcribe", **length)
    return heard.ids
