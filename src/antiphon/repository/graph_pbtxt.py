"""Reads and writes graph.pbtxt, OVMS's description of one model, with protobuf's text format."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, message_factory, text_encoding, text_format

from antiphon._version import __version__
from antiphon.errors import ConfigError
from antiphon.types.options import MAX_SPEED, MIN_SPEED, GraphTask

GRAPH = "graph.pbtxt"


@dataclass(frozen=True, slots=True)
class GraphFile:
    """The options of the one model in a graph.pbtxt.

    Paths are as written; relative ones start at the folder of the graph. Without `target_device` the device is CPU.
    `model_type` is not part of the file format: only graphs built in memory have it. `speeds` are the limits of a
    text2speech request's `speed`.
    """

    task: GraphTask
    models_path: str = "./"
    target_device: str = "CPU"
    plugin_config: Mapping[str, object] = field(default_factory=dict)
    enable_word_timestamps: bool = False
    model_type: str | None = None
    voices: tuple[tuple[str, str], ...] = ()
    speeds: tuple[float, float] = (MIN_SPEED, MAX_SPEED)


_TASKS: dict[str, GraphTask] = {"S2tCalculator": "speech2text", "T2sCalculator": "text2speech"}

# Each field is a type (with * if repeated), a name and a number, from the proto files of OVMS and, for the graph around
# the calculator, of MediaPipe. Other fields are refused.
_MESSAGES: dict[str, tuple[str, ...]] = {
    "SpeakerEmbeddings": ("string name 1", "string path 2"),
    "T2sCalculatorOptions": (
        "string models_path 1",
        "string target_device 2",
        "string plugin_config 3",
        "SpeakerEmbeddings* voices 4",
        "float speed_min 5",
        "float speed_max 6",
    ),
    "S2tCalculatorOptions": (
        "string models_path 1",
        "string target_device 2",
        "string plugin_config 3",
        "bool enable_word_timestamps 4",
    ),
    "SyncSet": ("string* tag_index 1",),
    "SyncSetInputStreamHandlerOptions": ("SyncSet* sync_set 1",),
    "MediaPipeOptions": (),
    "InputStreamHandlerConfig": ("string input_stream_handler 1", "MediaPipeOptions options 3"),
    "InputStreamInfo": ("string tag_index 1", "bool back_edge 2"),
    "Node": (
        "string name 1",
        "string calculator 2",
        "string* input_stream 3",
        "string* output_stream 4",
        "string* input_side_packet 5",
        "string* output_side_packet 6",
        "google.protobuf.Any* node_options 8",
        "int32 buffer_size_hint 10",
        "InputStreamHandlerConfig input_stream_handler 11",
        "InputStreamInfo* input_stream_info 13",
        "string executor 14",
        "int32 max_in_flight 16",
    ),
    "CalculatorGraphConfig": (
        "Node* node 1",
        "int32 num_threads 8",
        "string* input_stream 10",
        "int32 max_queue_size 11",
        "InputStreamHandlerConfig input_stream_handler 12",
        "string* output_stream 15",
        "string* input_side_packet 16",
        "string* output_side_packet 17",
        "string package 19",
        "string type 20",
        "bool report_deadlock 21",
    ),
}
_PACKAGE = "mediapipe"
_EXTENDABLE = "MediaPipeOptions"
_EXTENSION_OF = "SyncSetInputStreamHandlerOptions"


def read_graph(path: Path) -> GraphFile:
    """Read a graph.pbtxt. Raises ConfigError naming the file, the line and the field at fault."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8'}).") from error
    pool = _describe()
    graph = _new(pool, "CalculatorGraphConfig")
    try:
        text_format.Parse(text, graph, descriptor_pool=pool)
    except text_format.ParseError as error:
        raise ConfigError(_explain(path, text, error)) from error
    if len(graph.node) != 1:
        raise ConfigError(f"{path}: {len(graph.node)} nodes; a speech graph has one, a calculator with its options.")
    [node] = graph.node
    if node.calculator not in _TASKS:
        raise ConfigError(f"{path}: the calculator {node.calculator!r} is not supported; use {' or '.join(_TASKS)}.")
    options = _new(pool, f"{node.calculator}Options")
    if len(node.node_options) != 1 or not node.node_options[0].Is(options.DESCRIPTOR):
        raise ConfigError(f"{path}: {node.calculator} needs node_options with one mediapipe.{options.DESCRIPTOR.name}.")
    options.ParseFromString(node.node_options[0].value)
    return _graph_of(path, _TASKS[node.calculator], options)


