"""Checkpoints as they come (types, shards) and as we keep them (int8, fp16, caches in bf16), against the f32 oracle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from antiphon.models.folder import inspect
from antiphon.models.layers import NEVER
from antiphon.models.whisper.config import read_config
from antiphon.models.whisper.load import load
from antiphon.models.whisper.session import WhisperSession
from antiphon.runtime.openvino import Device, open_device
from antiphon.types.options import WeightFormat
from tests.oracle.reference import Comparison, open_session
from tests.oracle.shapes import BRAIN, DISTILLED, HALF, PLAIN, UNTIED
from tests.oracle.signals import chirps
from tests.oracle.test_answers import prompt_of
from tests.support.drive_session import drive, make_unit
from tests.support.whisper_checkpoint import Shape

SHAPES = (PLAIN, DISTILLED, UNTIED)


class Bf16Caches:
    """A runtime that keeps caches in bf16 and computes in f32: what a CPU with bf16 does, on one without."""

    name = "CPU"
    precision: Literal["bf16", "f32"] = "bf16"
    streams = 1

    def __init__(self) -> None:
        self._device: Device = open_device("CPU", "f32")

    def compile(self, model: Any, *, precision: str | None = None, fuse_attention: bool = True) -> Any:
        return self._device.compile(model, precision="f32", fuse_attention=fuse_attention)


@pytest.fixture(scope="module", params=SHAPES, ids=lambda shape: shape.name)
def comparison(request: pytest.FixtureRequest, comparison_of: Callable[[Shape], Comparison]) -> Comparison:
    return comparison_of(request.param)


@pytest.fixture(scope="module")
def halved(comparison: Comparison) -> WhisperSession:
    """The comparison's checkpoint with caches in bf16."""
    folder = inspect(comparison.folder)
    (session,) = load(
        folder, name="bf16", runtime=Bf16Caches(), weight_format="auto", slots=4, report=lambda line: None
    )
    return session


def teacher_forced(session: WhisperSession, comparison: Comparison) -> NDArray[np.float32]:
    """Raw logits `[30, vocabulary]` after a prefix and 29 random tokens, one cached step each; suppressed ones are NaN."""
    runner, tokens = session.runner, comparison.config.tokens
    ids = np.random.default_rng(4).integers(0, tokens.end, 29)
    free = np.array([[1, 1, tokens.timestamp_begin, comparison.config.vocabulary - 1, 0, 0]], np.int32)
    runner.encode(chirps(6, 9), 0)
    rows = [runner.prefill(0, np.array([[tokens.start, 7, 8]], np.int32), [0], free, [0]).scores[0].copy()]
    for token in ids:
        rows.append(runner.advance(np.array([[token]], np.int32), free, [0]).scores[0].copy())
    scores = np.array(rows)
    return np.where(scores > NEVER / 2, scores, np.float32(np.nan))


def oracle_logits(comparison: Comparison) -> NDArray[np.float32]:
    tokens = comparison.config.tokens
    ids = np.random.default_rng(4).integers(0, tokens.end, 29)
    return comparison.logits(comparison.features(chirps(6, 9)), [tokens.start, 7, 8, *ids])[2:]


def likeness(ours: NDArray[np.float32], theirs: NDArray[np.float32]) -> float:
    """The least correlation of any row."""
    known = ~np.isnan(ours[0])
    return min(float(np.corrcoef(a[known], b[known])[0, 1]) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    ("weight_format", "least", "most"),
    [
        # int8 rounds each weight to 1/254 of its row's largest: some 0.7 % of a layer's output, layer after layer.
        ("int8", 0.99, 0.999999),
        # fp16 has 11 bits: 0.03 % of each weight.
        ("fp16", 0.9999, 0.99999999),
        ("fp32", 0.999999, 1.0),
    ],
)
def test_weight_formats_stay_close_to_the_oracle(
    weight_format: WeightFormat, least: float, most: float, comparison: Comparison
) -> None:
    """`most` is there so that a format that silently stayed float32 would be seen."""
    session = open_session(comparison.folder, 1, weight_format)
    assert session.info.weight_format == weight_format
    found = likeness(teacher_forced(session, comparison), oracle_logits(comparison))
    assert least < found <= most + 1e-9


def test_bf16_caches_stay_close_to_the_oracle(comparison: Comparison, halved: WhisperSession) -> None:
    """bf16 has 8 bits: 0.4 % of each key and value, and no arithmetic in it here. The f32 session is far closer."""
    assert halved.info.precision == "bf16"
    ours, theirs = teacher_forced(halved, comparison), oracle_logits(comparison)
    assert 0.99 < likeness(ours, theirs) < 0.999999
    best = np.nanargmax(ours, 1) == np.where(np.isnan(ours), -np.inf, theirs).argmax(1)
    assert best.mean() > 0.85


def test_bf16_caches_batch_exactly(comparison: Comparison, halved: WhisperSession) -> None:
    """What a row holds in bf16 is the same bits in any row, after moves and growth too."""
    units = [
        make_unit(chirps(2 + seed, seed), language="en", prompt=prompt_of(25 * seed), max_new_tokens=50 - 9 * seed)
        for seed in range(4)
    ]
    singles = [drive(halved, [unit])[0].tokens for unit in units]
    assert len(set(singles)) == 4
    assert [result.tokens for result in drive(halved, units, joins=[0, 2, 2, 6])] == singles


def test_sharded_checkpoint_has_several_files(comparison_of: Callable[[Shape], Comparison]) -> None:
    """`test_graphs` and `test_answers` hold for this shape; here is only what makes it special."""
    folder = comparison_of(HALF).folder
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    assert not (folder / "model.safetensors").exists()


@pytest.mark.parametrize(("shape", "stored"), [(PLAIN, "fp32"), (HALF, "fp16"), (BRAIN, "bf16")])
def test_auto_keeps_the_stored_type(shape: Shape, stored: str, comparison_of: Callable[[Shape], Comparison]) -> None:
    assert comparison_of(shape).session.info.weight_format == stored


@pytest.mark.parametrize(("written", "meant"), [("absent", 50), (1, 50), (50, 50), (3, 3), (None, None)])
def test_max_initial_timestamp_matches_openai_whisper(
    written: object, meant: int | None, tmp_path: Path, comparison_of: Callable[[Shape], Comparison]
) -> None:
    """Without the key, and with the stale 1 of old hub configs, openai-whisper's 50 holds; null is no limit."""
    folder = comparison_of(PLAIN).folder
    generation = json.loads((folder / "generation_config.json").read_text())
    del generation["max_initial_timestamp_index"]
    if written != "absent":
        generation["max_initial_timestamp_index"] = written
    (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    assert read_config(tmp_path).max_initial_timestamp == meant
