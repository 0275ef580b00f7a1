"""Where an OpenVINO folder of SpeechT5, as optimum-intel lays it out, keeps the checkpoint's tensors, and its vocoder.

It must not know what is computed with them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from antiphon.errors import NotNative
from antiphon.models.speecht5.config import SpeechT5Config, VocoderConfig, check_vocoder
from antiphon.models.speecht5.graph import sinusoids
from antiphon.models.speecht5.graph_sound import LAST_SLOPE
from antiphon.types.options import WeightFormat
from antiphon.weights.openvino_ir.constants import Floats, fold
from antiphon.weights.openvino_ir.graph import IrGraph, Operation, read_graph
from antiphon.weights.openvino_ir.source import IrTensors, IrWeights, Part, open_part

ENCODER = "openvino_encoder_model.xml"
DECODER = "openvino_decoder_model.xml"
POSTNET = "openvino_postnet.xml"
VOCODER = "openvino_vocoder.xml"

_TOKENIZERS = ("tokenizer.json", "spm_char.model")
# An export does not say it. SpeechT5's own vocoder makes 16 kHz, and OpenVINO's pipeline takes that for granted.
_SAMPLE_RATE = 16_000


def has_ir(folder: Path) -> bool:
    """Whether the folder is an exported one."""
    return (folder / ENCODER).is_file() or (folder / DECODER).is_file()


def has_vocoder(folder: Path) -> bool:
    """Whether the folder holds an exported vocoder."""
    return (folder / VOCODER).is_file()


def check_tokenizer(folder: Path) -> None:
    """Raises NotNative where the tokenizer is there in OpenVINO's own form only."""
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise NotNative(f"{folder}: no {' or '.join(_TOKENIZERS)}, and a tokenizer in OpenVINO's own form is not read.")


def open_ir(folder: Path, config: SpeechT5Config, weight_format: WeightFormat) -> IrWeights:
    """Read encoder, decoder and post-net. Raises NotNative for a folder whose tensors cannot be told."""
    encoder = open_part(folder / ENCODER, "speecht5.encoder.", "speecht5.encoder.wrapped_encoder.layer_norm")
    last = f"speecht5.decoder.wrapped_decoder.layers.{config.decoder_layers - 1}.final_layer_norm"
    decoder = open_part(folder / DECODER, "", last)
    known = {
        **_alpha(encoder, "speecht5.encoder.prenet.encode_positions"),
        **_alpha(decoder, "speecht5.decoder.prenet.encode_positions"),
        **_postnet(read_graph(folder / POSTNET), config.postnet_layers),
    }
    return IrWeights(IrTensors(folder, [encoder, decoder], known), weight_format)


def open_vocoder_ir(folder: Path) -> tuple[VocoderConfig, IrWeights]:
    """Read the vocoder, and what its config would say. Raises NotNative for one that is no HiFi-GAN as we know it."""
    graph = read_graph(folder / VOCODER)
    config, known = _vocoder_config(graph)
    return config, IrWeights(IrTensors(folder, [Part(graph, "", "")], known))


def _alpha(part: Part, module: str) -> dict[str, Floats]:
    """The factor of the position vectors. A factor of one is left out; another may have been folded into the table."""
    constants = part.graph.constants_in(part.inner(module))
    tables = [one for one in constants if one.size > 1]
    if len(tables) != 1:
        raise NotNative(f"{part.graph.path}: tensor {module}.alpha cannot be found in the OpenVINO model.")
    count, width = (int(size) for size in tables[0].shape[-2:])
    table, expected = tables[0].reshape(count, width), sinusoids(count, width)
    share = float((table * expected).sum() / np.square(expected).sum())
    if np.abs(table - share * expected).max() > 0.01 * abs(share):
        raise NotNative(f"{part.graph.path}: {module} adds other position vectors than SpeechT5's.")
    # A stored table is rounded; where it is the plain one, so that nothing was folded into it, its share is one.
    factor = (1.0 if abs(share - 1) < 1e-3 else share) * np.prod([one.item() for one in constants if one.size == 1])
    return {f"{module}.alpha": np.array(factor, np.float32)}


