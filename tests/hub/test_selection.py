"""Which files are taken of repositories as they are found on the hub, by name alone."""

from __future__ import annotations

import pytest

from antiphon.hub.selection import has_weights, wanted, why_not

# As openai/whisper-large-v3 is laid out: every weight five times.
LARGE = (
    ".gitattributes",
    "README.md",
    "added_tokens.json",
    "config.json",
    "flax_model.msgpack",
    "generation_config.json",
    "merges.txt",
    "model.fp32-00001-of-00002.safetensors",
    "model.fp32-00002-of-00002.safetensors",
    "model.safetensors",
    "model.safetensors.index.fp32.json",
    "normalizer.json",
    "preprocessor_config.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.fp32.json",
    "tokenizer.json",
    "vocab.json",
)
# As the OpenVINO organisation lays out a Whisper, and a Kokoro is exported.
IR = ("config.json", "openvino_decoder_model.bin", "openvino_decoder_model.xml", "openvino_tokenizer.xml")
KOKORO = ("config.json", "openvino_model.bin", "openvino_model.xml", "voices/af_alloy.bin", "data/us_gold.json")


def test_the_same_weights_are_taken_once() -> None:
    assert wanted(LARGE) == (
        "added_tokens.json",
        "config.json",
        "generation_config.json",
        "merges.txt",
        "model.safetensors",
        "normalizer.json",
        "preprocessor_config.json",
        "tokenizer.json",
        "vocab.json",
    )


@pytest.mark.parametrize("paths", [IR, KOKORO])
def test_an_ir_is_taken_whole(paths: tuple[str, ...]) -> None:
    assert wanted(paths) == paths
    assert has_weights(paths)


def test_pieces_come_with_the_list_of_them() -> None:
    paths = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json")
    assert wanted(paths) == paths
    assert wanted((*paths, "model.safetensors")) == ("model.safetensors",)
    assert wanted(("kokoro.safetensors", "model.safetensors.index.json")) == ("kokoro.safetensors",)


@pytest.mark.parametrize(
    "path", ["../evil.json", "/etc/passwd.json", "a/../../b.json", "C:\\x.json", "voices/../x.bin"]
)
def test_nothing_lands_outside(path: str) -> None:
    assert wanted([path]) == ()


def test_weights_elsewhere_are_none() -> None:
    assert not has_weights(["vocoder/model.safetensors", "onnx/model.onnx", "openvino_encoder_model.xml"])


@pytest.mark.parametrize(
    ("paths", "reason"),
    [
        (("a.bin", "pytorch_model.bin"), "its weights are pickled (pytorch_model.bin)"),
        (("kokoro.pth", "model.onnx"), "its weights are pickled (kokoro.pth)"),
        (("training_args.bin", "whisper.gguf"), "not read here (whisper.gguf)"),
        (("training_args.bin", "openvino_x.bin"), "it has no weights"),
    ],
)
def test_the_reason_names_what_is_there_instead(paths: tuple[str, ...], reason: str) -> None:
    assert not has_weights(paths)
    assert reason in why_not(paths)
