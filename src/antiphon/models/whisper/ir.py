"""Where an OpenVINO folder of Whisper, as optimum-intel lays it out, keeps the checkpoint's tensors."""

from __future__ import annotations

from pathlib import Path

from antiphon.errors import NotNative
from antiphon.types.options import WeightFormat
from antiphon.weights.openvino_ir.constants import Floats
from antiphon.weights.openvino_ir.files import DECODER_MODEL, ENCODER_MODEL
from antiphon.weights.openvino_ir.source import IrPart, IrTensors, IrWeights, open_part

_POSITIONS = "model.encoder.embed_positions.weight"
_TOKENIZERS = ("tokenizer.json", "vocab.json")


def open_ir(folder: Path, weight_format: WeightFormat) -> IrWeights:
    """Open the folder's two graphs as a weight source. Raises NotNative if their tensors cannot be identified."""
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise NotNative(f"{folder}: no {' or '.join(_TOKENIZERS)}, and a tokenizer in OpenVINO's own form is not read.")
    encoder = open_part(folder / ENCODER_MODEL, "model.encoder.", "model.encoder.layer_norm", quantized_inputs=True)
    decoder = open_part(folder / DECODER_MODEL, "", "model.decoder.layer_norm", quantized_inputs=True)
    return IrWeights(IrTensors(folder, [encoder, decoder], {_POSITIONS: _positions(encoder)}), weight_format)


def _positions(encoder: IrPart) -> Floats:
    """The position embeddings `[1500, width]`: the exporter folds their lookup, so they are the constant that is added
    before the first layer."""
    graph = encoder.graph
    first = graph.layer(encoder.inner("model.encoder.layers.0.self_attn_layer_norm"))
    added = None if first is None else graph.constant_of(graph.source(first))
    if added is None:
        raise NotNative(f"{graph.path}: tensor {_POSITIONS} cannot be found in the OpenVINO model.")
    return added.reshape(added.shape[-2:])
