"""The folder an export writes: which files, what the graphs compute, and that it is there whole or not at all."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from safetensors.numpy import load_file, save_file

import tests.support.tiny_speecht5 as tiny_speecht5
import tests.support.tiny_whisper as tiny
from antiphon.errors import ConfigError
from antiphon.export.export import export
from antiphon.models.folder import inspect
from antiphon.models.whisper.config import read_config
from antiphon.repository.graph_pbtxt import GraphFile, read_graph
from antiphon.weights.openvino_ir.writer import IrFormat
from antiphon.weights.safetensors import open_checkpoint
from antiphon.weights.source import quantize
from tests.support.encoder_states import compile_exact, whisper_states_model
from tests.support.exporting import Graph, write_speecht5, write_whisper

ASR = GraphFile("speech2text")
TTS = GraphFile("text2speech")


@pytest.fixture
def whisper(tmp_path: Path) -> Path:
    return write_whisper(tmp_path / "whisper")


@pytest.fixture
def speecht5(tmp_path: Path) -> Path:
    return write_speecht5(tmp_path / "speecht5")


def test_whisper_export_has_the_expected_files(whisper: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    export(inspect(whisper), tmp_path / "made", graph=ASR, report=lines.append)
    graphs = ("encoder_model", "decoder_model", "tokenizer", "detokenizer")
    assert {path.name for path in (tmp_path / "made").iterdir()} == {
        *(f"openvino_{name}.{ending}" for name in graphs for ending in ("xml", "bin")),
        "config.json",
        "generation_config.json",
        "preprocessor_config.json",
        "tokenizer.json",
        "graph.pbtxt",
    }
    assert json.loads((tmp_path / "made" / "preprocessor_config.json").read_text())["feature_size"] == tiny.MELS
    assert read_graph(tmp_path / "made" / "graph.pbtxt") == ASR
    assert "int8" in lines[-1]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_whisper_graphs_have_the_documented_names_and_shapes(whisper: Path, tmp_path: Path) -> None:
    export(inspect(whisper), tmp_path / "made", graph=ASR)
    encoder = Graph(tmp_path / "made" / "openvino_encoder_model.xml")
    assert encoder.shapes() == {"input_features": "[?,80,3000]", "last_hidden_state": f"[?,1500,{tiny.WIDTH}]"}
    decoder = Graph(tmp_path / "made" / "openvino_decoder_model.xml")
    assert decoder.shapes() == {
        "input_ids": "[?,?]",
        "encoder_hidden_states": f"[?,?,{tiny.WIDTH}]",
        "beam_idx": "[?]",
        "logits": f"[?,?,{tiny.VOCABULARY}]",
    }
    names = {state.name for state in decoder.request.query_state()}
    own = {
        f"past_key_values.{i}.decoder.{kind}present.{i}.decoder.{kind}" for i in range(2) for kind in ("key", "value")
    }
    assert own < names
    assert len(names) == 4 * tiny.LAYERS


def test_exported_encoder_equals_our_graph(whisper: Path, tmp_path: Path) -> None:
    export(inspect(whisper), tmp_path / "made", graph=ASR, weight_format="fp32")
    features = np.random.default_rng(0).standard_normal((1, 80, 3000)).astype(np.float32)
    with open_checkpoint(whisper) as weights:
        own = compile_exact(whisper_states_model(read_config(whisper), weights))(features)["states"]
    made = Graph(tmp_path / "made" / "openvino_encoder_model.xml")(input_features=features)["last_hidden_state"]
    np.testing.assert_allclose(made, own, atol=2e-5)


def test_exported_decoder_keeps_state_between_steps(whisper: Path, tmp_path: Path) -> None:
    """A sequence in pieces is the sequence at once, for each row of a batch, and a new one begins from nothing."""
    export(inspect(whisper), tmp_path / "made", graph=ASR, weight_format="fp32")
    decoder = Graph(tmp_path / "made" / "openvino_decoder_model.xml")
    draw = np.random.default_rng(1)
    states = draw.standard_normal((2, 1500, tiny.WIDTH)).astype(np.float32)
    ids = draw.integers(0, tiny.VOCABULARY, (2, 7))
    order = np.array([0, 1], np.int32)
    whole = decoder(input_ids=ids, encoder_hidden_states=states, beam_idx=order)["logits"]
    decoder.request.reset_state()
    parts = [
        decoder(input_ids=ids[:, first:last], encoder_hidden_states=states, beam_idx=order)["logits"]
        for first, last in ((0, 3), (3, 4), (4, 7))
    ]
    np.testing.assert_allclose(np.concatenate(parts, 1), whole, atol=2e-4)


def test_exported_decoder_reorders_rows_by_beam_idx(whisper: Path, tmp_path: Path) -> None:
    export(inspect(whisper), tmp_path / "made", graph=ASR, weight_format="fp32")
    decoder = Graph(tmp_path / "made" / "openvino_decoder_model.xml")
    draw = np.random.default_rng(2)
    states = np.repeat(draw.standard_normal((1, 1500, tiny.WIDTH)).astype(np.float32), 2, 0)
    ids = draw.integers(0, tiny.VOCABULARY, (2, 4))
    decoder(input_ids=ids, encoder_hidden_states=states, beam_idx=np.array([0, 1], np.int32))
    following = np.array([[5], [5]])
    crossed = decoder(input_ids=following, encoder_hidden_states=states, beam_idx=np.array([1, 1], np.int32))["logits"]
    assert np.allclose(crossed[0], crossed[1], atol=1e-5)
    decoder.request.reset_state()
    alone = decoder(input_ids=ids, encoder_hidden_states=states, beam_idx=np.array([0, 1], np.int32))
    apart = decoder(input_ids=following, encoder_hidden_states=states, beam_idx=np.array([0, 1], np.int32))["logits"]
    assert alone["logits"].shape == (2, 4, tiny.VOCABULARY)
    assert not np.allclose(apart[0], apart[1], atol=1e-2)
    np.testing.assert_allclose(crossed[0], apart[1], atol=2e-4)


@pytest.mark.parametrize(("form", "kind"), [("fp32", "f32"), ("fp16", "f16"), ("int8", "u8")])
def test_weights_are_stored_in_the_requested_format(whisper: Path, tmp_path: Path, form: IrFormat, kind: str) -> None:
    export(inspect(whisper), tmp_path / "made", graph=ASR, weight_format=form)
    model = ov.Core().read_model(tmp_path / "made" / "openvino_decoder_model.xml")
    constants = {each.friendly_name: each for each in model.get_ops() if each.get_type_name() == "Constant"}
    name = "self.model.decoder.layers.0.fc1.weight"
    held = constants[f"{name}_compressed" if form == "fp16" else name]
    assert held.get_element_type().get_type_name() == kind
    assert (f"{name}/scale" in constants) == (f"{name}/zero_point" in constants) == (form == "int8")
    expected = load_file(whisper / "model.safetensors")[name.removeprefix("self.")]
    values = np.asarray(held.data, np.float32)
    if form == "int8":
        values = (values - constants[f"{name}/zero_point"].data) * constants[f"{name}/scale"].data.astype(np.float32)
    np.testing.assert_allclose(values, expected, atol={"fp32": 0, "fp16": 1e-3, "int8": 1e-2}[form])


def test_tied_table_is_written_once(whisper: Path, tmp_path: Path) -> None:
    export(inspect(whisper), tmp_path / "made", graph=ASR, weight_format="int8")
    size = (tmp_path / "made" / "openvino_decoder_model.bin").stat().st_size
    assert size < 2 * tiny.VOCABULARY * tiny.WIDTH


def test_int8_is_within_half_a_step_of_every_value() -> None:
    draw = np.random.default_rng(3)
    matrix = draw.standard_normal((700, 513)).astype(np.float32) * draw.uniform(0, 5, (700, 1)).astype(np.float32)
    matrix[0] = 0
    matrix[1] = np.abs(matrix[1])
    matrix[2, 5] = 1000
    values, scale, zero = quantize(matrix)
    assert (values.dtype, scale.shape, zero.dtype) == (np.uint8, (700, 1), np.uint8)
    back = (values.astype(np.float32) - zero) * scale
    # Where the range is cut at both ends, rounding the zero point costs up to another half step.
    assert (np.abs(back - matrix) <= scale * 1.001).all()
    assert (back[0] == 0).all()
    # Zero itself is kept.
    assert ((zero - values.astype(np.float32))[matrix == 0] == 0).all()


def test_exported_byte_level_tokenizer_equals_the_original(whisper: Path, tmp_path: Path) -> None:
    export(inspect(whisper), tmp_path / "made", graph=ASR)
    tokenizer = Graph(tmp_path / "made" / "openvino_tokenizer.xml")
    detokenizer = Graph(tmp_path / "made" / "openvino_detokenizer.xml")
    text = " ¿Qué tal?  Don't say 42 °C 你好"
    (port,) = tokenizer.compiled.inputs
    ids = tokenizer.request.infer({port: [text + "<|endoftext|>"]})[tokenizer.compiled.output("input_ids")]
    assert ids.tolist() == [[*text.encode(), tiny.IDS["<|endoftext|>"]]]
    (port,) = detokenizer.compiled.inputs
    assert detokenizer.request.infer({port: ids})[detokenizer.compiled.output(0)].tolist() == [text]


def test_exported_speecht5_graphs_work_together(speecht5: Path, tmp_path: Path) -> None:
    export(inspect(speecht5), tmp_path / "made", graph=TTS, weight_format="fp32")
    folder = tmp_path / "made"
    shape, sound = tiny_speecht5.SHAPE, tiny_speecht5.SOUND
    tokenizer = Graph(folder / "openvino_tokenizer.xml")
    (port,) = tokenizer.compiled.inputs
    ids = tokenizer.request.infer({port: ["hello there"]})[tokenizer.compiled.output("input_ids")]
    assert ids[0, -1] == shape.end
    encoded = Graph(folder / "openvino_encoder_model.xml")(input_ids=ids)
    assert encoded["encoder_attention_mask"].tolist() == [[1] * ids.shape[1]]
    decoder = Graph(folder / "openvino_decoder_model.xml")
    frames = np.zeros((1, 1, shape.mels), np.float32)
    spectra = []
    for _ in range(4):
        made = decoder(
            inputs_embeds=frames,
            speaker_embeddings=np.ones((1, shape.speaker), np.float32),
            encoder_hidden_states=encoded["last_hidden_state"],
            encoder_attention_mask=encoded["encoder_attention_mask"],
            beam_idx=np.zeros(1, np.int32),
        )
        assert made["prob"].shape == (1, shape.reduction)
        np.testing.assert_array_equal(made["output_sequence_out"][:, :-1], frames)
        np.testing.assert_array_equal(made["output_sequence_out"][:, -1], made["spectrum"][:, -1])
        frames = made["output_sequence_out"]
        spectra.append(made["spectrum"])
    refined = Graph(folder / "openvino_postnet.xml")(raw_spectrogram=np.stack(spectra))["postnet_spectrogram"]
    assert refined.shape == (1, 4 * shape.reduction, shape.mels)
    samples = Graph(folder / "openvino_vocoder.xml")(spectrogram=refined)["waveform"]
    assert samples.shape == (1, 4 * shape.reduction * sound.hop)


def test_voices_are_exported(speecht5: Path, tmp_path: Path) -> None:
    voice = tiny_speecht5.write_voice(tmp_path / "cy" / "embedding.bin", tiny_speecht5.SHAPE.speaker, seed=9)
    graph = replace(TTS, voices=(("Cy", str(voice)),))
    export(inspect(speecht5), tmp_path / "made", graph=graph)
    assert {path.name for path in (tmp_path / "made" / "voices").iterdir()} == {"ada.bin", "bob.bin", "Cy.bin"}
    assert (tmp_path / "made" / "voices" / "Cy.bin").read_bytes() == voice.read_bytes()
    assert read_graph(tmp_path / "made" / "graph.pbtxt").voices == (("Cy", "voices/Cy.bin"),)


def test_existing_export_keeps_its_weights_and_gets_the_new_graph(whisper: Path, tmp_path: Path) -> None:
    export(inspect(whisper), tmp_path / "made", graph=ASR)
    before = (tmp_path / "made" / "openvino_decoder_model.bin").stat()
    lines: list[str] = []
    wanted = replace(ASR, enable_word_timestamps=True)
    export(inspect(whisper), tmp_path / "made", graph=wanted, weight_format="fp32", report=lines.append)
    after = (tmp_path / "made" / "openvino_decoder_model.bin").stat()
    assert (before.st_mtime_ns, before.st_size) == (after.st_mtime_ns, after.st_size)
    assert read_graph(tmp_path / "made" / "graph.pbtxt").enable_word_timestamps
    assert len(lines) == 1
    assert "overwrite_models" in lines[0]


def test_overwriting_replaces_the_whole_folder(whisper: Path, tmp_path: Path) -> None:
    export(inspect(whisper), tmp_path / "made", graph=ASR)
    (tmp_path / "made" / "old.txt").write_text("of another time")
    export(inspect(whisper), tmp_path / "made", graph=ASR, weight_format="fp32", overwrite=True)
    assert not (tmp_path / "made" / "old.txt").exists()
    decoder = ov.Core().read_model(tmp_path / "made" / "openvino_decoder_model.xml")
    assert not any(each.get_element_type() == ov.Type.u8 for each in decoder.get_ops())


def test_failed_export_changes_nothing(whisper: Path, tmp_path: Path) -> None:
    export(inspect(whisper), tmp_path / "made", graph=ASR)
    tensors = load_file(whisper / "model.safetensors")
    del tensors["model.decoder.layers.1.fc2.weight"]
    save_file(tensors, whisper / "model.safetensors")
    with pytest.raises(ConfigError, match=r"model\.decoder\.layers\.1\.fc2\.weight is missing"):
        export(inspect(whisper), tmp_path / "made", graph=ASR, overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"whisper", "made"}
    assert (tmp_path / "made" / "graph.pbtxt").is_file()


def test_folders_of_a_killed_export_are_removed(whisper: Path, tmp_path: Path) -> None:
    for name in (".made.exporting", ".made.old", "made"):
        (tmp_path / name).mkdir()
    (tmp_path / ".made.lock").touch()
    lines: list[str] = []
    export(inspect(whisper), tmp_path / "made", graph=ASR, report=lines.append)
    assert {path.name for path in tmp_path.iterdir()} == {"whisper", "made"}
    assert f"{tmp_path}/.made.exporting: left by an export that was killed; removed." in lines


def test_folder_that_was_being_replaced_is_restored_when_the_next_export_fails(whisper: Path, tmp_path: Path) -> None:
    (tmp_path / ".made.old").mkdir()
    (tmp_path / ".made.old" / "graph.pbtxt").write_text("whole")
    (whisper / "model.safetensors").unlink()
    with pytest.raises(ConfigError):
        export(inspect(whisper), tmp_path / "made", graph=ASR)
    assert (tmp_path / "made" / "graph.pbtxt").read_text() == "whole"


def test_checkpoint_is_never_overwritten(whisper: Path) -> None:
    before = sorted(whisper.iterdir())
    for folder in (whisper, whisper.parent):
        with pytest.raises(ConfigError, match="which the export only reads"):
            export(inspect(whisper), folder, graph=ASR, overwrite=True)
    with pytest.raises(ConfigError, match="which the export only reads"):
        export(
            inspect(whisper),
            whisper.parent / "made",
            graph=ASR,
            vocoder=_filled(whisper.parent / "made" / "vocoder"),
        )
    assert sorted(whisper.iterdir()) == before


def _filled(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    return folder


def test_folder_with_other_files_is_not_overwritten(whisper: Path, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "notes.txt").write_text("not a model")
    with pytest.raises(ConfigError, match="is not empty, and not an OpenVINO model"):
        export(inspect(whisper), tmp_path / "made", graph=ASR)
    export(inspect(whisper), tmp_path / "made", graph=ASR, overwrite=True)
    assert not (tmp_path / "made" / "notes.txt").exists()


def _of_another_family(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "qwen3_asr"}))


def _converted(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "openvino_encoder_model.xml")


def _of_words(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["pre_tokenizer"] = {"type": "Whitespace"}
    (folder / "tokenizer.json").write_text(json.dumps(content))


def test_tokenizer_json_of_an_older_version_gives_the_same_tokenizer(whisper: Path, tmp_path: Path) -> None:
    """Older versions of tokenizers left out fields that are off, and wrote merges as strings."""
    export(inspect(whisper), tmp_path / "new", graph=ASR)
    content = json.loads((whisper / "tokenizer.json").read_text())
    for name in ("continuing_subword_prefix", "end_of_word_suffix", "unk_token", "fuse_unk", "byte_fallback"):
        content["model"].pop(name, None)
    content["model"]["merges"] = [
        pair if isinstance(pair, str) else " ".join(pair) for pair in content["model"]["merges"]
    ]
    (whisper / "tokenizer.json").write_text(json.dumps(content))
    export(inspect(whisper), tmp_path / "old", graph=ASR)
    for name in ("openvino_tokenizer", "openvino_detokenizer"):
        old, new = tmp_path / "old" / name, tmp_path / "new" / name
        assert old.with_suffix(".bin").read_bytes() == new.with_suffix(".bin").read_bytes()
        # OpenVINO numbers the nodes of all graphs of a process: their names differ.
        texts = [path.with_suffix(".xml").read_text() for path in (old, new)]
        graphs = [re.sub(r' names?="[^"]*"|Result_\d+', "", text) for text in texts]
        assert graphs[0] == graphs[1]


@pytest.mark.parametrize(
    ("spoil", "graph", "complaint"),
    [
        (lambda folder: None, TTS, "a whisper model is for speech2text"),
        (_of_another_family, ASR, "speecht5 and whisper are exported"),
        (_converted, ASR, "is an OpenVINO model already"),
        (_of_words, ASR, "not the byte-level BPE"),
        (lambda folder: shutil.rmtree(folder), ASR, "no such folder"),
    ],
)
def test_unsupported_source_is_refused_with_the_reason(
    whisper: Path, tmp_path: Path, spoil: Callable[[Path], None], graph: GraphFile, complaint: str
) -> None:
    spoil(whisper)
    with pytest.raises(ConfigError, match=complaint):
        export(inspect(whisper), tmp_path / "made", graph=graph)
    assert not (tmp_path / "made").exists()


def test_missing_voice_or_vocoder_names_the_setting(speecht5: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^speaker_path: .*unknown"):
        export(inspect(speecht5), tmp_path / "made", graph=replace(TTS, voices=(("x", str(tmp_path / "unknown")),)))
    with pytest.raises(ConfigError, match=r"^vocoder: .*elsewhere"):
        export(inspect(speecht5), tmp_path / "made", graph=TTS, vocoder=tmp_path / "elsewhere")
    (speecht5 / "spm_char.model").unlink()
    with pytest.raises(ConfigError, match=r"no spm_char\.model"):
        export(inspect(speecht5), tmp_path / "made", graph=TTS)
    shutil.rmtree(speecht5 / "vocoder")
    with pytest.raises(ConfigError, match=r"^vocoder: SpeechT5 needs one"):
        export(inspect(speecht5), tmp_path / "made", graph=TTS)
