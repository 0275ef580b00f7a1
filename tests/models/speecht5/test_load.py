"""From a folder to a session: what it says of itself, every form a kernel is stored in, and each bad folder's one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from antiphon.errors import ConfigError, WeightError
from tests.models.speecht5.conftest import Open
from tests.support.speecht5_sessions import audio, sentence
from tests.support.tiny_speecht5 import SOUND, Tensors, random_vocoder, vocoder_json, write_voice

UNIT = sentence("hello you")


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """A copy to be broken."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "broken"))


def test_speecht5_session_info(tiny_folder: Path, open_tiny: Open) -> None:
    lines: list[str] = []
    session = open_tiny(tiny_folder, report=lines.append, slots=3)
    info = session.info
    assert (info.family, info.backend, info.device, info.precision) == ("speecht5", "native", "CPU", "f32")
    assert (info.tasks, info.languages, info.default_language) == (("speak",), (), "en")
    assert info.voices == info.openai_voices == ("ada", "bob")
    assert (info.sample_rate, info.reads_digits, info.weight_format) == (SOUND.sample_rate, False, "fp32")
    assert session.slots == 3
    assert "2 + 2 layers of 32" in lines[0]
    assert "voices: ada, bob" in lines[0]
    assert "3 slots" in lines[1]


def test_given_voice_is_the_default(tiny_folder: Path, open_tiny: Open, tmp_path: Path) -> None:
    session = open_tiny(tiny_folder, speaker=("eve", write_voice(tmp_path / "given" / "x.bin", 8, 9)))
    assert session.info.voices == ("eve", "ada", "bob")
    assert len(audio(session, sentence("hello", "eve"))) > 0


def test_voice_named_after_a_language_has_that_language(folder: Path, open_tiny: Open) -> None:
    shutil.rmtree(folder / "voices")
    for index, name in enumerate(("english", "Spanish", "zoe")):
        write_voice(folder / "voices" / f"{name}.bin", 8, index)
    info = open_tiny(folder, speaker=("eve", folder / "voices" / "zoe.bin")).info
    assert (info.languages, info.default_language) == (("en", "es"), "en")
    assert info.openai_voices == ("eve", "english", "zoe")
    info = open_tiny(folder, speaker=("Spanish", folder / "voices" / "Spanish.bin")).info
    assert (info.languages, info.default_language, info.openai_voices) == (("es", "en"), "es", ("Spanish", "zoe"))


def test_given_vocoder_is_used(folder: Path, open_tiny: Open, tmp_path: Path) -> None:
    given = Path(shutil.move(folder / "vocoder", tmp_path / "elsewhere"))
    (given / "config.json").write_text(json.dumps(vocoder_json(replace(SOUND, sample_rate=8_000))))
    assert open_tiny(folder, vocoder=given).info.sample_rate == 8_000


def split(length: str, direction: str) -> Callable[[Tensors], Tensors]:
    """Store kernels as length and direction, both of their own: only their product is the kernel."""

    def change(tensors: Tensors) -> Tensors:
        changed: Tensors = {}
        for name, tensor in tensors.items():
            if tensor.ndim < 3:
                changed[name] = tensor
                continue
            norm = np.sqrt(np.square(tensor).sum(axis=(1, 2), keepdims=True))
            changed[name.replace("weight", length)] = norm
            changed[name.replace("weight", direction)] = tensor * np.float32(1.7)
        return changed

    return change


@pytest.mark.parametrize(
    "names",
    [("weight_g", "weight_v"), ("parametrizations.weight.original0", "parametrizations.weight.original1")],
    ids=["lengths", "parametrized"],
)
def test_kernel_layouts_give_the_same_audio(
    folder: Path, tiny_folder: Path, open_tiny: Open, names: tuple[str, str]
) -> None:
    change_tensors(folder / "vocoder", split(*names))
    assert any(name.endswith(names[1]) for name in load_file(folder / "vocoder" / "model.safetensors"))
    expected = audio(open_tiny(tiny_folder), UNIT)
    np.testing.assert_allclose(audio(open_tiny(folder), UNIT), expected, rtol=0, atol=1e-5)


def change_tensors(folder: Path, change: Callable[[Tensors], Tensors]) -> None:
    save_file(change(load_file(folder / "model.safetensors")), folder / "model.safetensors")


def without(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if key != name}


