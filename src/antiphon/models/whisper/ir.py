"""Where an OpenVINO folder of Whisper, as optimum-intel lays it out, keeps the checkpoint's tensors.

It must not know what is computed with them.
"""

from __future__ import annotations

from pathlib import Path

from antiphon.errors import NotNative
from antiphon.types.options import WeightFormat
from antiphon.weights.openvino_ir.constants import Floats
from antiphon.weights.openvino_ir.source import IrTensors, IrWeights, Part, open_part

ENCODER = "openvino_encoder_model.xml"
DECODER = "openvino_decoder_model.xml"

_POSITIONS = "model.encoder.embed_positions.weight"
_TOKENIZERS = ("tokenizer.json", "vocab.json")


def has_ir(folder: Path) -> bool:
    """Whether the folder is an exported one."""
    return (folder / ENCODER).is_file() or (folder / DECODER).is_file()


def open_ir(folder: Path, weight_format: WeightFormat) -> IrWeights:
    """Read the folder's two graphs. Raises NotNative for one whose tensors cannot be told."""
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise NotNative(f"{folder}: no {' or '.join(_TOKENIZERS)}, and a tokenizer in OpenVINO's own form is not read.")
    encoder = open_part(folder / ENCODER, "model.encoder.", "model.encoder.layer_norm", rounded=True)
    parts = [encoder, open_part(folder / DECODER, "", "model.decoder.layer_norm", rounded=True)]
    return IrWeights(IrTensors(folder, parts, {_POSITIONS: _positions(encoder)}), weight_format)


def _positions(encoder: Part) -> Floats:
    """The table of positions, which the exporter looks up for all 1,500 itself: it is added before the first layer."""
    graph = encoder.graph
    first = graph.layer(encoder.inner("model.encoder.layers.0.self_attn_layer_norm"))
    added = None if first is None else graph.constant_of(graph.source(first))
    if added is None:
        raise NotNative(f"{graph.path}: tensor {_POSITIONS} cannot be found in the OpenVINO model.")
    return added.reshape(added.shape[-2:])
