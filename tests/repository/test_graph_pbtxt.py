"""graph.pbtxt as OVMS's tools and people write it: read, refused with file and line, and written so that it reads back."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.errors import ConfigError
from antiphon.repository.graph_pbtxt import GraphFile, read_graph, render_graph

# As OVMS's export script writes them, trailing commas, single quotes and all.
HEARS = """# OVMS_GRAPH_QUEUE_MAX_SIZE: AUTO
input_stream: "HTTP_REQUEST_PAYLOAD:input"
output_stream: "HTTP_RESPONSE_PAYLOAD:output"
node {
  name: "S2tExecutor"
  input_side_packet: "STT_NODE_RESOURCES:s2t_servable"
  calculator: "S2tCalculator"
  input_stream: "LOOPBACK:loopback"
  input_stream: "HTTP_REQUEST_PAYLOAD:input"
  output_stream: "LOOPBACK:loopback"
  output_stream: "HTTP_RESPONSE_PAYLOAD:output"
  input_stream_info: { tag_index: 'LOOPBACK:0', back_edge: true }
  node_options: {
    [type.googleapis.com / mediapipe.S2tCalculatorOptions]: {
      models_path: "./",
      plugin_config: '{ "NUM_STREAMS": "1" }',
      target_device: "GPU.1",
      enable_word_timestamps: true,
    }
  }
  input_stream_handler {
    input_stream_handler: "SyncSetInputStreamHandler",
    options { [mediapipe.SyncSetInputStreamHandlerOptions.ext] { sync_set { tag_index: "LOOPBACK:0" } } }
  }
}
"""
SPEAKS = """input_stream: "HTTP_REQUEST_PAYLOAD:input"
output_stream: "HTTP_RESPONSE_PAYLOAD:output"
node {
  name: "T2sExecutor"
  input_side_packet: "TTS_NODE_RESOURCES:t2s_servable"
  calculator: "T2sCalculator"
  input_stream: "HTTP_REQUEST_PAYLOAD:input"
  output_stream: "HTTP_RESPONSE_PAYLOAD:output"
  node_options: {
    [type.googleapis.com/mediapipe.T2sCalculatorOptions]: {
      models_path: "../speecht5"  # beside this folder
      voices: [ { name: "ann", path: "ann.bin" }, { name: "bob", path: "/voices/bob.bin" } ]
      speed_max: 2
    }
  }
}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "graph.pbtxt"


def read(path: Path, text: str) -> GraphFile:
    path.write_text(text)
    return read_graph(path)


def test_a_graph_that_hears(path: Path) -> None:
    assert read(path, HEARS) == GraphFile(
        "speech2text", "./", "GPU.1", plugin_config={"NUM_STREAMS": "1"}, enable_word_timestamps=True
    )


def test_a_graph_that_speaks(path: Path) -> None:
    assert read(path, SPEAKS) == GraphFile(
        "text2speech",
        "../speecht5",
        "CPU",
        voices=(("ann", "ann.bin"), ("bob", "/voices/bob.bin")),
        speeds=(0.25, 2.0),
    )


def test_a_graph_without_the_lines_for_streaming(path: Path) -> None:
    old = "\n".join(line for line in HEARS.splitlines() if "LOOPBACK" not in line or "sync_set" in line)
    assert read(path, old).task == "speech2text"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("target_device", "device", "line 17: S2tCalculatorOptions has no field 'device'; it has .*target_device"),
        ("sync_set {", "sinc_set {", "line 23: SyncSetInputStreamHandlerOptions has no field 'sinc_set'"),
        ("  name:", "  title:", "line 5: Node has no field 'title'"),
        ("node {", "node {{", "line 4: "),
        ("true,", '"no",', "line 18: "),
        ('{ "NUM_STREAMS": "1" }', "{ NUM_STREAMS }", "plugin_config is not valid JSON"),
        ('{ "NUM_STREAMS": "1" }', "[1]", "plugin_config is not a JSON object"),
        ('models_path: "./",', "", "models_path is missing"),
        ("S2tCalculator", "HttpLLMCalculator", "calculator 'HttpLLMCalculator' is not served here"),
        ('calculator: "S2tCalculator"', 'calculator: "T2sCalculator"', r"needs node_options with one .*T2s"),
        ("mediapipe.S2tCalculatorOptions", "mediapipe.Nonsense", "Nonsense not found"),
        (HEARS, "", "0 nodes"),
        (HEARS, HEARS + HEARS, "2 nodes"),
    ],
)
def test_what_is_wrong_is_told_by_file_line_and_name(path: Path, before: str, after: str, said: str) -> None:
    text = HEARS.replace(before, after)
    assert text != HEARS
    with pytest.raises(ConfigError, match=said) as caught:
        read(path, text)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("speed_max: 2", "speed_max: 0.1", r"speed_min \(0.25\) must be <= speed_max \(0.1\)"),
        ("speed_max: 2", "speed_min: 0", r"speed_min \(0\)"),
        ('name: "bob", ', "", "a voice needs a name and a path"),
        ("speed_max: 2", "enable_word_timestamps: true", "has no field 'enable_word_timestamps'"),
    ],
)
def test_what_is_wrong_with_a_graph_that_speaks(path: Path, before: str, after: str, said: str) -> None:
    assert before in SPEAKS
    with pytest.raises(ConfigError, match=said):
        read(path, SPEAKS.replace(before, after))


def test_a_file_that_cannot_be_read(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"graph\.pbtxt: cannot be read \(No such file"):
        read_graph(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_graph(path)


@pytest.mark.parametrize(
    "graph",
    [
        GraphFile("speech2text"),
        GraphFile("speech2text", "/models/x", "AUTO:GPU,CPU", {"NUM_STREAMS": "1", "CACHE_DIR": "a 'b' \\c"}, True),
        GraphFile("text2speech"),
        GraphFile("text2speech", voices=(("José's", 'a "b".bin'),), speeds=(0.5, 2.0)),
    ],
)
def test_what_is_written_reads_back(path: Path, graph: GraphFile) -> None:
    assert read(path, render_graph(graph)) == graph


def test_what_is_written_is_what_ovms_writes(path: Path) -> None:
    def facts(text: str) -> list[str]:
        return [line.strip().rstrip(",") for line in text.splitlines() if not line.startswith("#")]

    assert facts(render_graph(read(path, HEARS))) == facts(
        HEARS.replace('{ "NUM_STREAMS": "1" }', '{"NUM_STREAMS": "1"}')
    )
