"""Load a model by its name or folder, and the one-line error for everything that is wrong with it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from antiphon.errors import ConfigError, NotNative, WeightError
from antiphon.genai import pipeline as genai
from antiphon.loader import LoadOptions, choose, load_sessions
from antiphon.models.session import AnySession
from antiphon.models.whisper import load as whisper
from antiphon.repository.graph_pbtxt import GraphFile, render_graph
from antiphon.testing.fake import FakeSession
from antiphon.types.options import TranscribeOptions, VadOptions
from tests.support.drive_session import drive, make_unit
from tests.support.service import serving, transcribe
from tests.support.sessions import load_session
from tests.support.tiny_speecht5 import write_tiny as write_speaking
from tests.support.tiny_speecht5 import write_voice
from tests.support.tiny_whisper import noise, write_tiny


def test_model_info_and_the_lines_reported_while_loading(tmp_path: Path) -> None:
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


def test_wrong_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no such folder, and not in the catalogue or the Hugging Face cache"):
        load_session(str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match=r"holds no model; looked for config\.json"):
        load_session(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ConfigError, match="model_type 'bert' is not served"):
        load_session(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": ["whisper"]}))
    with pytest.raises(ConfigError, match="is not served"):
        load_session(str(tmp_path))


def test_checkpoint_that_contradicts_its_config_is_an_error(tmp_path: Path) -> None:
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


def test_shape_that_fits_no_graph_is_a_one_line_error(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path)
    tensors = load_file(folder / "model.safetensors")
    name = "model.decoder.layers.0.encoder_attn.k_proj.weight"
    save_file(tensors | {name: tensors[name][:, :-1].copy()}, folder / "model.safetensors")
    with pytest.raises(WeightError, match=r"the weights do not make the model of config\.json") as caught:
        load_session(str(folder))
    assert "\n" not in str(caught.value)


def test_wrong_option_is_an_error_that_names_the_setting(tmp_path: Path) -> None:
    folder = str(write_tiny(tmp_path))
    with pytest.raises(ConfigError, match=r"^target_device: FPGA is not available, there is no FPGA here"):
        load_session(folder, device="FPGA")
    with pytest.raises(ConfigError, match="the genai backend reads OpenVINO IR"):
        load_session(folder, device="AUTO:CPU")
    with pytest.raises(ConfigError, match=r"^slots: it must be at least 1, not 0"):
        load_session(folder, slots=0)
    with pytest.raises(ConfigError, match=r"^audio_context: it must be one of full, auto, not half"):
        load_session(folder, audio_context="half")
    for device in ("CPU", "GPU"):
        with pytest.raises(ConfigError, match=r"^speaker: .* is a model of the family whisper, which takes none"):
            load_session(folder, device=device, speaker=("ada", tmp_path / "ada.bin"))


@pytest.fixture
def genai_calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The calls of the genai backend, which is not loaded."""
    calls: list[dict[str, Any]] = []

    def load(folder: Path, **options: Any) -> AnySession:
        calls.append({"folder": folder, **options})
        return FakeSession(options["name"])

    monkeypatch.setattr(genai, "load", load)
    return calls


def test_graph_pbtxt_gives_the_folder_and_the_options(tmp_path: Path, genai_calls: list[dict[str, Any]]) -> None:
    write_tiny(tmp_path / "weights")
    graph = GraphFile("speech2text", "../weights", "GPU.1", {"CACHE_DIR": "/cache"}, enable_word_timestamps=True)
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "graph.pbtxt").write_text(render_graph(graph))
    load_session(str(tmp_path / "served"), name="a/b", plugin_config={"NUM_STREAMS": "2"})
    [call] = genai_calls
    assert call["folder"].path.resolve() == tmp_path / "weights"
    assert (call["name"], call["device"], call["word_timestamps"], call["speaker"]) == ("a/b", "GPU.1", True, None)
    assert call["plugin_config"] == {"CACHE_DIR": "/cache", "NUM_STREAMS": "2"}
    assert call["reason"] == "the native engine runs on CPU, not on GPU.1"
    assert (
        load_session(str(tmp_path / "served"), device="CPU").info.backend == "native"
    )  # a flag stands above the graph


def test_graph_pbtxt_in_the_hugging_face_cache_stays_in_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = write_tiny(tmp_path / "snapshot")
    monkeypatch.setattr("antiphon.loader.find_cached", lambda name: snapshot if name == "some/one" else None)
    config = {"CACHE_DIR": "/cache", "NUM_STREAMS": "2"}
    (snapshot / "graph.pbtxt").write_text(render_graph(GraphFile("speech2text", plugin_config=config)))
    graph = choose("some/one").graph
    assert graph is not None
    assert graph.plugin_config == {"NUM_STREAMS": "2"}
    graph = choose(str(snapshot)).graph  # named by its path, it is the operator's
    assert graph is not None
    assert graph.plugin_config == config
    (snapshot / "graph.pbtxt").write_text(render_graph(GraphFile("speech2text", str(tmp_path))))
    with pytest.raises(ConfigError, match=f"{tmp_path} is not in the folder of the file"):
        choose("some/one")


def test_genai_reports_that_audio_context_has_no_effect(tmp_path: Path, genai_calls: list[dict[str, Any]]) -> None:
    folder = str(write_tiny(tmp_path / "tiny"))
    lines: list[str] = []
    load_session(folder, name="m", device="GPU", audio_context="auto", report=lines.append)
    assert lines == ["m: audio_context auto has no effect on the genai backend."]
    load_session(folder, name="m", device="GPU", report=lines.append)
    assert (len(lines), len(genai_calls)) == (1, 2)