def reshaped(name: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: tensors | {name: np.zeros((3, 3), np.float32)}


MODEL_TENSORS = (
    "speecht5.encoder.prenet.embed_tokens.weight",
    "speecht5.encoder.prenet.encode_positions.alpha",
    "speecht5.encoder.wrapped_encoder.embed_positions.pe_k.weight",
    "speecht5.encoder.wrapped_encoder.layers.1.feed_forward.output_dense.bias",
    "speecht5.decoder.prenet.speaker_embeds_layer.weight",
    "speecht5.decoder.wrapped_decoder.layers.0.encoder_attn.k_proj.weight",
    "speech_decoder_postnet.prob_out.bias",
    "speech_decoder_postnet.layers.2.batch_norm.running_var",
)
VOCODER_TENSORS = ("mean", "conv_pre.weight", "upsampler.1.bias", "resblocks.5.convs2.1.weight", "conv_post.bias")
TENSORS = [("", name) for name in MODEL_TENSORS] + [("vocoder", name) for name in VOCODER_TENSORS]


@pytest.mark.parametrize(("part", "name"), TENSORS)
def test_missing_tensor_is_named(folder: Path, open_tiny: Open, part: str, name: str) -> None:
    change_tensors(folder / part, without(name))
    with pytest.raises(WeightError) as caught:
        open_tiny(folder)
    assert str(caught.value) == f"{folder / part}: tensor {name} is missing from the checkpoint."


@pytest.mark.parametrize(("part", "name"), TENSORS)
def test_tensor_of_another_shape_is_named(folder: Path, open_tiny: Open, part: str, name: str) -> None:
    change_tensors(folder / part, reshaped(name))
    with pytest.raises(WeightError) as caught:
        open_tiny(folder)
    assert str(caught.value).startswith(f"{folder / part}: tensor {name} is [3, 3], but config.json says [")


def test_weight_norm_gain_without_direction_is_named(folder: Path, open_tiny: Open) -> None:
    change_tensors(folder / "vocoder", split("weight_g", "weight_v"))
    change_tensors(folder / "vocoder", without("conv_pre.weight_g"))
    with pytest.raises(WeightError, match=r"tensor conv_pre\.weight_g is missing"):
        open_tiny(folder)


def test_weight_norm_gain_of_wrong_size_is_named(folder: Path, open_tiny: Open) -> None:
    change_tensors(folder / "vocoder", split("weight_g", "weight_v"))
    change_tensors(folder / "vocoder", lambda tensors: tensors | {"conv_pre.weight_g": np.ones((3, 1, 1), np.float32)})
    with pytest.raises(
        WeightError, match=r"vocoder: tensor conv_pre\.weight_g is \[3, 1, 1\], but config\.json says \[16, 1, 1\]"
    ):
        open_tiny(folder)


def test_vocoder_of_other_mels_is_refused(folder: Path, open_tiny: Open) -> None:
    other = replace(SOUND, mels=20)
    (folder / "vocoder" / "config.json").write_text(json.dumps(vocoder_json(other)))
    save_file(random_vocoder(other, 0), folder / "vocoder" / "model.safetensors")
    with pytest.raises(ConfigError) as caught:
        open_tiny(folder)
    assert str(caught.value) == (
        f"{folder / 'vocoder' / 'config.json'}: model_in_dim is 20, but {folder / 'config.json'} says num_mel_bins 12; "
        "the vocoder is another model's."
    )


def test_missing_vocoder_is_an_error_with_the_fix(folder: Path, open_tiny: Open) -> None:
    shutil.rmtree(folder / "vocoder")
    with pytest.raises(ConfigError) as caught:
        open_tiny(folder)
    assert str(caught.value) == (
        f"{folder}: no vocoder; put a HiFi-GAN (such as microsoft/speecht5_hifigan) into {folder / 'vocoder'}, "
        "or give its folder."
    )
    with pytest.raises(ConfigError, match=r"nowhere: no such folder; a vocoder is a folder with config\.json"):
        open_tiny(folder, vocoder=folder / "nowhere")


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("config.json", r"config\.json: cannot be read"),
        ("model.safetensors", r"no model\.safetensors in this folder"),
        ("tokenizer.json", r"no spm_char\.model \(or tokenizer\.json\)"),
        ("vocoder/config.json", r"vocoder/config\.json: cannot be read"),
        ("vocoder/model.safetensors", r"vocoder: no model\.safetensors in this folder"),
    ],
)
def test_missing_file_is_named(folder: Path, open_tiny: Open, missing: str, says: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(ConfigError, match=says):
        open_tiny(folder)


def test_speecht5_without_voices_is_refused(folder: Path, open_tiny: Open) -> None:
    shutil.rmtree(folder / "voices")
    with pytest.raises(ConfigError, match=r"no voice; put a speaker embedding \(8 float32 values, 32 bytes\) into"):
        open_tiny(folder)


def test_pickled_weights_are_never_opened(folder: Path, open_tiny: Open) -> None:
    (folder / "vocoder" / "model.safetensors").rename(folder / "vocoder" / "pytorch_model.bin")
    with pytest.raises(ConfigError, match=r"vocoder: holds pickled weights only"):
        open_tiny(folder)
