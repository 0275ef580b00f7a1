"""Tokenizers and detokenizers as OpenVINO graphs, built with the steps of openvino-tokenizers, without transformers.

Two kinds are supported: byte-level BPE (`tokenizer.json`) and SentencePiece (a `.model` file).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops
from openvino_tokenizers import _get_factory, constants, tokenizer_pipeline, utils
from openvino_tokenizers.tokenizer_pipeline import (
    BPETokenizationStep,
    BytesToCharsStep,
    CharsToBytesStep,
    CombineSegmentsStep,
    PaddingStep,
    RegexSplitStep,
    Sequence,
    SpecialToken,
    SpecialTokensSplit,
    TokenizerPipeline,
    TruncationStep,
    UTF8ValidateStep,
    VocabDecoderStep,
)
from sentencepiece import sentencepiece_model_pb2

from antiphon.errors import ConfigError
from antiphon.weights.config_file import read_json

TOKENIZER = "tokenizer.json"
SETTINGS = "tokenizer_config.json"
ADDED = "added_tokens.json"

_LONGEST = 2**31 - 1
_pieces: Any = sentencepiece_model_pb2  # its classes are generated at run time

Models = tuple[ov.Model, ov.Model]


def byte_pair_graphs(folder: Path, special: Mapping[str, int | None]) -> Models:
    """Tokenizer and detokenizer of a byte-level BPE. `special` are the ids that readers look up in the graph.

    Raises ConfigError if `tokenizer.json` is of another kind.
    """
    path = folder / TOKENIZER
    content = read_json(path)
    _check_byte_level(path, content)
    added = {token["id"]: token for token in content["added_tokens"]}
    pipeline = TokenizerPipeline()
    splits = [SpecialToken(token["content"], token["lstrip"], token["rstrip"]) for token in added.values()]
    pipeline.add_steps([SpecialTokensSplit(splits), RegexSplitStep.byte_level_splitter(), BytesToCharsStep()])
    content["model"] = _BPE_DEFAULTS | content["model"]
    pipeline.add_steps(BPETokenizationStep.from_hf_json(content))
    pipeline.vocab = pipeline[-1].vocab
    combined = _combined(content.get("post_processor"))
    settings = read_json(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}
    longest = int(min(settings.get("model_max_length") or _LONGEST, _LONGEST)) - combined.number_of_added_tokens
    pipeline.add_steps([TruncationStep(longest), combined, PaddingStep(_token_id=special.get("pad_token_id"))])
    decoded = VocabDecoderStep.from_hf_json(
        tokenizer_json=content,
        pipeline_vocab=pipeline.vocab,
        skip_tokens=[index for index, token in added.items() if token["special"]],
        added_tokens={index: token["content"] for index, token in added.items()},
        is_byte_level=True,
    )
    valid = UTF8ValidateStep(mode=constants.UTF8ReplaceMode.REPLACE)
    pipeline.add_steps([decoded, CharsToBytesStep(), valid])
    made = pipeline.get_tokenizer_ov_subgraph()
    kept = [made.output(name) for name in _OUTPUTS]
    tokenizer = ov.Model(kept, made.get_sinks(), made.get_parameters(), constants.TOKENIZER_NAME)
    return _finished(tokenizer, pipeline.get_detokenizer_ov_subgraph(), special)


# Fields that older versions of tokenizers left out; the published tokenizer.json of whisper-tiny.en has no byte_fallback.
_BPE_DEFAULTS: Mapping[str, object] = MappingProxyType(
    {
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
    }
)
_OUTPUTS = (constants.TOKEN_IDS_INPUT_NAME, constants.ATTENTION_MASK_INPUT_NAME)


def _check_byte_level(path: Path, content: Mapping[str, Any]) -> None:
    model, before = content.get("model") or {}, content.get("pre_tokenizer") or {}
    if model.get("type") != "BPE" or before.get("type") != "ByteLevel" or content.get("normalizer"):
        raise ConfigError(f"{path}: not the byte-level BPE that Whisper has; copy the model's own {TOKENIZER}.")


def _combined(processor: Mapping[str, Any] | None) -> CombineSegmentsStep:
    """The tokens that a template puts around a text, if any."""
    for step in (processor or {}).get("processors", [processor]):
        if step is not None and step["type"] == "TemplateProcessing":
            return CombineSegmentsStep.from_hf_json_template_postprocessor(step)
    return CombineSegmentsStep([Sequence()])


def sentence_piece_graphs(path: Path, special: Mapping[str, int | None]) -> Models:
    """Tokenizer and detokenizer of a SentencePiece model that ends texts with its end token, like SpeechT5's."""
    try:
        model = _pieces.ModelProto.FromString(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as a SentencePiece model ({error}); copy the file again.") from error
    kinds = _pieces.ModelProto.SentencePiece
    added = _added_pieces(path.parent, model)
    for name in [name for index, name in added.items() if index >= len(model.pieces)]:
        last = model.pieces[-1]
        model.pieces.add(piece=name, score=last.score, type=last.type)
    # Detokenized as the token itself, not as SentencePiece's ⁇.
    model.trainer_spec.unk_surface = next(piece.piece for piece in model.pieces if piece.type == kinds.UNKNOWN)
    tokenizer = _piece_tokenizer(model.SerializeToString(), added, special)
    for index in added:
        if model.pieces[index].type not in (kinds.UNKNOWN, kinds.USER_DEFINED):
            model.pieces[index].type = kinds.CONTROL  # control tokens are left out of detokenized text
    return _finished(tokenizer, _piece_detokenizer(model.SerializeToString()), special)


def _added_pieces(folder: Path, model: Any) -> dict[int, str]:
    """The tokens that are never split: the model's control tokens, and those that a checkpoint adds after them."""
    kinds = _pieces.ModelProto.SentencePiece
    own = {
        index: piece.piece for index, piece in enumerate(model.pieces) if piece.type in (kinds.CONTROL, kinds.UNKNOWN)
    }
    more = read_json(folder / ADDED) if (folder / ADDED).is_file() else {}
    added = own | {index: name for name, index in sorted(more.items(), key=lambda item: item[1])}
    appended = [index for index in added if index >= len(model.pieces)]
    if appended != [*range(len(model.pieces), len(model.pieces) + len(appended))]:
        raise ConfigError(
            f"{folder / ADDED}: its ids do not follow the {len(model.pieces)} of the SentencePiece model."
        )
    return added


def _piece_tokenizer(model: bytes, added: Mapping[int, str], special: Mapping[str, int | None]) -> ov.Model:
    text = ops.parameter(ov.PartialShape(["?"]), ov.Type.string, "string_input")
    names = sorted(((name, index) for index, name in added.items()), reverse=True)
    inputs = [_bytes(model), text.output(0), *utils.create_string_constant_node([name for name, _ in names])]
    inputs.append(ops.constant(np.array([index for _, index in names], np.int32)).output(0))
    options = {"add_bos": False, "add_eos": True, "reverse": False, "alpha": 1.0, "nbest_size": 1}
    indices, values, shape = _get_factory().create("SentencepieceTokenizer", inputs, options).outputs()
    filler = ops.constant(np.int32(special.get("pad_token_id") or 0))
    ids = ops.scatter_nd_update(ops.broadcast(filler, shape), indices, values)
    ones = ops.broadcast(ops.constant(np.int32(1)), ops.shape_of(values))
    mask = ops.scatter_nd_update(ops.broadcast(ops.constant(np.int32(0)), shape), indices, ones)
    for node, name in zip((ids, mask), _OUTPUTS, strict=True):
        node.output(0).set_names({name})
    return ov.Model([ids, mask], [text], constants.TOKENIZER_NAME)


def _piece_detokenizer(model: bytes) -> ov.Model:
    ids = ops.parameter(ov.PartialShape([-1, -1]), ov.Type.i32, "ids")
    decoded = _get_factory().create("SentencepieceDetokenizer", [_bytes(model), ids.output(0)]).outputs()
    valid = UTF8ValidateStep(constants.UTF8ReplaceMode.REPLACE).get_ov_subgraph(decoded)
    packed = tokenizer_pipeline._get_opset_factory("opset15").create("StringTensorPack", valid)
    packed.output(0).set_names({constants.STRING_OUTPUT_NAME})
    return ov.Model([packed], [ids], constants.DETOKENIZER_NAME)


def _bytes(content: bytes) -> ov.Output:
    return ops.constant(np.frombuffer(content, np.uint8)).output(0)


def _finished(tokenizer: ov.Model, detokenizer: ov.Model, special: Mapping[str, int | None]) -> Models:
    """Both graphs with 64-bit ids, and the special ids that readers look up."""
    models = utils.change_outputs_type(tokenizer, ov.Type.i64), utils.change_inputs_type(detokenizer, ov.Type.i64)
    for model in models:
        for name, index in special.items():
            if index is not None:
                model.set_rt_info(index, name)
    return models
