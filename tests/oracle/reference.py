"""A random-weight checkpoint loaded by transformers, the oracle, and by us; both get the same input.

Everything is float32 on both sides, and transformers gets one item at a time: its batches mix items up.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

from antiphon.models.whisper.config import WhisperConfig, read_config
from antiphon.models.whisper.session import WhisperSession
from antiphon.models.whisper.tokens import WhisperTokenizer, read_tokenizer
from antiphon.types.audio import Samples
from antiphon.types.events import LanguageDetected, Window
from antiphon.types.options import WeightFormat
from tests.support.drive_session import make_unit
from tests.support.sessions import EXACT_F32, load_session
from tests.support.whisper_checkpoint import Shape, write_checkpoint


@dataclass(frozen=True)
class Comparison:
    """One checkpoint, twice."""

    shape: Shape
    folder: Path
    model: WhisperForConditionalGeneration
    session: WhisperSession
    config: WhisperConfig
    tokenizer: WhisperTokenizer

    def features(self, samples: Samples) -> torch.Tensor:
        """The input of transformers: `[1, mels, 3000]`."""
        return torch.from_numpy(oracle_log_mel(samples, self.shape.mels))

    def logits(self, features: torch.Tensor, ids: Sequence[int]) -> NDArray[np.float32]:
        """The oracle's raw logits after each of `ids`: `[n, vocabulary]`, in one pass without a cache."""
        with torch.no_grad():
            output = self.model(features, decoder_input_ids=torch.tensor([list(ids)]), use_cache=False)
        return output.logits[0].numpy()


@dataclass(frozen=True)
class Answer:
    """What transformers made of a unit: `scores [n + 1 or n, vocabulary]` are filtered logits, the end token's too."""

    prefix: list[int]
    tokens: list[int]
    ended: bool
    scores: NDArray[np.float32]


def make_comparison(folder: Path, shape: Shape, slots: int = 6) -> Comparison:
    """Write the checkpoint of `shape` into `folder` and load it on both sides."""
    model = write_checkpoint(folder, shape)
    config = read_config(folder)
    return Comparison(shape, folder, model, open_session(folder, slots), config, read_tokenizer(folder, config))


def open_session(folder: Path, slots: int = 6, weight_format: WeightFormat = "auto") -> WhisperSession:
    """Our session in f32, whatever the processor."""
    session = load_session(str(folder), plugin_config=EXACT_F32, weight_format=weight_format, slots=slots)
    assert isinstance(session, WhisperSession)
    return session


def detected(session: WhisperSession, samples: Samples) -> LanguageDetected:
    """What our session says of the language, and nothing else."""
    unit = make_unit(samples, max_new_tokens=1)
    events = [event for event in session.join([unit]) if isinstance(event, LanguageDetected)]
    session.leave(unit)
    (event,) = events
    return event


def ask_oracle(comparison: Comparison, unit: Window, prompt: Sequence[int] = ()) -> Answer:
    """Let transformers decode the unit greedily. `prompt` are the ids of its prompt, <|startofprev|> excluded."""
    options = unit.options
    naming = {"language": options.language, "task": options.task} if comparison.config.multilingual else {}
    previous = [comparison.shape.ids["<|startofprev|>"], *prompt]
    output = comparison.model.generate(
        comparison.features(unit.samples),
        return_timestamps=unit.options.timestamps,
        prompt_ids=torch.tensor(previous) if prompt else None,
        max_new_tokens=options.max_new_tokens,
        do_sample=False,
        num_beams=1,
        temperature=0.0,
        # One call, whose raw output is handed out: otherwise sequences are put together from segments.
        force_unique_generate_call=True,
        return_dict_in_generate=True,
        output_scores=True,
        **naming,
    )
    scores = torch.cat(output.scores).numpy()
    ids = output.sequences[0].tolist()
    prefix, tokens = ids[: -len(scores)], ids[-len(scores) :]
    ended = tokens[-1] == comparison.shape.ids["<|endoftext|>"]
    return Answer(prefix, tokens[:-1] if ended else tokens, ended, scores)


@functools.cache
def extractor(mels: int) -> WhisperFeatureExtractor:
    """The oracle's ears."""
    return WhisperFeatureExtractor(feature_size=mels)


def oracle_log_mel(samples: Samples, mels: int) -> NDArray[np.float32]:
    """Short-form features: the waveform padded with zeros to 30 s, `[1, mels, 3000]`."""
    features: NDArray[np.float32] = extractor(mels)(samples, sampling_rate=16_000, return_tensors="np").input_features
    return features