def _graph_of(path: Path, task: GraphTask, options: Any) -> GraphFile:
    if not options.HasField("models_path"):
        raise ConfigError(f'{path}: models_path is missing; "./" is the folder of the graph.')
    device = options.target_device or "CPU"
    config = _plugin_config(path, options.plugin_config)
    if task == "speech2text":
        return GraphFile(task, options.models_path, device, config, options.enable_word_timestamps)
    for voice in options.voices:
        if not (voice.name and voice.path):
            raise ConfigError(f"{path}: a voice needs a name and a path.")
    least = options.speed_min if options.HasField("speed_min") else MIN_SPEED
    most = options.speed_max if options.HasField("speed_max") else MAX_SPEED
    if not 0 < least <= most:
        raise ConfigError(
            f"{path}: Invalid T2sCalculatorOptions: speed_min ({least:g}) must be <= speed_max ({most:g}), and above 0."
        )
    voices = tuple((voice.name, voice.path) for voice in options.voices)
    return GraphFile(task, options.models_path, device, config, voices=voices, speeds=(least, most))


def _plugin_config(path: Path, text: str) -> dict[str, object]:
    try:
        config = json.loads(text or "{}")
    except ValueError as error:
        raise ConfigError(f"{path}: plugin_config is not valid JSON ({error}).") from error
    if not isinstance(config, dict):
        raise ConfigError(f'{path}: plugin_config is not a JSON object such as {{"NUM_STREAMS": "1"}}.')
    return config


def _describe() -> Any:
    """Build a descriptor pool of the messages above."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="antiphon/graph.proto", package=_PACKAGE, syntax="proto2", dependency=["google/protobuf/any.proto"]
    )
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for line in fields:
            _add_field(message.field, *line.split())
    extendable = next(message for message in file.message_type if message.name == _EXTENDABLE)
    extendable.extension_range.add(start=1_000, end=2**29)
    extended = next(message for message in file.message_type if message.name == _EXTENSION_OF)
    _add_field(extended.extension, _EXTENSION_OF, "ext", "395478132")
    extended.extension[0].extendee = f".{_PACKAGE}.{_EXTENDABLE}"
    pool.Add(file)
    return pool


def _add_field(fields: Any, kind: str, name: str, number: str) -> None:
    types = descriptor_pb2.FieldDescriptorProto
    scalar = {
        "string": types.TYPE_STRING,
        "bool": types.TYPE_BOOL,
        "float": types.TYPE_FLOAT,
        "int32": types.TYPE_INT32,
    }
    base = kind.removesuffix("*")
    added = fields.add(name=name, number=int(number))
    added.label = types.LABEL_REPEATED if kind.endswith("*") else types.LABEL_OPTIONAL
    added.type = scalar.get(base, types.TYPE_MESSAGE)
    if base not in scalar:
        added.type_name = f".{base}" if "." in base else f".{_PACKAGE}.{base}"


def _new(pool: Any, name: str) -> Any:
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))()


def _explain(path: Path, text: str, error: Any) -> str:
    """One line with the place, protobuf's reason, and the field that may have been meant."""
    calculators = re.findall(r"""^\s*calculator\s*:\s*["'](\w+)["']""", text, re.MULTILINE)
    other = [name for name in calculators if name not in _TASKS]
    if other:
        return f"{path}: the calculator {other[0]!r} is not supported; use {' or '.join(_TASKS)}."
    reason = " ".join(str(error).split()).rstrip(".")  # "line:column : reason", or the reason alone
    if error.GetLine() is None:
        return f"{path}: {reason}."
    match = re.match(r"\w+", text.splitlines()[error.GetLine() - 1][error.GetColumn() - 1 :])
    name = match[0] if match else ""
    fields = sorted({line.split()[1] for lines in _MESSAGES.values() for line in lines})
    near = [field for field in fields if name in field] or get_close_matches(name, fields, n=1)
    hint = f" Did you mean {near[0]}?" if name and near and name not in fields else ""
    return f"{path}:{reason}.{hint}"


