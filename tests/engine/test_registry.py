"""From a name or folder to a session, and the one line each wrong folder gets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from driving import drive, make_unit
from safetensors.numpy import load_file, save_file
from tiny import noise, write_tiny

from antiphon.engine.registry import load_session
from antiphon.errors import ConfigError, WeightError


def test_a_folder_becomes_a_session_and_says_what_was_chosen(tmp_path: Path) -> None:
    lines: list[str] = []
    folder = write_tiny(tmp_path / "whisper-toy")
    session = load_session(str(folder), weight_format="int8", precision="f32", slots=2, report=lines.append)
    info = session.info
    assert (info.name, info.family, info.backend, info.device) == ("whisper-toy", "whisper", "native", "CPU")
    assert (info.precision, info.weight_format, session.slots) == ("f32", "int8", 2)
    assert info.languages == ("en", "es")
    assert info.tasks == ("transcribe", "translate")
    assert "int8 weights" in lines[-1]
    assert "f32" in lines[-1]
    assert len(lines) == 2


def test_auto_keeps_the_stored_format(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path)
    tensors = {name: array.astype(np.float16) for name, array in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors")
    assert load_session(str(folder), name="half").info.weight_format == "fp16"


def test_int8_changes_little(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path)
    results = []
    for weight_format in ("auto", "int8"):
        session = load_session(str(folder), precision="f32", weight_format=weight_format)  # type: ignore[arg-type]
        results.append(drive(session, [make_unit(noise(2), language="en", max_new_tokens=1)])[0])
    assert results[0].avg_logprob == pytest.approx(results[1].avg_logprob, abs=0.2)
    assert results[0].avg_logprob != results[1].avg_logprob


def test_english_models_transcribe_only(tmp_path: Path) -> None:
    info = load_session(str(write_tiny(tmp_path, languages=False))).info
    assert (info.languages, info.tasks, info.default_language) == ((), ("transcribe",), "en")


def test_wrong_folders_get_one_line_that_names_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such folder, and not a built-in model \(starter-asr, espeak\)"):
        load_session(str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=r"config\.json: cannot be read"):
        load_session(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ConfigError, match="model_type 'bert' is not served"):
        load_session(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": ["whisper"]}))
    with pytest.raises(ConfigError, match="is not served"):
        load_session(str(tmp_path))


def test_a_checkpoint_that_is_not_its_config_is_refused(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    lost = "model.decoder.layers.1.encoder_attn.v_proj.weight"
    save_file({name: array for name, array in tensors.items() if name != lost}, folder / "model.safetensors")
    with pytest.raises(WeightError, match=rf"tensor {lost} is missing"):
        load_session(str(folder))
    embedding = "model.decoder.embed_tokens.weight"
    save_file(tensors | {embedding: tensors[embedding][:-1].copy()}, folder / "model.safetensors")
    with pytest.raises(WeightError, match=r"embed_tokens\.weight is \[1766, 30\], but config\.json says \[1767, 30\]"):
        load_session(str(folder))


def test_a_shape_that_fits_nothing_is_one_line(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    name = "model.decoder.layers.0.encoder_attn.k_proj.weight"
    save_file(tensors | {name: tensors[name][:, :-1].copy()}, folder / "model.safetensors")
    with pytest.raises(WeightError, match=r"the weights do not make the model of config\.json") as caught:
        load_session(str(folder))
    assert "\n" not in str(caught.value)


def test_wrong_flags_are_named(tmp_path: Path) -> None:
    folder = str(write_tiny(tmp_path))
    with pytest.raises(ConfigError, match="--target_device NPU"):
        load_session(folder, device="NPU")
    with pytest.raises(ConfigError, match="--slots 0"):
        load_session(folder, slots=0)
