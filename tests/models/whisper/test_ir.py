"""OpenVINO folders of Whisper: which folders are one, and which are not native."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from antiphon.errors import ConfigError, NotNative
from antiphon.models.folder import format_of
from antiphon.models.whisper.ir import open_ir
from antiphon.weights.openvino_ir.files import DECODER_MODEL, ENCODER_MODEL
from tests.support.small_ir import WIDTH, draw, inputs, named, write

LENGTH = 5


def norm(given: ov.Node, module: str) -> ov.Node:
    made = ops.mvn(given, ops.constant(np.array([-1])), True, 1e-5, "inside_sqrt")
    return named(made, f"__module.{module}/aten::layer_norm/MVN")


def write_encoder(folder: Path, positions: np.ndarray | None) -> None:
    given = ops.parameter([-1, LENGTH, WIDTH], ov.Type.f32)
    placed = ops.relu(given) if positions is None else ops.add(given, ops.constant(positions[None]))
    hidden = ops.relu(norm(placed, "layers.0.self_attn_layer_norm"))
    write(folder, norm(hidden, "layer_norm"), given, file=ENCODER_MODEL)


def write_decoder(folder: Path) -> None:
    given = inputs()
    write(folder, norm(given, "model.decoder.layer_norm"), given, file=DECODER_MODEL)


def test_position_embeddings_are_found_where_they_are_added(tmp_path: Path) -> None:
    positions = draw(LENGTH, WIDTH)
    write_encoder(tmp_path, positions)
    write_decoder(tmp_path)
    (tmp_path / "tokenizer.json").touch()
    weights = open_ir(tmp_path, "auto")
    np.testing.assert_array_equal(weights.array("model.encoder.embed_positions.weight"), positions)
    np.testing.assert_array_equal(weights.array("model.encoder.layer_norm.bias"), np.zeros(WIDTH))


def test_ir_without_position_embeddings_is_not_native(tmp_path: Path) -> None:
    write_encoder(tmp_path, None)
    write_decoder(tmp_path)
    (tmp_path / "vocab.json").touch()
    with pytest.raises(NotNative, match=r"tensor model\.encoder\.embed_positions\.weight cannot be found"):
        open_ir(tmp_path, "auto")


def test_missing_tokenizer_and_files_are_named(tmp_path: Path) -> None:
    assert format_of(tmp_path) is None
    write_decoder(tmp_path)
    assert format_of(tmp_path) == "openvino"
    with pytest.raises(NotNative, match=r"no tokenizer\.json or vocab\.json"):
        open_ir(tmp_path, "auto")
    (tmp_path / "tokenizer.json").touch()
    with pytest.raises(ConfigError, match=r"openvino_encoder_model\.xml: no such file"):
        open_ir(tmp_path, "auto")
