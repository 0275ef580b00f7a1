"""The files selected from repositories as laid out on the hub."""

from __future__ import annotations

import pytest

from antiphon.hub.selection import lists_weights, select_files, why_unusable

# The layout of openai/whisper-large-v3, which has every weight five times.
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
# The layouts of a Whisper of the OpenVINO organisation and of an exported Kokoro.
IR = ("config.json", "openvino_decoder_model.bin", "openvino_decoder_model.xml", "openvino_tokenizer.xml")
KOKORO = ("config.json", "openvino_model.bin", "openvino_model.xml", "voices/af_alloy.bin", "data/us_gold.json")


def test_weights_in_several_formats_are_selected_once() -> None:
    assert select_files(LARGE) == (
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
def test_ir_files_are_all_selected(paths: tuple[str, ...]) -> None:
    assert select_files(paths) == paths
    assert lists_weights(paths)


def test_shards_are_selected_with_their_index_unless_there_is_a_single_file() -> None:
    paths = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json")
    assert select_files(paths) == paths
    assert select_files((*paths, "model.safetensors")) == ("model.safetensors",)
    assert select_files(("kokoro.safetensors", "model.safetensors.index.json")) == ("kokoro.safetensors",)


@pytest.mark.parametrize(
    "path", ["../evil.json", "/etc/passwd.json", "a/../../b.json", "C:\\x.json", "voices/../x.bin"]
)
def test_path_traversal_is_not_selected(path: str) -> None:
    assert select_files([path]) == ()


def test_weights_in_subfolders_do_not_count() -> None:
    assert not lists_weights(["vocoder/model.safetensors", "onnx/model.onnx", "openvino_encoder_model.xml"])


@pytest.mark.parametrize(
    ("paths", "reason"),
    [
        (("a.bin", "pytorch_model.bin"), "its weights are pickled (pytorch_model.bin)"),
        (("kokoro.pth", "model.onnx"), "its weights are pickled (kokoro.pth)"),
        (("training_args.bin", "whisper.gguf"), "not supported (whisper.gguf)"),
        (("training_args.bin", "openvino_x.bin"), "it has no weights"),
    ],
)
def test_reason_names_the_pickle_or_other_format(paths: tuple[str, ...], reason: str) -> None:
    assert not lists_weights(paths)
    assert reason in why_unusable(paths)