def _postnet(graph: IrGraph, layers: int) -> dict[str, Floats]:
    """The post-net's convolutions in their order: batch norm is folded into them, and with it went their names."""
    convolutions = graph.operations("Convolution")
    if len(convolutions) != layers:
        raise NotNative(f"{graph.path}: {len(convolutions)} convolutions, but config.json says {layers} layers.")
    found: dict[str, Floats] = {}
    for index, layer in enumerate(convolutions):
        name = f"speech_decoder_postnet.layers.{index}.conv"
        kernel, bias = graph.weight(layer), graph.bias(layer)
        found[f"{name}.weight"] = fold(kernel)
        found[f"{name}.bias"] = np.zeros(graph.width(layer), np.float32) if bias is None else bias
    return found


def _vocoder_config(graph: IrGraph) -> tuple[VocoderConfig, dict[str, Floats]]:
    """Every number from the layers themselves, and the normalisation in front of them."""
    first, last = _layer(graph, "conv_pre"), _layer(graph, "conv_post")
    ups = _numbered(graph, "upsampler.{}")
    blocks = _numbered(graph, "resblocks.{}.convs1.0")
    if not ups or not blocks or len(blocks) % len(ups):
        raise NotNative(f"{graph.path}: {len(ups)} upsamplings and {len(blocks)} residual blocks make no HiFi-GAN.")
    slope = _slope(graph, ups[0])
    if abs(_slope(graph, last) - LAST_SLOPE) > 1e-4:
        raise NotNative(f"{graph.path}: the last rectifier's slope is {_slope(graph, last)}, not {LAST_SLOPE}.")
    count = len(blocks) // len(ups)
    known = _normalisation(graph, first)
    config = VocoderConfig(
        mels=_shape(first)[1],
        sample_rate=_SAMPLE_RATE,
        channels=_shape(first)[0],
        rates=tuple(int(one.attributes["strides"][0]) for one in ups),
        kernels=tuple(_shape(one)[2] for one in ups),
        block_kernels=tuple(_shape(one)[2] for one in blocks[:count]),
        block_dilations=tuple(_dilations(graph, index) for index in range(count)),
        slope=slope,
        normalize=bool(known),
    )
    check_vocoder(graph.path, config)
    return config, known


def _layer(graph: IrGraph, module: str) -> Operation:
    layer = graph.layer(module)
    if layer is None:
        raise NotNative(f"{graph.path}: no operation is named after the module {module}.")
    return layer


def _numbered(graph: IrGraph, module: str) -> list[Operation]:
    """The layers of modules 0, 1, …, as far as there are some."""
    found: list[Operation] = []
    while (layer := graph.layer(module.format(len(found)))) is not None:
        found.append(layer)
    return found


def _dilations(graph: IrGraph, block: int) -> tuple[int, ...]:
    layers = _numbered(graph, f"resblocks.{block}.convs1.{{}}")
    return tuple(int(layer.attributes["dilations"][0]) for layer in layers)


def _shape(layer: Operation) -> tuple[int, ...]:
    return tuple(layer.node.input(1).get_shape())


def _slope(graph: IrGraph, layer: Operation) -> float:
    rectifier = graph.source(layer)
    slope = graph.constant_of(rectifier) if rectifier.kind == "PRelu" else None
    if slope is None or slope.size != 1:
        raise NotNative(f"{graph.path}: no leaky rectifier in front of {layer.name}.")
    return round(slope.item(), 4)  # 0.1 as float16 is 0.09998


def _normalisation(graph: IrGraph, first: Operation) -> dict[str, Floats]:
    """Mean and scale, `(frames - mean) / scale`, however they are spelled; empty if nothing is done to the frames."""
    steps: list[tuple[str, Floats]] = []
    operation = graph.source(first)
    while operation.kind != "Parameter":
        constant = graph.constant_of(operation)
        if operation.kind in ("Add", "Subtract", "Multiply", "Divide") and constant is not None:
            steps.append((operation.kind, constant.reshape(-1)))
        elif operation.kind != "Transpose":
            raise NotNative(f"{graph.path}: {operation.name} stands before the first convolution; it is not known.")
        operation = graph.source(operation, graph.way(operation))
    mean, scale = np.zeros(_shape(first)[1], np.float32), np.ones(_shape(first)[1], np.float32)
    for kind, constant in reversed(steps):
        if kind in ("Add", "Subtract"):
            mean = mean + constant * scale * (1 if kind == "Subtract" else -1)
        else:
            scale = scale * constant if kind == "Divide" else scale / constant
    return {"mean": mean, "scale": scale} if steps else {}