def render_graph(graph: GraphFile) -> str:
    """Return the text of a graph.pbtxt, laid out as OVMS writes it."""
    is_speech = graph.task == "text2speech"
    head = [
        f"# File created with: Antiphon {__version__}",
        "# OVMS_GRAPH_QUEUE_MAX_SIZE: AUTO",
        'input_stream: "HTTP_REQUEST_PAYLOAD:input"',
        'output_stream: "HTTP_RESPONSE_PAYLOAD:output"',
        "node {",
    ]
    body = _speech_node(graph) if is_speech else _text_node(graph)
    return "\n".join([*head, *body, "}", ""])


def _speech_node(graph: GraphFile) -> list[str]:
    voices = ", ".join(f"{{ name: {_quoted(name)}, path: {_quoted(path)} }}" for name, path in graph.voices)
    special = [f"voices: [ {voices} ]"] if voices else []
    for name, value, usual in zip(("speed_min", "speed_max"), graph.speeds, (MIN_SPEED, MAX_SPEED), strict=True):
        special += [] if value == usual else [f"{name}: {value:g}"]
    return [
        '  name: "T2sExecutor"',
        '  input_side_packet: "TTS_NODE_RESOURCES:t2s_servable"',
        '  calculator: "T2sCalculator"',
        '  input_stream: "HTTP_REQUEST_PAYLOAD:input"',
        '  output_stream: "HTTP_RESPONSE_PAYLOAD:output"',
        *_options("T2sCalculatorOptions", graph, special),
    ]


def _text_node(graph: GraphFile) -> list[str]:
    return [
        '  name: "S2tExecutor"',
        '  input_side_packet: "STT_NODE_RESOURCES:s2t_servable"',
        '  calculator: "S2tCalculator"',
        '  input_stream: "LOOPBACK:loopback"',
        '  input_stream: "HTTP_REQUEST_PAYLOAD:input"',
        '  output_stream: "LOOPBACK:loopback"',
        '  output_stream: "HTTP_RESPONSE_PAYLOAD:output"',
        "  input_stream_info: { tag_index: 'LOOPBACK:0', back_edge: true }",
        *_options(
            "S2tCalculatorOptions", graph, [f"enable_word_timestamps: {str(graph.enable_word_timestamps).lower()}"]
        ),
        "  input_stream_handler {",
        '    input_stream_handler: "SyncSetInputStreamHandler",',
        '    options { [mediapipe.SyncSetInputStreamHandlerOptions.ext] { sync_set { tag_index: "LOOPBACK:0" } } }',
        "  }",
    ]


def _options(message: str, graph: GraphFile, special: Sequence[str]) -> list[str]:
    fields = [f"models_path: {_quoted(graph.models_path)}"]
    if graph.plugin_config:
        fields.append(f"plugin_config: {_quoted(json.dumps(dict(graph.plugin_config)), mark=chr(39))}")
    if graph.target_device:
        fields.append(f"target_device: {_quoted(graph.target_device)}")
    lines = [f"      {line}," for line in (*fields, *special)]
    lines[-1] = lines[-1].removesuffix(",")
    return ["  node_options: {", f"    [type.googleapis.com / mediapipe.{message}]: {{", *lines, "    }", "  }"]


def _quoted(text: str, mark: str = '"') -> str:
    other = "'" if mark == '"' else '"'
    escaped: str = text_encoding.CEscape(text, as_utf8=True)
    return mark + escaped.replace(f"\\{other}", other) + mark
