"""Where an OpenVINO folder of SpeechT5, as optimum-intel lays it out, keeps the checkpoint's tensors, and its vocoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from antiphon.errors import NotNative
from antiphon.models.speecht5.config import SpeechT5Config, VocoderConfig, check_vocoder
from antiphon.models.speecht5.graph import sinusoids
from antiphon.models.speecht5.graph_sound import LAST_SLOPE
from antiphon.types.options import WeightFormat
from antiphon.weights.openvino_ir.constants import Floats, fold
from antiphon.weights.openvino_ir.files import DECODER_MODEL, ENCODER_MODEL, POSTNET, VOCODER
from antiphon.weights.openvino_ir.graph import IrGraph, Operation, read_ir_graph
from antiphon.weights.openvino_ir.source import IrPart, IrTensors, IrWeights, open_part

_TOKENIZERS = ("tokenizer.json", "spm_char.model")
# An exported graph does not hold it. SpeechT5's own vocoder makes 16 kHz, which OpenVINO's pipeline assumes too.
_SAMPLE_RATE = 16_000


def has_vocoder(folder: Path) -> bool:
    """Whether the folder holds an exported vocoder."""
    return (folder / VOCODER).is_file()


def check_tokenizer(folder: Path) -> None:
    """Raise NotNative if the folder has a tokenizer in OpenVINO's own form only."""
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise NotNative(f"{folder}: no {' or '.join(_TOKENIZERS)}, and a tokenizer in OpenVINO's own form is not read.")


def open_ir(folder: Path, config: SpeechT5Config, weight_format: WeightFormat) -> IrWeights:
    """Open encoder, decoder and post-net as a weight source. Raises NotNative if their tensors cannot be identified."""
    encoder = open_part(folder / ENCODER_MODEL, "speecht5.encoder.", "speecht5.encoder.wrapped_encoder.layer_norm")
    last = f"speecht5.decoder.wrapped_decoder.layers.{config.decoder_layers - 1}.final_layer_norm"
    decoder = open_part(folder / DECODER_MODEL, "", last)
    known = {
        **_alpha(encoder, "speecht5.encoder.prenet.encode_positions"),
        **_alpha(decoder, "speecht5.decoder.prenet.encode_positions"),
        **_postnet(read_ir_graph(folder / POSTNET), config.postnet_layers),
    }
    return IrWeights(IrTensors(folder, [encoder, decoder], known), weight_format)


def open_vocoder_ir(folder: Path) -> tuple[VocoderConfig, IrWeights]:
    """Open the vocoder, and derive its config. Raises NotNative if the graph is not a HiFi-GAN of the expected form."""
    graph = read_ir_graph(folder / VOCODER)
    config, known = _vocoder_config(graph)
    return config, IrWeights(IrTensors(folder, [IrPart(graph, "", "")], known))


def _alpha(part: IrPart, module: str) -> dict[str, Floats]:
    """The factor of the position vectors. A factor of one is left out of a graph; another may be folded into the table."""
    constants = part.graph.constants_in(part.inner(module))
    tables = [constant for constant in constants if constant.size > 1]
    if len(tables) != 1:
        raise NotNative(f"{part.graph.path}: tensor {module}.alpha cannot be found in the OpenVINO model.")
    count, width = (int(size) for size in tables[0].shape[-2:])
    table, expected = tables[0].reshape(count, width), sinusoids(count, width)
    scale = float((table * expected).sum() / np.square(expected).sum())
    if np.abs(table - scale * expected).max() > 0.01 * abs(scale):
        raise NotNative(f"{part.graph.path}: {module} adds other position vectors than SpeechT5's.")
    # A stored table is rounded, so a scale near one means that no factor was folded into it.
    scale = 1.0 if abs(scale - 1) < 1e-3 else scale
    factor = scale * np.prod([constant.item() for constant in constants if constant.size == 1])
    return {f"{module}.alpha": np.array(factor, np.float32)}


