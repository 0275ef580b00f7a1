"""The SpeechT5 configurations that are compared with transformers: every knob that changes a graph is turned somewhere."""

from __future__ import annotations

from tests.oracle.speecht5_reference import Shape

PLAIN = Shape("speecht5-plain", seed=7)
SINGLE = Shape(
    "speecht5-one-frame-a-step",
    width=40,
    heads=5,
    decoder_heads=2,
    reduction=1,
    relative=3,
    prenet_layers=1,
    norm_form="lengths",
    seed=1,
)
FOUR = Shape(
    "speecht5-four-frames-a-step",
    width=64,
    heads=2,
    decoder_heads=8,
    layers=3,
    decoder_layers=1,
    reduction=4,
    relative=160,
    prenet_layers=3,
    prenet_units=40,
    norm_form="parametrized",
    normalize=False,
    seed=2,
)
WIDE = Shape(
    "speecht5-wide",
    width=96,
    heads=12,
    decoder_heads=12,
    layers=1,
    decoder_layers=3,
    ffn=200,
    mels=80,
    speaker=512,
    activation="relu",
    epsilon=1e-3,
    postnet_layers=3,
    postnet_kernel=7,
    goes_on=0.9,
    seed=3,
)
SHORT_VOCODER = Shape(
    "speecht5-two-upsamplings",
    activation="gelu_new",
    rates=(8, 5),
    kernels=(16, 11),
    block_kernels=(3, 5),
    dilations=((1, 2), (2, 6, 12)),
    postnet_layers=1,
    rate=8_000,
    seed=4,
)
DEEP_VOCODER = Shape(
    "speecht5-five-upsamplings",
    mels=16,
    activation="silu",
    channels=64,
    rates=(5, 2, 2, 3, 2),
    kernels=(9, 2, 6, 7, 4),
    block_kernels=(7,),
    dilations=((1, 4),),
    norm_form="parametrized",
    postnet_layers=2,
    seed=5,
)
SHAPES = (PLAIN, SINGLE, FOUR, WIDE, SHORT_VOCODER, DEEP_VOCODER)
