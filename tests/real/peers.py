"""The same models in transformers and in faster-whisper: greedy, in float32, without VAD."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from faster_whisper import WhisperModel
from tokenizers import Tokenizer
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

from antiphon.types.audio import WINDOW_SAMPLES, Samples
from tests.real.recordings import Recording

POSITIONS = 448  # of the decoder: the prompt and all tokens


@dataclass(frozen=True)
class Answer:
    """Sampled tokens without the end token, and how far each was ahead of the second best one, in logits."""

    tokens: list[int]
    margins: list[float]


class Transformers:
    """A checkpoint in transformers, one window at a time. Answers are kept, because they are slow to come by."""

    def __init__(self, checkpoint: Path) -> None:
        self._model = WhisperForConditionalGeneration.from_pretrained(checkpoint, dtype=torch.float32).eval()
        self._extractor = WhisperFeatureExtractor.from_pretrained(checkpoint)
        self._tokenizer = Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
        self._answers: dict[tuple[bytes, str, str, bool], Answer] = {}

    @property
    def multilingual(self) -> bool:
        return bool(self._model.generation_config.is_multilingual)

    def room(self, *, timestamps: bool) -> int:
        """The most tokens that fit after the prompt."""
        return POSITIONS - (3 if self.multilingual else 1) - (not timestamps)

    def answer(self, samples: Samples, language: str, *, task: str = "transcribe", timestamps: bool = False) -> Answer:
        """Transcribe or translate one window with all the tokens that there is room for."""
        key = (samples.tobytes(), language, task, timestamps)
        if key not in self._answers:
            self._answers[key] = self._generate(samples, language, task, timestamps)
        return self._answers[key]

    def text(self, recording: Recording, task: str = "transcribe") -> str:
        """The text of all windows, without timestamps."""
        answers = [self.answer(window, recording.language, task=task) for window in recording.windows()]
        return " ".join(self.decode(answer.tokens) for answer in answers)

    def decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens, skip_special_tokens=True)).strip()

    def _generate(self, samples: Samples, language: str, task: str, timestamps: bool) -> Answer:
        features = self._extractor(samples, sampling_rate=16_000, return_tensors="pt").input_features
        output = self._model.generate(
            features,
            return_timestamps=timestamps,
            max_new_tokens=self.room(timestamps=timestamps),
            do_sample=False,
            num_beams=1,
            # One call, whose raw output is handed out: otherwise sequences are put together from segments.
            force_unique_generate_call=True,
            return_dict_in_generate=True,
            output_scores=True,
            **({"language": language, "task": task} if self.multilingual else {}),
        )
        best = torch.cat([scores.topk(2).values for scores in output.scores])
        tokens = output.sequences[0, -len(best) :].tolist()
        margins = (best[:, 0] - best[:, 1]).tolist()
        if tokens[-1] == self._model.generation_config.eos_token_id:
            del tokens[-1]
        return Answer(tokens, margins)


class FasterWhisper:
    """A CTranslate2 folder in faster-whisper: no beams, no second attempts, no history, no VAD."""

    def __init__(self, folder: Path) -> None:
        self._model = WhisperModel(str(folder), device="cpu", compute_type="float32", cpu_threads=1)

    def text(self, recording: Recording) -> str:
        """The text of a recording of at most 30 s, which is padded with silence, as openai-whisper and transformers pad.

        faster-whisper pads the log-mel features with zeros instead, which is no silence. That changes some words, and in
        Portuguese one of three clips ends in a loop (338 % word errors, for 5 % with silence).
        """
        samples = recording.samples
        segments, _ = self._model.transcribe(
            np.pad(samples, (0, WINDOW_SAMPLES - len(samples))),
            language=recording.language,
            beam_size=1,
            temperature=0.0,
            condition_on_previous_text=False,
            vad_filter=False,
            without_timestamps=True,
        )
        return " ".join(segment.text.strip() for segment in segments)
