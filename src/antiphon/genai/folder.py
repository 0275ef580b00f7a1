"""The files that an OpenVINO GenAI pipeline needs in a model folder, and the format of the weights there."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from xml.etree import ElementTree

from antiphon.errors import ConfigError
from antiphon.models.family import Family
from antiphon.models.folder import ModelFolder
from antiphon.weights.config_file import CONFIG_FILE
from antiphon.weights.openvino_ir.constants import FORMAT_NAMES
from antiphon.weights.openvino_ir.files import DECODER_MODEL, DETOKENIZER, ENCODER_MODEL, POSTNET, TOKENIZER, VOCODER

# By family. Every .xml file has a .bin file of the same name; the weight format is that of the last file.
_FILES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "whisper": ("generation_config.json", TOKENIZER, DETOKENIZER, ENCODER_MODEL, DECODER_MODEL),
        "qwen3_asr": ("preprocessor_config.json", TOKENIZER, DETOKENIZER, ENCODER_MODEL, DECODER_MODEL),
        "fun_asr": (TOKENIZER, DETOKENIZER, ENCODER_MODEL, DECODER_MODEL),
        "speecht5": (TOKENIZER, ENCODER_MODEL, POSTNET, VOCODER, DECODER_MODEL),
        "kokoro": ("openvino_model.xml",),
    }
)
# The pipeline looks at the first architecture only.
_FIRST_ARCHITECTURE: Mapping[str, str] = MappingProxyType({"speecht5": "SpeechT5ForTextToSpeech"})
_LEXICONS = tuple(f"data/{country}_{metal}.json" for country in ("us", "gb") for metal in ("gold", "silver"))
_LEXICON_FOLDER = "MISAKI_DATA_DIR"  # the environment variable that the pipeline reads if a folder has no lexicons


def check_files(folder: ModelFolder) -> str:
    """Check that a pipeline can open the folder, and return the format that most of its weights are stored in.

    Raises ConfigError naming the missing file and how to make it, or the entry of config.json that is not served.
    """
    family = folder.served_family()
    if family.name not in _FILES:
        raise ConfigError(
            f"{folder.path}: {family.name} is not served by openvino_genai; it serves {', '.join(_FILES)}."
        )
    first = _FIRST_ARCHITECTURE.get(family.name)
    if first is not None and (architectures := folder.config.get("architectures") or ["none"])[0] != first:
        raise ConfigError(
            f'{folder.path / CONFIG_FILE}: architectures is {architectures}; "{first}" must be its first.'
        )
    files = _FILES[family.name]
    for name in files:
        for file in (name, name.replace(".xml", ".bin")) if name.endswith(".xml") else (name,):
            if not (folder.path / file).is_file():
                raise ConfigError(f"{folder.path / file}: no such file; {_remedy(folder.path, family)}.")
    if family.name == "kokoro" and _LEXICON_FOLDER not in os.environ:
        for name in _LEXICONS:
            if not (folder.path / name).is_file():
                raise ConfigError(
                    f"{folder.path / name}: no such file; Kokoro reads English with misaki's lexicons: copy them there, "
                    f"or set {_LEXICON_FOLDER} to their folder."
                )
    return _weight_format(folder.path / files[-1])


def _remedy(path: Path, family: Family) -> str:
    command = "optimum-cli export openvino"
    if family.export is not None:
        command = f"antiphon export {family.task} --source_model {path}"
    return f"the genai backend reads OpenVINO IR, which `{command}` writes"


def _weight_format(graph: Path) -> str:
    """The format of most constant values of an IR, by the element types in its .xml file."""
    values: Counter[str] = Counter()
    try:
        for _, element in ElementTree.iterparse(graph):
            if element.tag == "data" and "offset" in element.attrib:
                shape = [int(size) for size in element.get("shape", "").split(",") if size.strip()]
                values[element.get("element_type", "")] += math.prod(shape)
    except (ElementTree.ParseError, ValueError) as error:
        raise ConfigError(f"{graph}: not an OpenVINO graph ({error}); export the model again.") from error
    most = values.most_common(1)[0][0] if values else "none"
    return FORMAT_NAMES.get(most, most)
