"""Who is compared: Antiphon, `openvino_genai.WhisperPipeline` behind a lock (what OVMS serves), and faster-whisper.

All hear the same random checkpoint with int8 weights, in English, greedy, without timestamps, and sample exactly as many
tokens a window as they are told. How each is made to:

* Antiphon: `min_new_tokens` and `max_new_tokens` of a window.
* openvino_genai: the same two names. Of a file they bound all windows together, so it is given a file in slices of 30 s,
  one after another, which is what its own loop does without timestamps.
* faster-whisper: <|endoftext|> is among `suppress_tokens`, and `max_new_tokens` is twice the number less the prompt's four,
  because CTranslate2 samples at most half of the length it is given. The thresholds that would have a window decoded again
  are off, and so is its voice activity detection (noise is no voice): the batched pipeline is told windows of 30 s.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from antiphon.types.audio import SAMPLE_RATE, WINDOW_SAMPLES, Samples
from bench.checkpoints import PUBLISHED, Shape, write_checkpoint

SHAPES = {name: replace(shape, init_std=0.02) for name, shape in PUBLISHED.items()}
SHAPES["small"] = Shape("small", width=768, heads=12, layers=12, init_std=0.02)
OURS, LOCKED, SINGLE, BATCHED = "antiphon", "locked genai", "faster-whisper", "faster-whisper batched"
PEERS = (OURS, LOCKED, SINGLE, BATCHED)
BATCH = 8  # windows the batched pipeline decodes side by side; its default
PROMPT = 4  # <|startoftranscript|><|en|><|transcribe|><|notimestamps|>

Transcribe = Callable[[Samples, int], int]  # audio and forced tokens a window in, the number of sampled tokens out


@dataclass(frozen=True)
class Folders:
    """One checkpoint as each reads it."""

    checkpoint: Path
    exported: Path
    converted: Path


def prepare(work: Path, shape: Shape, peers: tuple[str, ...] = PEERS) -> Folders:
    """The checkpoint, optimum's int8 export of it, and CTranslate2's conversion: what is wanted and not there yet is made."""
    folders = Folders(work / shape.name, work / f"{shape.name}-optimum-int8", work / f"{shape.name}-ctranslate2-int8")
    if not (folders.checkpoint / "model.safetensors").is_file():
        write_checkpoint(folders.checkpoint, shape)
    if LOCKED in peers and not (folders.exported / "openvino_decoder_model.xml").is_file():
        command = ["export", "openvino", "--model", str(folders.checkpoint), "--weight-format", "int8"]
        tool = Path(sys.executable).with_name("optimum-cli")
        task = ["--task", "automatic-speech-recognition-with-past"]
        subprocess.run([str(tool), *command, *task, str(folders.exported)], check=True)
    if {SINGLE, BATCHED} & set(peers) and not (folders.converted / "model.bin").is_file():
        from ctranslate2.converters import TransformersConverter

        converter = TransformersConverter(str(folders.checkpoint), copy_files=["tokenizer.json"])
        converter.convert(str(folders.converted), quantization="int8")
    return folders


def load_peers(
    folders: Folders, names: tuple[str, ...], weight_format: str, audio_context: str = "full", streams: int = 1
) -> dict[str, Transcribe]:
    """Those of PEERS that are wanted, loaded into this process, in their order."""
    loaded: dict[str, Transcribe] = {}
    if OURS in names:
        loaded[OURS] = load_ours(folders.checkpoint, weight_format, audio_context, streams)
    if LOCKED in names:
        loaded[LOCKED] = load_locked(folders.exported)
    if {SINGLE, BATCHED} & set(names):
        single, batched = load_faster(folders.converted)
        loaded |= {name: each for name, each in ((SINGLE, single), (BATCHED, batched)) if name in names}
    return loaded


def load_ours(folder: Path, weight_format: str, audio_context: str = "full", streams: int = 1) -> Transcribe:
    """Antiphon's own service in process, as the HTTP layer calls it."""
    from antiphon.loader import LoadOptions, load_sessions
    from antiphon.model_server import ModelServer
    from antiphon.service import SpeechService, TranscribeRequest
    from antiphon.types.options import TranscribeOptions, VadOptions

    options = LoadOptions(
        weight_format=weight_format,  # type: ignore[arg-type]
        audio_context=audio_context,  # type: ignore[arg-type]
        plugin_config={"NUM_STREAMS": streams},
        report=print,
    )
    service = SpeechService(ModelServer())
    service.models.add(*load_sessions(str(folder), options))

    def transcribe(samples: Samples, tokens: int) -> int:
        options = TranscribeOptions(
            language="en", max_new_tokens=tokens, min_new_tokens=tokens, vad=VadOptions("energy")
        )
        with service.admit(TranscribeRequest(None, options)) as admitted:
            return sum(len(segment.tokens) for segment in admitted.transcribe_blocking(samples).segments)

    return transcribe


def load_locked(folder: Path) -> Transcribe:
    """One pipeline, one lock; the lock is let go between a file's windows, as little as that changes."""
    import openvino_genai

    pipeline = openvino_genai.WhisperPipeline(str(folder), "CPU")
    lock = threading.Lock()

    def transcribe(samples: Samples, tokens: int) -> int:
        sampled = 0
        for window in _slices(samples):
            with lock:
                result = pipeline.generate(
                    window, language="<|en|>", task="transcribe", max_new_tokens=tokens, min_new_tokens=tokens
                )
            sampled += int(result.perf_metrics.get_num_generated_tokens())
        return sampled

    return transcribe


def load_faster(folder: Path) -> tuple[Transcribe, Transcribe]:
    """faster-whisper's model, which queues what several threads ask, and its batched pipeline over the same one."""
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=len(os.sched_getaffinity(0)))
    pipeline = BatchedInferencePipeline(model)
    plain: dict[str, Any] = {
        "language": "en",
        "beam_size": 1,
        "temperature": 0.0,
        "no_speech_threshold": None,
        "log_prob_threshold": None,
        "compression_ratio_threshold": None,
        "condition_on_previous_text": False,
        "without_timestamps": True,
        "suppress_tokens": [-1, model.hf_tokenizer.token_to_id("<|endoftext|>")],
        "vad_filter": False,
    }

    def single(samples: Samples, tokens: int) -> int:
        segments, _ = model.transcribe(samples, max_new_tokens=2 * tokens - PROMPT, **plain)
        return sum(len(segment.tokens) for segment in segments)

    def batched(samples: Samples, tokens: int) -> int:
        edges = [*range(0, len(samples), WINDOW_SAMPLES), len(samples)]
        windows = [{"start": start / SAMPLE_RATE, "end": end / SAMPLE_RATE} for start, end in itertools.pairwise(edges)]
        segments, _ = pipeline.transcribe(
            samples, max_new_tokens=2 * tokens - PROMPT, clip_timestamps=windows, batch_size=BATCH, **plain
        )
        return sum(len(segment.tokens) for segment in segments)

    return single, batched


def _slices(samples: Samples) -> Iterator[np.ndarray]:
    for start in range(0, len(samples), WINDOW_SAMPLES):
        yield samples[start : start + WINDOW_SAMPLES]
