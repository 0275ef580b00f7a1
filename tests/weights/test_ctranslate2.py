"""CTranslate2's model.bin: every type and version, aliases, and files that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from antiphon.errors import ConfigError, WeightError
from antiphon.weights.ctranslate2 import CTranslate2Tensors, read_contents, read_model_type
from tests.support.ctranslate2_writer import write_model

VALUES = np.random.default_rng(0).standard_normal((5, 3, 2)).astype(np.float32)
TYPES: dict[str, Any] = {"fp32": np.float32, "fp16": np.float16, "bf16": ml_dtypes.bfloat16}


def open_model(path: Path) -> CTranslate2Tensors:
    return CTranslate2Tensors(path, read_contents(path))


@pytest.mark.parametrize("kind", TYPES)
def test_float_types_are_read_as_stored(kind: str, tmp_path: Path) -> None:
    write_model(tmp_path / "model.bin", {"a/weight": VALUES.astype(TYPES[kind]), "b": np.int16(8)})
    tensors = open_model(tmp_path / "model.bin")
    assert (tensors.shape("a/weight"), tensors.stored("a/weight")) == ((5, 3, 2), kind)
    assert tensors.array("a/weight").dtype == TYPES[kind]
    np.testing.assert_array_equal(tensors.array("a/weight"), VALUES.astype(TYPES[kind]))
    np.testing.assert_array_equal(tensors.array("a/weight", slice(1, 3)), VALUES[1:3].astype(TYPES[kind]))
    assert tensors.scalar("b") == 8


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5, 6])
def test_every_binary_version_is_read(version: int, tmp_path: Path) -> None:
    aliases = {"b": "a"} if version >= 3 else None
    write_model(tmp_path / "model.bin", {"a": VALUES, "c": np.int16([1, 2])}, version=version, aliases=aliases)
    tensors = open_model(tmp_path / "model.bin")
    np.testing.assert_array_equal(tensors.array("a"), VALUES)
    assert tensors.shape("c") == (2,)
    assert tensors.has("b") == (version >= 3)


def test_int8_is_divided_by_its_row_scale(tmp_path: Path) -> None:
    scale = (127 / np.abs(VALUES.reshape(5, -1)).max(axis=1)).astype(np.float32)
    stored = np.rint(VALUES * scale[:, None, None]).astype(np.int8)
    write_model(tmp_path / "model.bin", {"w": stored, "w_scale": scale}, aliases={"tied": "w"})
    tensors = open_model(tmp_path / "model.bin")
    assert tensors.stored("tied") == "int8"
    assert np.abs(tensors.array("tied") - VALUES).max() <= 0.5 / scale.min() * 1.001
    rows, factors = tensors.int8_rows("w", slice(2, 4))
    np.testing.assert_array_equal(rows, stored[2:4])
    np.testing.assert_allclose(factors, 1 / scale[2:4], rtol=1e-6)


def test_int16_has_one_scale_for_the_tensor(tmp_path: Path) -> None:
    scale = np.float32(2**10 / np.abs(VALUES).max())
    write_model(tmp_path / "model.bin", {"w": np.rint(VALUES * scale).astype(np.int16), "w_scale": scale})
    tensors = open_model(tmp_path / "model.bin")
    assert tensors.stored("w") == "int16"
    assert np.abs(tensors.array("w", slice(1, 4)) - VALUES[1:4]).max() <= 0.5 / scale * 1.001


def test_missing_tensor_is_named(tmp_path: Path) -> None:
    write_model(tmp_path / "model.bin", {"a": VALUES})
    with pytest.raises(WeightError, match=r"model\.bin: tensor b is missing"):
        open_model(tmp_path / "model.bin").array("b")


def test_truncated_file_is_refused_wherever_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    write_model(path, {"a": VALUES, "b": VALUES.astype(np.float16)}, aliases={"c": "a"})
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(
            ConfigError, match=rf"model\.bin: the file ends too early, at {size} bytes; download it again"
        ):
            read_contents(path)


def test_newer_version_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path / "model.bin", {"a": VALUES}, version=7)
    with pytest.raises(ConfigError, match=r"binary version 7 is newer than the 6 that is read"):
        read_contents(tmp_path / "model.bin")


@pytest.mark.parametrize("content", [b"\x80\x02}q\x00(X\x03\x00\x00\x00abc" * 9, bytes(64), b"lmgg" + bytes(60)])
def test_file_of_another_format_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(content)
    with pytest.raises(ConfigError, match=r"model\.bin: not a CTranslate2 model"):
        read_contents(tmp_path / "model.bin")


def test_size_that_contradicts_the_shape_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.bin"
    write_model(path, {"a": VALUES})
    data = bytearray(path.read_bytes())
    data[data.index(b"a\0") + 3] = 6  # the first dimension
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"tensor a of shape \[6, 3, 2\] does not have 120 bytes"):
        read_contents(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.bin: cannot be read \(No such file"):
        read_contents(tmp_path / "model.bin")


def test_model_type_is_that_of_the_specification(tmp_path: Path) -> None:
    write_model(tmp_path / "model.bin", {"a": VALUES}, spec="TransformerSpec")
    assert read_model_type(tmp_path / "model.bin") == "transformer"
    write_model(tmp_path / "model.bin", {"a": VALUES})
    assert read_model_type(tmp_path / "model.bin") == "whisper"
