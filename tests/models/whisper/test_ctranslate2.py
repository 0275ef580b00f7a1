"""A CTranslate2 Whisper folder against the checkpoint with the same values."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from safetensors.numpy import save_file

from antiphon.errors import ConfigError
from antiphon.models.folder import inspect
from antiphon.models.whisper.config import parse_config, read_config
from antiphon.models.whisper.ctranslate2 import CTranslate2Checkpoint, read_configs
from antiphon.models.whisper.tokens import read_tokenizer
from antiphon.models.whisper.vocabulary import build_tokenizer
from antiphon.weights.quantized import QuantizedWeights
from tests.support import tiny_whisper as tiny
from tests.support.ctranslate2_writer import Array, whisper_variables, write_folder, write_model
from tests.support.drive_session import drive, make_unit
from tests.support.sessions import load_session
from tests.support.toy_vocabulary import byte_letters

KINDS = ("fp32", "fp16", "bf16", "int8", "int16")
LANGUAGES = [f"<|l{index}|>" for index in range(97)]
SPECIALS = ["<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", *LANGUAGES]
SPECIALS += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
CONFIG = {"suppress_ids": [3, 5], "suppress_ids_begin": [32, 50257], "alignment_heads": [[1, 0], [1, 2]]}


def vocabulary() -> list[str]:
    """51,865 tokens in Whisper's order; only the bytes among the first 50,257 can be produced."""
    letters = byte_letters()
    text = [letters[byte] for byte in range(256)] + [f"filler{index}" for index in range(256, 50257)]
    tokens = text + SPECIALS[:101] + SPECIALS[101:] + [f"<|{index * 0.02:.2f}|>" for index in range(1501)]
    assert len(tokens) == 51865
    return tokens


def tensors() -> dict[str, Array]:
    random = tiny.random_tensors(0)
    generator = np.random.default_rng(1)
    embedding = generator.standard_normal((51865, tiny.WIDTH)).astype(np.float32) * 0.5
    embedding[256:50257] = 0  # never chosen
    return {**random, "model.decoder.embed_tokens.weight": embedding}


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    made: dict[str, Path] = {}

    def make(kind: str) -> Path:
        if kind not in made:
            heads = {f"model.{side}.heads": np.int16(tiny.HEADS) for side in ("encoder", "decoder")}
            made[kind] = tmp_path_factory.mktemp(kind) / "faster-whisper-toy"
            write_folder(made[kind], whisper_variables({**tensors(), **heads}, kind), vocabulary(), CONFIG)
        return made[kind]

    return make


