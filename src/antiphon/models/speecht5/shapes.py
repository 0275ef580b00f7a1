"""The shape of every tensor of a SpeechT5 checkpoint and of its vocoder, according to their configs."""

from __future__ import annotations

from antiphon.models.speecht5.config import SpeechT5Config, VocoderConfig
from antiphon.weights.shapes import ShapeSource

Shapes = dict[str, tuple[int, ...]]

# torch's names for a kernel's length and direction (weight norm), before version 2 and since.
NORM_NAMES = (("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1"))

_BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


def stored_vocoder_shapes(config: VocoderConfig, weights: ShapeSource) -> Shapes:
    """Every tensor of a vocoder as `weights` have it: kernels whole, or as length and direction (weight norm)."""
    shapes: Shapes = {}
    for name, shape in expected_vocoder_shapes(config).items():
        module = name.removesuffix(".weight")
        for length, direction in NORM_NAMES:
            if weights.has(f"{module}.{direction}"):
                shapes |= {f"{module}.{length}": (shape[0], 1, 1), f"{module}.{direction}": shape}
                break
        else:
            shapes[name] = shape
    return shapes


def stored_shapes(config: SpeechT5Config, weights: ShapeSource) -> Shapes:
    """Every tensor of a checkpoint as `weights` have it: the batch norm of the post-net may be folded into its kernels."""
    shapes = expected_shapes(config)
    for layer in range(config.postnet_layers):
        name = f"speech_decoder_postnet.layers.{layer}"
        if weights.has(f"{name}.conv.bias"):
            shapes[f"{name}.conv.bias"] = shapes[f"{name}.conv.weight"][:1]
            for part in _BATCH_NORM:
                del shapes[f"{name}.batch_norm.{part}"]
    return shapes


def expected_shapes(config: SpeechT5Config) -> Shapes:
    """Every tensor of a checkpoint that synthesis needs."""
    return _encoder(config) | _decoder(config) | _postnet(config)


def expected_vocoder_shapes(config: VocoderConfig) -> Shapes:
    """Every tensor of a vocoder whose kernels are stored whole."""
    shapes: Shapes = {"mean": (config.mels,), "scale": (config.mels,)} if config.normalize else {}
    for name, shape in _vocoder_kernels(config).items():
        shapes[f"{name}.weight"] = shape
        # The kernel of a transposed convolution has its inputs first.
        shapes[f"{name}.bias"] = (shape[1] if name.startswith("upsampler") else shape[0],)
    return shapes


def _encoder(config: SpeechT5Config) -> Shapes:
    prefix, width = "speecht5.encoder", config.width
    shapes: Shapes = {
        f"{prefix}.prenet.embed_tokens.weight": (config.vocabulary, width),
        f"{prefix}.prenet.encode_positions.alpha": (),
        f"{prefix}.wrapped_encoder.embed_positions.pe_k.weight": (
            2 * config.relative_positions,
            width // config.encoder_heads,
        ),
    } | _norm(f"{prefix}.wrapped_encoder.layer_norm", width)
    for layer in range(config.encoder_layers):
        name = f"{prefix}.wrapped_encoder.layers.{layer}"
        shapes |= _attention(f"{name}.attention", width) | _norm(f"{name}.layer_norm", width)
        shapes |= _feed_forward(name, width, config.encoder_ffn)
    return shapes


def _decoder(config: SpeechT5Config) -> Shapes:
    prefix, width, units = "speecht5.decoder", config.width, config.prenet_units
    shapes: Shapes = {f"{prefix}.prenet.encode_positions.alpha": ()}
    shapes |= _linear(f"{prefix}.prenet.final_layer", width, units)
    shapes |= _linear(f"{prefix}.prenet.speaker_embeds_layer", width, width + config.speaker)
    for layer in range(config.prenet_layers):
        shapes |= _linear(f"{prefix}.prenet.layers.{layer}", units, units if layer else config.mels)
    for layer in range(config.decoder_layers):
        name = f"{prefix}.wrapped_decoder.layers.{layer}"
        for part in ("self_attn", "encoder_attn"):
            shapes |= _attention(f"{name}.{part}", width) | _norm(f"{name}.{part}_layer_norm", width)
        shapes |= _feed_forward(name, width, config.decoder_ffn)
    return shapes


def _postnet(config: SpeechT5Config) -> Shapes:
    prefix = "speech_decoder_postnet"
    shapes = _linear(f"{prefix}.feat_out", config.mels * config.reduction, config.width)
    shapes |= _linear(f"{prefix}.prob_out", config.reduction, config.width)
    for layer in range(config.postnet_layers):
        out = config.mels if layer == config.postnet_layers - 1 else config.postnet_units
        into = config.postnet_units if layer else config.mels
        shapes[f"{prefix}.layers.{layer}.conv.weight"] = (out, into, config.postnet_kernel)
        for part in _BATCH_NORM:
            shapes[f"{prefix}.layers.{layer}.batch_norm.{part}"] = (out,)
    return shapes


def _vocoder_kernels(config: VocoderConfig) -> Shapes:
    shapes: Shapes = {"conv_pre": (config.channels, config.mels, 7)}
    channels = config.channels
    for stage, kernel in enumerate(config.kernels):
        channels = config.channels >> (stage + 1)
        shapes[f"upsampler.{stage}"] = (config.channels >> stage, channels, kernel)
        for index, (size, dilations) in enumerate(zip(config.block_kernels, config.block_dilations, strict=True)):
            name = f"resblocks.{stage * len(config.block_kernels) + index}"
            for layer in range(len(dilations)):
                shapes |= {f"{name}.{part}.{layer}": (channels, channels, size) for part in ("convs1", "convs2")}
    return shapes | {"conv_post": (1, channels, 7)}


def _attention(name: str, width: int) -> Shapes:
    shapes: Shapes = {}
    for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
        shapes |= _linear(f"{name}.{part}", width, width)
    return shapes


def _feed_forward(name: str, width: int, inner: int) -> Shapes:
    shapes = _linear(f"{name}.feed_forward.intermediate_dense", inner, width)
    shapes |= _linear(f"{name}.feed_forward.output_dense", width, inner)
    return shapes | _norm(f"{name}.final_layer_norm", width)


def _linear(name: str, out: int, into: int) -> Shapes:
    return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