def test_graph_pbtxt_adds_voices_and_limits_the_speed_of_every_replica(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    folder = write_speaking(tmp_path / "speecht5")
    write_voice(tmp_path / "cleo.bin", 8)
    (folder / "graph.pbtxt").write_text(
        render_graph(GraphFile("text2speech", voices=(("cleo", "../cleo.bin"),), speeds=(0.5, 9.0)))
    )
    sessions = load_sessions(str(folder), LoadOptions(plugin_config={"NUM_STREAMS": 2}))
    assert [session.info.voices for session in sessions] == [("cleo", "ada", "bob")] * 2
    assert [session.info.speeds for session in sessions] == [(0.5, 4.0)] * 2  # the graph's, within the engine's


@pytest.mark.parametrize(
    ("config", "family"),
    [
        ({"model_type": "qwen3_asr"}, "qwen3_asr"),
        ({"model_type": "fun_asr"}, "fun_asr"),
        ({"istftnet": {}, "n_mels": 80}, "kokoro"),
    ],
)
def test_fallback_to_genai_for_a_family_without_native_graphs(
    tmp_path: Path, config: dict[str, Any], family: str, genai_calls: list[Any]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    choice = choose(str(tmp_path))
    assert (choice.family.name, choice.backend, choice.reason) == (family, "genai", f"{family} has no native graph yet")
    load_session(str(tmp_path))
    assert genai_calls[0]["reason"] == f"{family} has no native graph yet"


def test_fallback_to_genai_for_a_folder_that_is_not_native(
    tmp_path: Path, genai_calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any, **__: Any) -> AnySession:
        raise NotNative("decoder.xml: its constants have no names.")

    monkeypatch.setattr(whisper, "load", load)
    load_session(str(write_tiny(tmp_path)))
    assert genai_calls[0]["reason"] == "decoder.xml: its constants have no names"
    assert genai_calls[0]["device"] == "CPU"


def test_openvino_properties_reach_the_native_engine(tmp_path: Path) -> None:
    folder = str(write_tiny(tmp_path / "x"))
    lines: list[str] = []
    properties = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    session = load_session(folder, plugin_config=properties, report=lines.append)
    assert session.info.precision == "f32"
    assert "x: PERFORMANCE_HINT THROUGHPUT has no effect: requests are decoded in one batch." in lines
    with pytest.raises(ConfigError, match=r"^plugin_config: OpenVINO does not accept NONSENSE=1 on CPU"):
        load_session(folder, plugin_config={"NONSENSE": 1})
    with pytest.raises(
        ConfigError, match=r"^plugin_config: INFERENCE_PRECISION_HINT must be f32 or bf16 on CPU, not f16"
    ):
        load_session(folder, plugin_config={"INFERENCE_PRECISION_HINT": "f16"})


def test_replicas_share_the_slots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    folder = str(write_tiny(tmp_path / "x"))
    lines: list[str] = []
    for value, slots in (("2", [3, 2]), (2, [3, 2]), ("4", [3, 2]), ("AUTO", [5]), (1, [5])):
        options = LoadOptions(slots=5, plugin_config={"NUM_STREAMS": value}, report=lines.append)
        assert [session.slots for session in load_sessions(folder, options)] == slots
    assert "x: 2 streams, not 4: the machine has no more cores." in lines
    assert "x: NUM_STREAMS AUTO is 1 stream in the native engine." in lines
    assert any("5 slots in 2 streams" in line for line in lines)
    with pytest.raises(
        ConfigError, match=re.escape("num_streams: NUM_STREAMS must be a whole number of at least 1, not two.")
    ):
        load_session(folder, plugin_config={"NUM_STREAMS": "two"})


def test_two_replicas_give_the_transcript_of_one(tmp_path: Path) -> None:
    """The windows of one file in two sessions at once, with word timestamps, for which both share a graph."""
    folder = str(write_tiny(tmp_path / "x"))
    transcripts = []
    for streams in (1, 2):
        load_options = LoadOptions(precision="f32", slots=4, plugin_config={"NUM_STREAMS": streams})
        options = TranscribeOptions("transcribe", "en", words=True, max_new_tokens=8, vad=VadOptions("energy"))
        with serving(load_sessions(folder, load_options)) as service:
            transcripts.append(transcribe(service, noise(200.0), options))
    assert transcripts[0].segments
    assert transcripts[0] == transcripts[1]


def test_contradiction_between_options_and_folder_is_an_error(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path)
    with pytest.raises(ConfigError, match="the model is whisper, which does speech2text, not text2speech"):
        load_session(str(folder), graph=GraphFile("text2speech"))
    with pytest.raises(ConfigError, match=r"^model_type: .*config\.json says the model is whisper, not kokoro"):
        load_session(str(folder), graph=GraphFile("text2speech", model_type="kokoro"))
    (folder / "graph.pbtxt").write_text("node {")
    with pytest.raises(ConfigError, match=r"graph\.pbtxt"):
        load_session(str(folder))


def test_unusable_cache_folder_is_an_error_that_names_it(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "toy")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=f"^cache_dir: {tmp_path / 'file' / 'cache'} is not writable"):
        load_session(str(folder), cache_dir=tmp_path / "file" / "cache")


def test_cache_folder_is_created(tmp_path: Path) -> None:
    load_session(str(write_tiny(tmp_path / "toy")), cache_dir=tmp_path / "new" / "cache")
    assert any((tmp_path / "new" / "cache").iterdir())
