"""What an OpenVINO IR folder holds, for the genai backend: its family, its files, what its weights are stored in.

It must not know pipelines or devices.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal
from xml.etree import ElementTree

from antiphon.errors import ConfigError
from antiphon.weights.config_file import read_json

HearingFamily = Literal["whisper", "qwen3_asr", "fun_asr"]
SpeakingFamily = Literal["speecht5", "kokoro"]
Family = HearingFamily | SpeakingFamily

_ENCODER, _DECODER = "openvino_encoder_model.xml", "openvino_decoder_model.xml"
_TOKENIZER, _DETOKENIZER = "openvino_tokenizer.xml", "openvino_detokenizer.xml"

# What the pipeline opens; every .xml has its .bin beside it. Of the weights the last one named is looked at.
_FILES: Mapping[Family, tuple[str, ...]] = MappingProxyType(
    {
        "whisper": ("generation_config.json", _TOKENIZER, _DETOKENIZER, _ENCODER, _DECODER),
        "qwen3_asr": ("preprocessor_config.json", _TOKENIZER, _DETOKENIZER, _ENCODER, _DECODER),
        "fun_asr": (_TOKENIZER, _DETOKENIZER, _ENCODER, _DECODER),
        "speecht5": (_TOKENIZER, _ENCODER, "openvino_postnet.xml", "openvino_vocoder.xml", _DECODER),
        "kokoro": ("openvino_model.xml",),
    }
)
_LEXICONS = tuple(f"data/{country}_{metal}.json" for country in ("us", "gb") for metal in ("gold", "silver"))
_LEXICON_FOLDER = "MISAKI_DATA_DIR"  # the environment variable that the pipeline reads where a folder has none

_FORMATS: Mapping[str, str] = MappingProxyType(
    {"f32": "fp32", "f16": "fp16", "u8": "int8", "i8": "int8", "u4": "int4", "i4": "int4"}
)


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """A folder with everything that its family's pipeline opens; `weight_format` is what most of its values are in."""

    path: Path
    family: Family
    config: Mapping[str, Any]
    weight_format: str


def read_folder(path: Path) -> ModelFolder:
    """Raises ConfigError naming the file that is missing, or what `config.json` says that no pipeline serves."""
    config = read_json(path / "config.json")
    family = _family_of(path, config)
    files = _FILES[family]
    for name in files:
        for each in (name, name.replace(".xml", ".bin")) if name.endswith(".xml") else (name,):
            if not (path / each).is_file():
                raise ConfigError(f"{path / each}: no such file; {_remedy(path, family)}.")
    if family == "kokoro" and _LEXICON_FOLDER not in os.environ:
        for name in _LEXICONS:
            if not (path / name).is_file():
                raise ConfigError(
                    f"{path / name}: no such file; Kokoro reads English by misaki's lexicons: copy them there, or name "
                    f"their folder in {_LEXICON_FOLDER}."
                )
    return ModelFolder(path, family, config, _weight_format(path / files[-1]))


def _family_of(path: Path, config: Mapping[str, Any]) -> Family:
    kind: object = config.get("model_type")
    if kind == "whisper" or kind == "qwen3_asr" or kind == "fun_asr":
        return kind
    architectures = config.get("architectures") or ["none"]
    if kind == "speecht5" or "SpeechT5ForTextToSpeech" in architectures:
        if architectures[0] != "SpeechT5ForTextToSpeech":
            raise ConfigError(
                f'{path / "config.json"}: architectures is {architectures}; "SpeechT5ForTextToSpeech" must be its first.'
            )
        return "speecht5"
    if isinstance(config.get("vocab"), dict) or "Kokoro" in str(architectures[0]):
        return "kokoro"
    raise ConfigError(
        f"{path / 'config.json'}: model_type {kind!r} is not one that openvino_genai serves; it serves {', '.join(_FILES)}."
    )


def _remedy(path: Path, family: Family) -> str:
    """What makes a folder of the family complete."""
    if family == "whisper" or family == "speecht5":
        task = "speech2text" if family == "whisper" else "text2speech"
        return f"the genai backend reads OpenVINO IR, which `antiphon export {task} --source_model {path}` writes"
    return "the genai backend reads OpenVINO IR, which `optimum-cli export openvino` writes"


def _weight_format(graph: Path) -> str:
    """The format of most constant values of an IR, by the element types its .xml names."""
    values: Counter[str] = Counter()
    try:
        for _, element in ElementTree.iterparse(graph):
            if element.tag == "data" and "offset" in element.attrib:
                shape = [int(size) for size in element.get("shape", "").split(",") if size.strip()]
                values[element.get("element_type", "")] += math.prod(shape)
    except (ElementTree.ParseError, ValueError) as error:
        raise ConfigError(f"{graph}: not an OpenVINO graph ({error}); export the model again.") from error
    most = values.most_common(1)[0][0] if values else "none"
    return _FORMATS.get(most, most)
