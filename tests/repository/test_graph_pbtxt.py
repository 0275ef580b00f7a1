"""graph.pbtxt as OVMS's tools and people write it: reading, errors with file and line, and a round trip."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.errors import ConfigError
from antiphon.repository.graph_pbtxt import GraphFile, read_graph, render_graph

# As OVMS's export script writes them, with trailing commas and single quotes.
SPEECH2TEXT = """# OVMS_GRAPH_QUEUE_MAX_SIZE: AUTO
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
TEXT2SPEECH = """input_stream: "HTTP_REQUEST_PAYLOAD:input"
output_stream: "HTTP_RESPONSE_PAYLOAD:output"
node {
  name: "T2sExecutor"
  input_side_packet: "TTS_NODE_RESOURCES:t2s_servable"
  calculator: "T2sCalculator"
  input_stream: "HTTP_REQUEST_PAYLOAD:input"
  output_stream: "HTTP_RESPONSE_PAYLOAD:output"
  node_options: {
    [type.googleapis.com/mediapipe.T2sCalculatorOptions]: {
      models_path: "../speecht5"  # next to this folder
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


def test_speech2text_graph(path: Path) -> None:
    assert read(path, SPEECH2TEXT) == GraphFile(
        "speech2text", "./", "GPU.1", plugin_config={"NUM_STREAMS": "1"}, enable_word_timestamps=True
    )


def test_text2speech_graph(path: Path) -> None:
    assert read(path, TEXT2SPEECH) == GraphFile(
        "text2speech",
        "../speecht5",
        "CPU",
        voices=(("ann", "ann.bin"), ("bob", "/voices/bob.bin")),
        speeds=(0.25, 2.0),
    )


def test_graph_without_streaming_lines(path: Path) -> None:
    old = "\n".join(line for line in SPEECH2TEXT.splitlines() if "LOOPBACK" not in line or "sync_set" in line)
    assert read(path, old).task == "speech2text"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (
            "target_device",
            "device",
            r':17:7 : .*"mediapipe.S2tCalculatorOptions" has no field named "device"\. Did you mean target_device\?$',
        ),
        (
            "sync_set {",
            "sinc_set {",
            r':23:66 : .*SyncSetInputStreamHandlerOptions" has no field named "sinc_set"\. Did you mean sync_set\?$',
        ),
        ("  name:", "  title:", r':5:3 : .*"mediapipe.Node" has no field named "title"\.$'),
        ("node {", "node {{", ":4:7 : "),
        ("true,", '"no",', ":18:31 : "),
        ('{ "NUM_STREAMS": "1" }', "{ NUM_STREAMS }", "plugin_config is not valid JSON"),
        ('{ "NUM_STREAMS": "1" }', "[1]", "plugin_config is not a JSON object"),
        ('models_path: "./",', "", "models_path is missing"),
        ("S2tCalculator", "HttpLLMCalculator", "calculator 'HttpLLMCalculator' is not supported"),
        ('calculator: "S2tCalculator"', 'calculator: "T2sCalculator"', r"needs node_options with one .*T2s"),
        ("mediapipe.S2tCalculatorOptions", "mediapipe.Nonsense", "Nonsense not found"),
        (SPEECH2TEXT, "", "0 nodes"),
        (SPEECH2TEXT, SPEECH2TEXT + SPEECH2TEXT, "2 nodes"),
    ],
)
def test_errors_name_file_line_and_field(path: Path, before: str, after: str, message: str) -> None:
    text = SPEECH2TEXT.replace(before, after)
    assert text != SPEECH2TEXT
    with pytest.raises(ConfigError, match=message) as caught:
        read(path, text)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("speed_max: 2", "speed_max: 0.1", r"speed_min \(0.25\) must be <= speed_max \(0.1\)"),
        ("speed_max: 2", "speed_min: 0", r"speed_min \(0\)"),
        ('name: "bob", ', "", "a voice needs a name and a path"),
        (
            "speed_max: 2",
            "enable_word_timestamps: true",
            'T2sCalculatorOptions" has no field named "enable_word_timestamps"\\.$',
        ),
    ],
)
def test_errors_of_a_text2speech_graph(path: Path, before: str, after: str, message: str) -> None:
    assert before in TEXT2SPEECH
    with pytest.raises(ConfigError, match=message):
        read(path, TEXT2SPEECH.replace(before, after))


def test_unreadable_file(path: Path) -> None:
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
def test_written_graph_reads_back(path: Path, graph: GraphFile) -> None:
    assert read(path, render_graph(graph)) == graph


def test_written_graph_equals_ovms_output(path: Path) -> None:
    def facts(text: str) -> list[str]:
        return [line.strip().rstrip(",") for line in text.splitlines() if not line.startswith("#")]

    assert facts(render_graph(read(path, SPEECH2TEXT))) == facts(
        SPEECH2TEXT.replace('{ "NUM_STREAMS": "1" }', '{"NUM_STREAMS": "1"}')
    )