@pytest.fixture(scope="module")
def checkpoint_of(folder_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder as a Hugging Face checkpoint of the same values, in float32."""

    def make(kind: str) -> Path:
        source = CTranslate2Checkpoint(folder_of(kind))
        target = tmp_path_factory.mktemp(f"{kind}-checkpoint")
        save_file({name: source.array(name).astype(np.float32) for name in tensors()}, target / "model.safetensors")
        config, generation = read_configs(folder_of(kind))
        (target / "config.json").write_text(json.dumps(config))
        (target / "generation_config.json").write_text(json.dumps(generation))
        tokenizer = build_tokenizer(vocabulary(), config["eos_token_id"])
        tokenizer.save(str(target / "tokenizer.json"))
        return target

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_equal_those_of_the_checkpoint(
    kind: str, folder_of: Callable[[str], Path], checkpoint_of: Callable[[str], Path]
) -> None:
    # In fp32 both hold the very same numbers; how int8 is kept compressed is the next test's subject.
    paths = (folder_of(kind), checkpoint_of(kind))
    sessions = [load_session(str(path), precision="f32", weight_format="fp32") for path in paths]
    for seconds, timestamps in ((1, True), (4, False)):
        unit = {"timestamps": timestamps, "language": "de", "max_new_tokens": 30}
        ours, theirs = (drive(session, [make_unit(tiny.noise(seconds), **unit)])[0] for session in sessions)
        assert ours.tokens == theirs.tokens
        assert len(ours.tokens) > 3


def test_compressed_int8_matrix_has_the_stored_values(folder_of: Callable[[str], Path]) -> None:
    tensors = CTranslate2Checkpoint(folder_of("int8"))
    weights = QuantizedWeights(tensors, "auto")
    for name in ("model.decoder.layers.0.self_attn.k_proj.weight", "model.decoder.embed_tokens.weight"):
        model = ov.Model([weights.matrix(name)], [], "matrix")
        assert any(node.get_element_type() == ov.Type.i8 for node in model.get_ops()), "not kept in 8 bits"
        (values,) = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})([]).values()
        np.testing.assert_allclose(values, tensors.array(name), rtol=1e-6)


def test_tied_output_matrix_is_not_loaded_a_second_time(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    assert not CTranslate2Checkpoint(folder_of("fp16")).has("proj_out.weight")
    heads = {f"model.{side}.heads": np.int16(tiny.HEADS) for side in ("encoder", "decoder")}
    variables = whisper_variables({**tensors(), **heads}, "fp32")
    write_model(
        tmp_path / "model.bin", variables | {"decoder/projection/weight": variables["decoder/embeddings/weight"] + 1}
    )
    untied = CTranslate2Checkpoint(tmp_path)
    assert untied.has("proj_out.weight")
    assert not np.array_equal(untied.array("proj_out.weight"), untied.array("model.decoder.embed_tokens.weight"))


def test_int8_stays_compressed_unless_another_format_is_selected(folder_of: Callable[[str], Path]) -> None:
    assert load_session(str(folder_of("int8")), precision="f32").info.weight_format == "int8"
    assert load_session(str(folder_of("int8")), precision="f32", weight_format="fp32").info.weight_format == "fp32"
    assert load_session(str(folder_of("fp16")), precision="f32").info.weight_format == "fp16"


def test_config_comes_from_the_tensors_and_the_vocabulary(folder_of: Callable[[str], Path]) -> None:
    folder = folder_of("fp32")
    config = parse_config(folder / "model.bin", *read_configs(folder))
    assert (config.width, config.decoder_heads, config.encoder_layers, config.mels) == (30, 3, 2, 80)
    assert (config.tokens.end, config.tokens.start, config.tokens.no_timestamps) == (50257, 50258, 50363)
    assert (config.tokens.languages["en"], len(config.tokens.languages)) == (50259, 99)
    assert config.suppress == (3, 5)
    assert config.begin_suppress == (32, 50257)
    assert config.alignment.chosen == ((1, 0), (1, 2))
    assert config.max_initial_timestamp == 50


def test_folder_is_recognised_by_its_model_bin(folder_of: Callable[[str], Path]) -> None:
    folder = inspect(folder_of("fp32"))
    assert (folder.format, folder.task) == ("ctranslate2", "speech2text")
    assert folder.served_family().name == "whisper"


def test_text_vocabulary_without_config_or_tokenizer_is_enough(
    folder_of: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "model.bin").symlink_to(folder_of("fp16") / "model.bin")
    (tmp_path / "vocabulary.txt").write_text("\n".join(vocabulary()) + "\n", "utf-8")
    session = load_session(str(tmp_path), precision="f32")
    assert session.info.languages[:2] == ("en", "de")


def test_merges_of_the_vocabulary_are_those_of_the_tokenizer(tmp_path: Path) -> None:
    """Built from ids alone, a tokenizer splits text as the one whose merges were known."""
    letters = byte_letters()
    merged = ["Ġt", "Ġth", "Ġthe", "he", "in", "Ġin", "ing"]
    tokenizer = build_tokenizer([letters[byte] for byte in range(256)] + merged, 256 + len(merged))
    assert tokenizer.encode(" the thing in").tokens == ["Ġthe", "Ġth", "ing", "Ġin"]
    assert tokenizer.decode(tokenizer.encode("naïve 砸 \n").ids) == "naïve 砸 \n"


def test_another_kind_of_model_is_refused_in_one_line(tmp_path: Path) -> None:
    write_model(tmp_path / "model.bin", {"a": np.zeros(2, np.float32)}, spec="TransformerSpec")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="model_type 'transformer' is not served") as caught:
        load_session(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_newer_revision_is_refused(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    write_model(tmp_path / "model.bin", {"a": np.zeros(2, np.float32)}, revision=4)
    with pytest.raises(ConfigError, match="Whisper revision 4 is newer than the 3 that is read"):
        load_session(str(tmp_path))


def test_missing_vocabulary_is_named(folder_of: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "model.bin").symlink_to(folder_of("fp32") / "model.bin")
    with pytest.raises(ConfigError, match=r"no vocabulary\.json or vocabulary\.txt in this folder"):
        load_session(str(tmp_path))


def test_read_config_is_unchanged_by_parse_config(checkpoint_of: Callable[[str], Path]) -> None:
    folder = checkpoint_of("fp32")
    assert read_config(folder).tokens.start == 50258
    assert read_tokenizer(folder, read_config(folder)).encode(" a")
