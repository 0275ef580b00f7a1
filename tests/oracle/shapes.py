"""The random-weight configurations for the oracles: every way in which Whisper checkpoints differ.

`init_std` 0.3 makes answers in which text and timestamps both win their turns, and `end` lets some of them end.
"""

from __future__ import annotations

import torch

from tests.support.whisper_checkpoint import Shape

PLAIN = Shape("plain", width=64, heads=4, layers=2, init_std=0.3, end=8.0, seed=1)
ODD = Shape("odd", width=60, heads=5, layers=1, init_std=0.3, end=8.0, seed=2)
UNEVEN = Shape("uneven", width=96, heads=3, decoder_heads=6, layers=2, init_std=0.25, end=9.0, seed=3)
DISTILLED = Shape(
    "distilled", width=48, heads=3, layers=3, decoder_layers=1, mels=128, vocabulary=51866, init_std=0.3, seed=4
)
ENGLISH = Shape("english", width=48, heads=2, decoder_heads=3, vocabulary=51864, init_std=0.3, end=6.0, seed=5)
THIN = Shape("thin", width=40, heads=8, layers=2, ffn=56, init_std=0.35, seed=6)
UNTIED = Shape("untied", width=64, heads=2, layers=1, tied=False, init_std=0.3, end=8.0, seed=7)
HALF = Shape("half", width=32, heads=1, dtype=torch.float16, shard="1MB", init_std=0.4, seed=8)
BRAIN = Shape("brain", width=36, heads=3, mels=128, dtype=torch.bfloat16, init_std=0.4, end=8.0, seed=9)
UNLIMITED = Shape("unlimited", width=32, heads=4, layers=1, max_initial_timestamp=None, init_std=0.4, seed=10)
EAGER = Shape("eager", width=32, heads=2, layers=1, max_initial_timestamp=3, init_std=0.4, end=8.0, seed=11)
BANNED = Shape(
    "banned",
    width=48,
    heads=4,
    layers=1,
    init_std=0.3,
    seed=12,
    generation={"suppress_tokens": [*range(0, 40_000, 3), 50258, 50361], "begin_suppress_tokens": [5, 50257]},
)
UNSUPPRESSED = Shape(
    "unsuppressed",
    width=32,
    heads=2,
    layers=2,
    init_std=0.4,
    seed=13,
    generation={"suppress_tokens": None, "begin_suppress_tokens": None},
)

SHAPES = (
    PLAIN,
    ODD,
    UNEVEN,
    DISTILLED,
    ENGLISH,
    THIN,
    UNTIED,
    HALF,
    BRAIN,
    UNLIMITED,
    EAGER,
    BANNED,
    UNSUPPRESSED,
)