def _postnet(graph: IrGraph, layers: int) -> dict[str, Floats]:
    """The post-net's convolutions in their order: they have no names, since batch norm is folded into them."""
    convolutions = graph.operations("Convolution")
    if len(convolutions) != layers:
        raise NotNative(f"{graph.path}: {len(convolutions)} convolutions, but config.json says {layers} layers.")
    tensors: dict[str, Floats] = {}
    for index, layer in enumerate(convolutions):
        name = f"speech_decoder_postnet.layers.{index}.conv"
        kernel, bias = graph.weight(layer), graph.bias(layer)
        tensors[f"{name}.weight"] = fold(kernel)
        tensors[f"{name}.bias"] = np.zeros(graph.width(layer), np.float32) if bias is None else bias
    return tensors


def _vocoder_config(graph: IrGraph) -> tuple[VocoderConfig, dict[str, Floats]]:
    """The config, derived from the layers, and the constants of the normalisation before them."""
    first, last = _layer(graph, "conv_pre"), _layer(graph, "conv_post")
    ups = _numbered(graph, "upsampler.{}")
    blocks = _numbered(graph, "resblocks.{}.convs1.0")
    if not ups or not blocks or len(blocks) % len(ups):
        raise NotNative(
            f"{graph.path}: {len(ups)} upsamplings and {len(blocks)} residual blocks do not make a HiFi-GAN."
        )
    slope = _slope(graph, ups[0])
    if abs(_slope(graph, last) - LAST_SLOPE) > 1e-4:
        raise NotNative(f"{graph.path}: the last rectifier's slope is {_slope(graph, last)}, not {LAST_SLOPE}.")
    count = len(blocks) // len(ups)
    known = _normalisation(graph, first)
    config = VocoderConfig(
        mels=_shape(first)[1],
        sample_rate=_SAMPLE_RATE,
        channels=_shape(first)[0],
        rates=tuple(int(up.attributes["strides"][0]) for up in ups),
        kernels=tuple(_shape(up)[2] for up in ups),
        block_kernels=tuple(_shape(block)[2] for block in blocks[:count]),
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
    """The layers of modules 0, 1, …, up to the first missing one."""
    layers: list[Operation] = []
    while (layer := graph.layer(module.format(len(layers)))) is not None:
        layers.append(layer)
    return layers


def _dilations(graph: IrGraph, block: int) -> tuple[int, ...]:
    layers = _numbered(graph, f"resblocks.{block}.convs1.{{}}")
    return tuple(int(layer.attributes["dilations"][0]) for layer in layers)


def _shape(layer: Operation) -> tuple[int, ...]:
    return tuple(layer.node.input(1).get_shape())


def _slope(graph: IrGraph, layer: Operation) -> float:
    rectifier = graph.source(layer)
    slope = graph.constant_of(rectifier) if rectifier.kind == "PRelu" else None
    if slope is None or slope.size != 1:
        raise NotNative(f"{graph.path}: no leaky rectifier before {layer.name}.")
    return round(slope.item(), 4)  # 0.1 as float16 is 0.09998


def _normalisation(graph: IrGraph, first: Operation) -> dict[str, Floats]:
    """Mean and scale of `(frames - mean) / scale`, in whatever operations; empty if the frames are not normalised."""
    steps: list[tuple[str, Floats]] = []
    operation = graph.source(first)
    while operation.kind != "Parameter":
        constant = graph.constant_of(operation)
        if operation.kind in ("Add", "Subtract", "Multiply", "Divide") and constant is not None:
            steps.append((operation.kind, constant.reshape(-1)))
        elif operation.kind != "Transpose":
            raise NotNative(
                f"{graph.path}: {operation.name} is before the first convolution, where it is not supported."
            )
        operation = graph.source(operation, graph.data_port(operation))
    mean, scale = np.zeros(_shape(first)[1], np.float32), np.ones(_shape(first)[1], np.float32)
    for kind, constant in reversed(steps):
        if kind in ("Add", "Subtract"):
            mean = mean + constant * scale * (1 if kind == "Subtract" else -1)
        else:
            scale = scale * constant if kind == "Divide" else scale / constant
    return {"mean": mean, "scale": scale} if steps else {}
