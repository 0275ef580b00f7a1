"""A stand-in for `openvino_genai`: pipelines that give a fixed answer and record their calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

END = 0x110000  # above every letter: the stand-in's tokens are letters
GRAPH = """<net><layers>
<layer type="Const"><data element_type="u8" shape="8, 8" offset="0" size="64" /></layer>
<layer type="Const"><data element_type="f32" shape="8" offset="64" size="32" /></layer>
</layers></net>"""
FILES = {
    "whisper": ("encoder_model", "decoder_model", "tokenizer", "detokenizer"),
    "qwen3_asr": ("encoder_model", "decoder_model", "tokenizer", "detokenizer"),
    "fun_asr": ("encoder_model", "decoder_model", "tokenizer", "detokenizer"),
    "speecht5": ("encoder_model", "decoder_model", "postnet", "vocoder", "tokenizer"),
    "kokoro": ("model",),
}
SHAPES = {"speecht5": (1, 512), "kokoro": (510, 1, 256)}
CONFIGS: dict[str, dict[str, Any]] = {
    "whisper": {"model_type": "whisper", "max_target_positions": 448},
    "qwen3_asr": {"model_type": "qwen3_asr"},
    "fun_asr": {"model_type": "fun_asr"},
    "speecht5": {"model_type": "speecht5", "architectures": ["SpeechT5ForTextToSpeech"]},
    "kokoro": {"vocab": {"a": 1}, "istftnet": {}, "n_mels": 80},
}


def write_folder(folder: Path, family: str, **config: object) -> Path:
    """The files of an IR folder, none of which a stand-in opens."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIGS[family] | config))
    for name in ("generation_config.json", "preprocessor_config.json"):
        (folder / name).write_text("{}")
    for name in FILES[family]:
        (folder / f"openvino_{name}.xml").write_text(GRAPH)
        (folder / f"openvino_{name}.bin").write_bytes(bytes(96))
    if family == "kokoro":
        (folder / "data").mkdir()
        for name in ("us_gold", "us_silver", "gb_gold", "gb_silver"):
            (folder / "data" / f"{name}.json").write_text("{}")
    return folder


def write_voices(folder: Path, family: str, *names: str) -> None:
    (folder / "voices").mkdir(exist_ok=True)
    for index, name in enumerate(names):
        np.full(SHAPES[family], index + 1, "<f4").tofile(folder / "voices" / f"{name}.bin")


Spans = Sequence[tuple[float, float, str]]


def asr_answer(
    text: str = " words", language: str = "<|en|>", chunks: Spans | None = None, words: Spans | None = None
) -> Any:
    """An answer of `ASRPipeline`."""
    segments, timed = (
        None
        if spans is None
        else [[SimpleNamespace(start_ts=start, end_ts=end, text=chunk) for start, end, chunk in spans]]
        for spans in (chunks, words)
    )
    return SimpleNamespace(texts=[text], languages=[language.strip("<|>")], chunks=segments, words=timed, scores=[1.0])


def tts_answer(samples: Sequence[float] = (0.5, -0.5), rate: int = 16_000) -> Any:
    """An answer of `Text2SpeechPipeline`."""
    return SimpleNamespace(
        speeches=[SimpleNamespace(data=np.array([samples], np.float32))], output_sample_rate=rate, perf_metrics=None
    )


class StandInTokenizer:
    """A token a letter."""

    def encode(self, text: str, *, add_special_tokens: bool) -> Any:
        assert not add_special_tokens
        return SimpleNamespace(input_ids=SimpleNamespace(data=np.array([[*map(ord, text), END]])))

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(map(chr, tokens))


class StandInPipeline:
    """Answers with `answer`, or what it makes of the first argument; an exception is raised."""

    def __init__(self, answer: Any, family: str, languages: Sequence[str]) -> None:
        self.answer = answer
        self.calls: list[tuple[Any, ...]] = []  # positional arguments, then the named ones as a dict
        self._shape = SHAPES.get(family)
        self._config = SimpleNamespace(
            is_multilingual=bool(languages),
            lang_to_id={f"<|{code}|>": 50_300 - index for index, code in enumerate(reversed(languages))},
            eos_token_id=END,
            alignment_heads=[(0, 0)],
        )

    def get_tokenizer(self) -> StandInTokenizer:
        return StandInTokenizer()

    def get_generation_config(self) -> Any:
        return self._config

    def get_speaker_embedding_shape(self) -> tuple[int, ...]:
        assert self._shape is not None
        return self._shape

    def generate(self, *given: Any, **named: Any) -> Any:
        self.calls.append((*given, named))
        answer = self.answer(given[0]) if callable(self.answer) else self.answer
        if isinstance(answer, Exception):
            raise answer
        return answer


class StandInRuntime:
    """Opens stand-ins. `pipelines` are all that were opened; `opened` is what each was opened with."""

    def __init__(
        self,
        answer: Any | Callable[[Any], Any] = None,
        *,
        devices: Sequence[str] = ("CPU",),
        languages: Sequence[str] = ("en", "es"),
        fails: Exception | None = None,
    ) -> None:
        self.answer = answer
        self.fails = fails
        self.pipelines: list[StandInPipeline] = []
        self.opened: list[tuple[str, str, dict[str, object]]] = []
        self.first_text = ""  # what the first pass over the audio says
        self._devices = devices
        self._languages = languages

    def devices(self) -> Sequence[str]:
        return self._devices

    def precision(self, device: str) -> str:
        return "f16" if device.startswith("GPU") else "f32"

    def pipeline(self, kind: str, folder: Path, device: str, properties: Mapping[str, object]) -> StandInPipeline:
        if self.fails is not None:
            raise self.fails
        family = "kokoro" if (folder / "openvino_model.xml").exists() else "speecht5"
        pipeline = StandInPipeline(self.answer, family, self._languages)
        self.opened.append((kind, device, dict(properties)))
        self.pipelines.append(pipeline)
        return pipeline

    def tensor(self, values: np.ndarray) -> np.ndarray:
        return values

    def first_pass(self, *, stop: bool) -> Any:
        return SimpleNamespace(stop=stop, tokens=list(map(ord, self.first_text)))
